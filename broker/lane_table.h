/*
 * Lane table: which lane records of the ledger are in use, and by whom.
 * Runs on:    the control thread. A record's head, cq_tail, intent and stream are the engine's from
 *             MAIL_LANE_ATTACH until the lane is closed.
 * Invariants: a record with lane_id 0 is free; taken + free = all records.
 */
#ifndef TUSK_BROKER_LANE_TABLE_H
#define TUSK_BROKER_LANE_TABLE_H

#include <stdint.h>

#include "shm/ledger.h"

struct lane_table {
    struct ledger_shm *ledger;
    uint32_t *free_records; /* a stack of indexes */
    uint32_t free_count;
};

/* Whose lane it is, for the broker that comes after this one. */
struct lane_owner {
    uint64_t lane_id;
    uint64_t session_id;
    uint64_t token; /* presented when the lane is handed back */
    uint64_t pid;
    uint64_t start_time;
};

/* Of a ledger just formatted: all its records are free. 0 or -ENOMEM. */
int lane_table_init(struct lane_table *table, struct ledger_shm *ledger);
void lane_table_deinit(struct lane_table *table);

/* A record with nothing taken and nothing posted yet, or NULL when all are in use. */
struct lane_record_shm *lane_table_take(struct lane_table *table, const struct lane_owner *owner);
void lane_table_release(struct lane_table *table, struct lane_record_shm *record);

#endif
