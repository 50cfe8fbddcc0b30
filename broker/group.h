/*
 * Group: the one shared, persisted cursor of a topic, group "default": claims hand out entries.
 * Runs on:    the engine of the store.
 * Invariants: each entry is handed out once per life of the broker; the cursor only moves forward
 *             (but for a trim that overtakes it). Claims of a topic are served in the order in which
 *             they came. Strictly-at-once: the completion waits until the cursor's move is durable.
 *             At-least-once {n}: never more than n entries are handed out beyond the durable cursor,
 *             so a cold start repeats at most n: a claim that would exceed that waits like a strict
 *             one. Under the schedule `none` neither waits.
 */
#ifndef TUSK_BROKER_GROUP_H
#define TUSK_BROKER_GROUP_H

#include "broker/store.h"

struct pending;

/* A CLAIM whose request has been checked and copied to pending->claim. */
void group_claim(struct pending *pending);

/* Its completion is about to be posted: what it holds stays until that is reaped. */
void group_claim_hand_over(struct pending *pending);

/* It ends without one: lets go of what it holds, and of its turn. */
void group_claim_release(struct pending *pending);

/* The topic was deleted: ends its claims with -ESTALE. */
void group_delete(struct topic *topic);

/* Sync `number` has succeeded: cursors that it covers are durable. */
void group_synced(struct store *store, uint64_t number);

/* Has the cursor moved since its last record? */
bool group_needs_record(const struct topic *topic);

/* Writes the cursor down. STORE_READY, STORE_WAIT or -errno. */
int group_record(struct store *store, struct topic *topic);

#endif
