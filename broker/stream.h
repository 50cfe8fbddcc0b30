/*
 * Stream: entries that are one batch and too many for one unit: they are placed behind the topic's tail
 * over many turns, a submission's worth at a time, and become visible at once or never.
 *
 *   OPEN -- COMMIT: one move of the tail
 *        `- ABORT, an error, no progress for so long, the lane's end
 *             -- nothing of it was written:          it never was
 *             `- RECORDING -> SYNCING: a verdict says that nothing behind the tail ever was
 *
 * Runs on:    the engine of the store.
 * Invariants: a topic has at most one stream, which alone appends to it until it is gone; the chunk
 *             that it fills is held; those behind it are written ahead and may be evicted, so it needs
 *             no memory that grows with it. There are no more streams at once than a quarter of the
 *             arena has chunks. The frames of one carry one salt, BATCH and STREAM; the BATCH_END, a PAD
 *             of its own, comes with COMMIT. Frames of a stream that was rolled back are ruled out by a
 *             higher salt before the topic takes another append.
 *             Each step becomes final through the lane's redo record (ledger.h).
 * Trust:      sizes in the body are copied before they are used, and held against what OPEN announced.
 */
#ifndef TUSK_BROKER_STREAM_H
#define TUSK_BROKER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/store.h"
#include "broker/submit.h"

struct stream;

/* STREAM_OPEN, _DATA, _COMMIT or _ABORT at the lane's head. */
enum submit_outcome stream_take(struct store *store, struct lane *lane,
                                const struct submission *submission);

/* What a whole submission, too large for the arena to hold at once, says of its entries. */
struct stream_plan {
    uint64_t entries;
    uint64_t bytes; /* of all payloads */
    bool items;     /* the body is a batch's; else it is the one entry */
};

/* Makes a stream of the APPEND or BATCH at the lane's head, for stream_go_on(). STORE_READY, STORE_WAIT,
 * STORE_HELD or -errno. */
int stream_begin_whole(struct store *store, struct lane *lane, struct topic *topic,
                       const struct submission *submission, const struct stream_plan *plan);

/* Is the submission at the lane's head a stream under way? Then stream_go_on() takes its next part. */
bool stream_is_whole(const struct lane *lane);
enum submit_outcome stream_go_on(struct lane *lane);

/* The lane is going: its stream, if it has one, is rolled back. */
void stream_lane_gone(struct lane *lane);

/* The topic is being deleted: its stream's owner gets -ESTALE. */
void stream_topic_gone(struct topic *topic);

/* Once per pass: time-outs, and rollbacks that go on. */
void stream_tick(struct store *store);

/* When a stream times out next, CLOCK_MONOTONIC; UINT64_MAX: none does. */
uint64_t stream_next_ns(const struct store *store);

/* A stop: rolls back the streams whose lanes have been drained. True: there is none left. */
bool stream_stop(struct store *store);

#endif
