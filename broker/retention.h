/*
 * Retention: which chunks a topic gives up. Policy `consumed`: a chunk goes when the group "default"
 * has passed it; a topic without a group keeps everything.
 * Runs on:    the engine of the store.
 * Invariants: nothing is given up that is not durable, that somebody holds (chunk.holds), or that lies
 *             in the tail's chunk; the group's cursor is never below the first kept entry.
 */
#ifndef TUSK_BROKER_RETENTION_H
#define TUSK_BROKER_RETENTION_H

#include "broker/store.h"

struct pending;

/* The cursor moved, the watermark moved or a hold ended: gives up what may go. NULL: nothing to do. */
void retention_look(struct store *store, struct topic *topic);

/* A TOPIC_TRIM: the topic begins with seq submission.arg from then on; chunks wholly before it go.
 * Completes when it is recorded durably (under `none`: recorded). -EINVAL: beyond the next seq. */
void retention_trim(struct pending *pending);

#endif
