/* System topic: see system_topic.h. */
#include "broker/system_topic.h"

#include "broker/unit.h"
#include "shm/ensure.h"

int system_topic_prepare(struct store *store)
{
    const uint64_t sizes[RECORDS_PREPARED] = {
        RECORD_BYTES_MAX, RECORD_BYTES_MAX, RECORD_BYTES_MAX, RECORD_BYTES_MAX,
        RECORD_BYTES_MAX, RECORD_BYTES_MAX, RECORD_BYTES_MAX, RECORD_BYTES_MAX,
    };
    return unit_prepare(store, store->system, sizes, RECORDS_PREPARED);
}

void system_topic_append(struct store *store, const struct record *record)
{
    uint8_t bytes[RECORD_BYTES_MAX];
    const size_t size = record_encode(record, bytes);
    struct unit unit;
    unit_begin(&unit, store, store->system);
    unit_place(&unit, bytes, size, 0);
    unit_end(&unit);
    unit_publish(&unit);
}
