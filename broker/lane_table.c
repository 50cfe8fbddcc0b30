/* Lane table: see lane_table.h. */
#include "broker/lane_table.h"

#include <errno.h>
#include <stdlib.h>

#include "shm/ensure.h"

int lane_table_init(struct lane_table *table, struct ledger_shm *ledger)
{
    const uint32_t count = (uint32_t)ledger->lanes_max;
    uint32_t *free_records = calloc(count, sizeof *free_records);
    if (free_records == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        free_records[i] = count - 1 - i; /* low ones first: fewer pages of the ledger in use */
    }
    *table = (struct lane_table){
        .ledger = ledger,
        .free_records = free_records,
        .free_count = count,
    };
    return 0;
}

void lane_table_deinit(struct lane_table *table)
{
    free(table->free_records);
    *table = (struct lane_table){0};
}

/* The next broker reads these after this one's death; until then they are the control thread's
 * alone, so program order is all the order they need. */
struct lane_record_shm *lane_table_take(struct lane_table *table, const struct lane_owner *owner)
{
    ensure(owner->lane_id != 0);
    if (table->free_count == 0) {
        return NULL;
    }
    table->free_count--;
    struct lane_record_shm *record =
        ledger_lane(table->ledger, table->free_records[table->free_count]);
    atom_store_relaxed(&record->head, 0);
    atom_store_relaxed(&record->cq_tail, 0);
    atom_store_relaxed(&record->intent_valid, INTENT_NONE);
    atom_store_relaxed(&record->stream_topic, 0);
    atom_store_relaxed(&record->session_id, owner->session_id);
    atom_store_relaxed(&record->token, owner->token);
    atom_store_relaxed(&record->pid, owner->pid);
    atom_store_relaxed(&record->start_time, owner->start_time);
    fence_compiler(); /* complete, then in use */
    atom_store_relaxed(&record->lane_id, owner->lane_id);
    return record;
}

void lane_table_release(struct lane_table *table, struct lane_record_shm *record)
{
    const uint32_t index = (uint32_t)(record - ledger_lane(table->ledger, 0));
    ensure(index < table->ledger->lanes_max && table->free_count < table->ledger->lanes_max);
    atom_store_relaxed(&record->lane_id, 0);
    fence_compiler(); /* free, then without an owner */
    atom_store_relaxed(&record->intent_valid, INTENT_NONE);
    atom_store_relaxed(&record->stream_topic, 0);
    atom_store_relaxed(&record->session_id, 0);
    atom_store_relaxed(&record->token, 0);
    atom_store_relaxed(&record->pid, 0);
    atom_store_relaxed(&record->start_time, 0);
    table->free_records[table->free_count] = index;
    table->free_count++;
}
