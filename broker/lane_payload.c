/* Lane payload: see lane_payload.h. */
#include "broker/lane_payload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ensure.h"

int lane_payload_make_room(struct store *store, uint64_t bytes)
{
    unsigned char *payload = realloc(store->payload, bytes);
    if (payload == NULL) {
        return -ENOMEM;
    }
    store->payload = payload;
    store->payload_room = bytes;
    return 0;
}

const void *lane_payload_copy(const struct store *store, const struct lane_map *map, uint64_t index,
                              uint64_t bytes)
{
    const uint64_t first = map->sq_bytes - (index & (map->sq_bytes - 1));
    ensure(first < bytes && bytes <= store->payload_room && bytes <= map->sq_bytes);
    memcpy(store->payload, lane_at(map, index), first);
    memcpy(store->payload + first, map->sq, bytes - first);
    return store->payload;
}
