/*
 * Submit: appends on their way into the lane.
 * Runs on:    the lane's thread.
 * Not here:   waiting for their end (append.c), batches (batch.c).
 */
#ifndef TUSK_CLIENTLIB_SUBMIT_H
#define TUSK_CLIENTLIB_SUBMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "clientlib/client_lane.h"
#include "clientlib/lane_op.h"
#include "clientlib/topic.h"

/* The largest body of an append: half a lane with its header. Bytes. */
static inline uint64_t submit_body_bytes_max(const struct client_lane *lane)
{
    const uint64_t half = lane->map.sq_bytes / 2 - SUBMISSION_HEADER_BYTES;
    return half < ENTRY_BYTES_MAX ? half : ENTRY_BYTES_MAX;
}

/* Is there room now for an asynchronous append of so many bytes, header included, and for its
 * completion unless it is quiet? If not, remembers what is wanted for tusk_arm(): 0 or -EAGAIN. */
int submit_room_check(struct client_lane *lane, uint64_t bytes, bool quiet);

static inline bool submit_slot_free(const struct client_lane *lane)
{
    return lane->asyncs_tail - lane->asyncs_head + lane->ops_pending + lane->drained -
               lane->reaped <
           lane->map.cq_slots - LANE_MARGIN_SLOTS;
}

/* Publishes an asynchronous append whose body lies behind its header's place already. */
static inline int submit_publish(struct client_lane *lane, const struct tusk_topic *topic,
                                 enum submission_kind kind, uint64_t body_bytes, uint64_t arg,
                                 uint64_t user_data)
{
    unsigned flags = topic->flags;
    uint64_t index = 0;
    if (user_data == 0) {
        flags |= SUBMIT_QUIET;
    } else {
        index = lane->asyncs_tail++;
        struct lane_async *async = &lane->asyncs[index & (CQ_SLOTS - 1)];
        async->user_data = user_data;
        async->topic_word = topic->word;
        async->local = 0;
    }
    submission_write(lane, 0, submission_word(kind, flags, body_bytes), topic->word, index, arg);
    return lane_commit(lane, submission_bytes(body_bytes));
}

#endif
