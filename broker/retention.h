/*
 * Retention: which chunks a topic gives up, by its policy or the store's (shm/retention_policy.h)
 * and by trims that were asked for.
 *   consumed  a chunk goes when the group "default" has passed it; a topic without a group keeps
 *             everything; the cursor is never moved.
 *   bytes     chunks go while the log is longer, whether the group has passed them or not.
 *   age       a chunk goes when its newest entry is so old: its successor was begun so long ago.
 * Runs on:    the engine of the store.
 * Invariants: nothing is given up that is not durable, or that lies in the last chunk with entries; by
 *             `consumed` nothing that somebody holds (chunk.holds). What is held and given up otherwise
 *             keeps its image and slot until it is let go. The group's cursor is never below the first
 *             kept entry.
 *             Age is counted by the age clock: the time, by CLOCK_MONOTONIC, that passed while a broker
 *             ran on this store. No wall clock has a part in it, so no jump of one deletes
 *             anything; what the store was shut does not count. Chunks' stamps on it are in the
 *             records that assign them, and the clock goes on from the highest stamp on record:
 *             never early. A tick looks at a bounded number of topics.
 */
#ifndef TUSK_BROKER_RETENTION_H
#define TUSK_BROKER_RETENTION_H

#include "broker/record.h"
#include "broker/store.h"

struct pending;

/* The policy that holds for the topic. */
static inline const struct retention_policy *retention_of(const struct store *store,
                                                          const struct topic *topic)
{
    return topic->retention_own ? &topic->retention : &store->retention;
}

/* The topic has come into being, or was found. */
void retention_begin(struct store *store, struct topic *topic);

/* Gives the topic a policy of its own, or (own false) the store's; in memory, for one that is still
 * to be created. */
void retention_choose(struct topic *topic, bool own, const struct retention_policy *policy);

/* The same for one that exists: records it. STORE_READY, STORE_WAIT or -errno. */
int retention_set(struct store *store, struct topic *topic, bool own,
                  const struct retention_policy *policy);

/* Changes the store's own policy, for all topics that have none, from now on. Not recorded here. */
void retention_default_set(struct store *store, const struct retention_policy *policy);

/* The topic's own policy as records have it, in `text`; empty: it has none. */
struct record_text retention_text(const struct topic *topic, struct retention_text *text);

/* The age clock, brought up to now. */
uint64_t retention_clock(struct store *store);

/* Writes the age clock down, if a topic has an age. */
void retention_record_clock(struct store *store);

/* About every second: what became too old goes. */
void retention_tick(struct store *store);

/* A chunk of the topic was loaded, or could not be: a look that waits for it goes on in this pass. */
void retention_loaded(struct store *store, struct topic *topic);

/* The cursor moved, the watermark moved or a hold ended: gives up what may go. NULL: nothing to do. */
void retention_look(struct store *store, struct topic *topic);

/* A TOPIC_TRIM: the topic begins with seq submission.arg from then on; chunks wholly before it go.
 * Completes when it is recorded durably (under `none`: recorded). -EINVAL: beyond the next seq. */
void retention_trim(struct pending *pending);

#endif
