/*
 * Pending: a submission that was accepted and waits for its completion; and how completions reach a
 * lane's CQ.
 * Runs on:    the engine.
 * Invariants: every pending object has a CQ slot reserved (lane.pending_count), so completing it
 *             never fails; it is in its lane's list and in at most one queue of what it waits for.
 */
#ifndef TUSK_BROKER_PENDING_H
#define TUSK_BROKER_PENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/lane.h"
#include "broker/list.h"
#include "broker/store.h"
#include "shm/submission.h"

/* A claim holds at most so many chunks at once; it touches more only in an entry that has more. */
enum { CLAIM_CHUNKS_MAX = 32 };

/* A claim's walk over the log. */
struct claim {
    uint64_t bytes_max;
    uint32_t entries_max;
    uint32_t chunks_max;
    uint32_t persist_every;
    uint64_t first_seq;
    uint64_t first_position;
    uint64_t seq;
    uint64_t position;
    uint64_t bytes;
    uint32_t count;
    uint64_t at; /* inside an entry of several fragments: the next one; else position */
    struct chunk *chunks[CLAIM_CHUNKS_MAX]; /* held: the first one and some or all of the others */
    uint32_t chunk_count;
};

struct pending {
    struct lane *lane;
    struct store *store;
    struct topic *topic;
    struct submission submission;
    struct list_node siblings; /* in lane.pending */
    struct list_node queue;    /* in what it waits for */
    struct list_node turn;     /* CLAIM: in topic.claims, the first one runs */
    uint64_t sync; /* in flush.waiters: until this sync is durable; then it ends with result */
    struct pending_result {
        uint64_t seq;
        uint64_t value;
        int error;
    } result;
    void (*resume)(struct pending *pending); /* goes on here when what it waits for happens */
    /* TOPIC_TRIM: where it looks for the entry; below first_chunk: not yet. */
    uint64_t search_chunk;
    struct retention_policy retention; /* TOPIC_SET: what is to hold ... */
    bool retention_own;                /* ... of its own, or the store's */
    struct claim claim;
};

/* A pending object for an accepted submission; NULL: no memory. */
struct pending *pending_new(struct store *store, struct lane *lane, struct topic *topic,
                            const struct submission *submission);

/* Posts the completion and frees the object. */
void pending_complete(struct pending *pending, uint64_t seq, int error, uint64_t value);

/* Completes it with this result once the sync of this number is durable: at once if it is, with -EIO
 * if the store is fenced before. */
void pending_await_sync(struct pending *pending, uint64_t sync, struct pending_result result);

/* Goes on in `resume` once the sync of this number is durable, at once if it is; completes it with
 * -EIO if the store is fenced before. */
void pending_resume_after_sync(struct pending *pending, uint64_t sync,
                               void (*resume)(struct pending *pending));

/* Completes what awaits syncs up to the store's durable one; all of it when the store is fenced. */
void pending_synced(struct store *store);

/* Frees the object without a completion: its lane is going. */
void pending_drop(struct pending *pending);

/* Ends the lane's pending submission with this user_data by -ECANCELED, if there is one; a claim whose
 * entries are handed out already completes as it would have. */
void pending_cancel(struct lane *lane, uint64_t user_data);

/* Has the CQ a slot that nothing is going to use? Looks at the client's cq_head where its last known
 * value says no; -EPROTO: that head is impossible. 1 / 0. */
int lane_has_slot(struct lane *lane);

/* Posts a completion outside of a unit: the ledger knows of it before the client does. */
void lane_post(struct store *store, struct lane *lane, uint64_t user_data, uint64_t seq, int error,
               uint64_t value);

/* Something of the lane is to be published, or its client to be woken, at the end of this pass. */
static inline void lane_touch(struct store *store, struct lane *lane)
{
    if (!lane->publish_due) {
        lane->publish_due = true;
        list_push_back(&store->publish, &lane->dirty);
    }
}

#endif
