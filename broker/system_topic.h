/*
 * System topic: topic 0, in which the store records what it has to remember: topics, cursors,
 * assignments, trims, marks. Its chunks chain themselves: each header names its successor's slot.
 * Runs on:    the engine of the store.
 * Invariants: the successor of the tail chunk always has a slot and a generation already; the arena
 *             and the segments keep a reserve for it (POOL_SYSTEM_BIGS, segment.h), so that a full
 *             arena or disk can still record what frees it.
 * Not here:   the records' form (record.h), replaying them (recovery.h).
 */
#ifndef TUSK_BROKER_SYSTEM_TOPIC_H
#define TUSK_BROKER_SYSTEM_TOPIC_H

#include "broker/record.h"
#include "broker/store.h"

/* Makes sure that the next few records can be written. STORE_READY, STORE_WAIT or -ENOSPC. */
int system_topic_prepare(struct store *store);

/* Appends a record; system_topic_prepare() said STORE_READY since the last call that filled
 * RECORDS_PREPARED of them. Its sync is flush.next_sync. */
void system_topic_append(struct store *store, const struct record *record);

/* Records that one prepare makes room for. */
enum { RECORDS_PREPARED = 8 };

#endif
