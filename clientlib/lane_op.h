/*
 * Lane operation: what a lane has submitted, from its place in the SQ to its completion.
 * Runs on:    the lane's thread; lane_op_drop_locked also on others, under the handle's lock.
 * Invariants: an op is owned from lane_op_submit() until lane_op_take() or lane_op_drop(); its
 *             completion comes exactly once, also after a CANCEL.
 * Trust:      completions name their op or async append by an index of this library's own; one that
 *             isn't outstanding ends the handle.
 * Not here:   what the caller's appends look like (submit.h), how a wait sleeps (idle.h).
 *
 * On the wire user_data is the index of an async append, which complete in submission order, or
 * LANE_OP_TAG and the index of an op, which may complete in any order. A caller's user_data never
 * leaves the process, so all its values are legal.
 */
#ifndef TUSK_CLIENTLIB_LANE_OP_H
#define TUSK_CLIENTLIB_LANE_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clientlib/client_lane.h"
#include "clientlib/expiry.h"
#include "shm/submission.h"
#include "shm/wake.h"

#define LANE_OP_TAG (UINT64_C(1) << 63)
#define LANE_SEQ_NONE UINT64_MAX

enum lane_op_state { LANE_OP_FREE = 0, LANE_OP_PENDING = 1, LANE_OP_DONE = 2 };

struct lane_op {
    enum lane_op_state state;
    bool reports;        /* dropped, its failure is the next flush's */
    bool disk;           /* it ends with a sync: worth yielding for longer */
    struct atom dropped; /* 1: nobody waits for it */
    uint64_t target;     /* the least CQ tail at which it can be done, as seen at its submission */
    struct completion_shm result;
    struct atom *pin; /* FETCH: pins the chunk when it is done, before its completion is reaped */
    uint64_t stamp;   /* ... of the pinned image; 0: not pinned */
    bool holds;       /* CLAIM: its completion is not reaped before the op is taken */
    uint64_t held_at; /* the CQ index + 1 that is so held back; 0: none */
    struct lane_op *next_free;
};

/* A submission of the library's own. */
struct lane_request {
    enum submission_kind kind;
    unsigned flags; /* enum submission_flag */
    uint64_t topic_word;
    uint64_t arg;
    const void *body;
    size_t body_bytes;
    struct atom *pin; /* FETCH */
    bool reports;
    bool holds; /* CLAIM */
};

/* Submits and returns the op. 0; -EBUSY: the thread holds a reservation and has used up what it
 * leaves free; -ENOMEM: too many are pending; -ETIMEDOUT, -EINTR (where asked for): no room in
 * time; -ESTALE. */
int lane_op_submit(struct client_lane *lane, const struct lane_request *request,
                   struct expiry expiry, bool interruptible, struct lane_op **op);

/* Submits what posts no completion (SUBMIT_QUIET is added), if there is room now: 0 or -EAGAIN,
 * -EBUSY, -ESTALE. */
int lane_quiet_submit(struct client_lane *lane, const struct lane_request *request);

/* Waits for an op to be done. 0, -ETIMEDOUT, -EINTR, -ESTALE; the op stays the caller's. */
int lane_op_await(struct client_lane *lane, struct lane_op *op, struct expiry expiry,
                  bool interruptible);

/* The result of an op that is done; frees it, and lets the broker let go of what it held. */
struct completion_shm lane_op_take(struct client_lane *lane, struct lane_op *op);

/* Nobody waits for the op any more. The second is for other threads, under the handle's lock. */
void lane_op_drop(struct client_lane *lane, struct lane_op *op);
void lane_op_drop_locked(struct lane_op *op);

/* Ends a pending op by -ECANCELED, if there is room to say so; it stays the caller's. */
void lane_op_cancel(struct client_lane *lane, const struct lane_op *op, uint64_t topic_word);

/* Submit, wait, take: for requests that are asked for once. Not ended by wakeups. On -ETIMEDOUT the
 * outcome is unknown. 0 with *result, whose error is the caller's to look at, or -errno. */
int lane_call(struct client_lane *lane, const struct lane_request *request, struct expiry expiry,
              struct completion_shm *result);

/* A slot for an op whose submission the caller writes: lane_op_claim, submission_write,
 * lane_commit. */
int lane_op_claim(struct client_lane *lane, struct expiry expiry, bool interruptible,
                  struct lane_op **op);

/* Gives back a slot whose submission was not published. */
void lane_op_unclaim(struct client_lane *lane, struct lane_op *op);

/* Takes the completions up to the CQ's tail; use lane_drain(). */
void lane_drain_to(struct client_lane *lane, uint64_t cq_tail);

/* Remembers a failure for the next flush, if it is the first. */
void lane_quiet_fail(struct client_lane *lane, int error);

/* Rings the broker. 0, or -ESTALE when it is gone. */
int lane_ring(struct client_lane *lane);

static inline uint64_t lane_op_user_data(const struct client_lane *lane, const struct lane_op *op)
{
    return LANE_OP_TAG | (uint64_t)(op - lane->ops);
}

/* Async appends whose completions are due. */
static inline uint64_t lane_asyncs_due(const struct client_lane *lane)
{
    return lane->asyncs_tail - lane->asyncs_done - lane->asyncs_local;
}

/* The CQ's tail is at least this when a pending op is done. */
static inline uint64_t lane_op_target(const struct client_lane *lane, const struct lane_op *op)
{
    return op->target > lane->drained ? op->target : lane->drained + 1;
}

/* CQ slots that are not free for something new. */
static inline uint64_t lane_slots_used(const struct client_lane *lane)
{
    return lane->drained - lane->reaped + lane_asyncs_due(lane) + lane->ops_pending;
}

static inline void lane_drain(struct client_lane *lane)
{
    lane_completion_fetch(&lane->map, lane->drained);
    const uint64_t cq_tail = lane_completions(&lane->map);
    if (cq_tail != lane->drained) {
        lane_drain_to(lane, cq_tail);
    }
}

/* Is there room for so many bytes? Looks at the engine's head only when there seems to be none. */
static inline bool lane_fits(struct client_lane *lane, uint64_t bytes)
{
    if (__builtin_expect(lane->sq_tail + bytes - lane->sq_head_seen <= lane->map.sq_bytes, 1)) {
        return true;
    }
    lane->sq_head_seen = lane_room(&lane->map);
    return lane->sq_tail + bytes - lane->sq_head_seen <= lane->map.sq_bytes;
}

/* First word of a submission. */
static inline uint64_t submission_word(enum submission_kind kind, unsigned flags, uint64_t bytes)
{
    return bytes | (uint64_t)kind << 32 | (uint64_t)flags << 48;
}

/* Writes a submission's header `ahead` bytes behind the published tail; returns its body. */
static inline void *submission_write(const struct client_lane *lane, uint64_t ahead, uint64_t word,
                                     uint64_t topic_word, uint64_t user_data, uint64_t arg)
{
    uint64_t *header = lane_at(&lane->map, lane->sq_tail + ahead);
    header[0] = word;
    header[1] = topic_word;
    header[2] = user_data;
    header[3] = arg;
    return header + 4;
}

/* Publishes what was written behind the tail and rings an engine that sleeps. */
static inline int lane_commit(struct client_lane *lane, uint64_t bytes)
{
    lane->sq_tail += bytes;
    lane_publish(&lane->map, lane->sq_tail);
    if (UNLIKELY(wake_engine_parked(&lane->map, lane->client_fences, &lane->rung))) {
        return lane_ring(lane);
    }
    return 0;
}

#endif
