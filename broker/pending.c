/* Pending: see pending.h. */
#include "broker/pending.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/group.h"
#include "shm/ensure.h"

struct pending *pending_new(struct store *store, struct lane *lane, struct topic *topic,
                            const struct submission *submission)
{
    struct pending *pending = calloc(1, sizeof *pending);
    if (pending == NULL) {
        return NULL;
    }
    pending->lane = lane;
    pending->store = store;
    pending->topic = topic;
    pending->submission = *submission;
    list_push_back(&lane->pending, &pending->siblings);
    lane->pending_count++;
    if (topic != NULL) {
        topic->pendings++;
    }
    return pending;
}

/* The topic may have waited for this to be collected. */
static void topic_release(struct store *store, struct topic *topic)
{
    if (topic != NULL && --topic->pendings == 0 && topic->state != TOPIC_PRESENT) {
        store_topic_moved(store, topic);
    }
}

void pending_drop(struct pending *pending)
{
    struct lane *lane = pending->lane;
    group_claim_release(pending);
    ensure(lane->pending_count > 0);
    lane->pending_count--;
    if (lane->durable_wait == pending) {
        lane->durable_wait = NULL;
    }
    list_remove(&pending->siblings);
    list_remove(&pending->queue);
    topic_release(pending->store, pending->topic);
    free(pending);
}

void pending_complete(struct pending *pending, uint64_t seq, int error, uint64_t value)
{
    struct lane *lane = pending->lane;
    struct store *store = pending->store;
    const uint64_t user_data = pending->submission.user_data;
    group_claim_hand_over(pending);
    pending_drop(pending);
    lane_post(store, lane, user_data, seq, error, value);
}

/* Its sync is durable, or the store is fenced. */
static void pending_after_sync(struct pending *pending)
{
    list_remove(&pending->queue);
    if (pending->sync > pending->store->flush.durable_sync) {
        pending_complete(pending, 0, -EIO, 0); /* fenced before */
    } else if (pending->resume != NULL) {
        pending->resume(pending);
    } else {
        const struct pending_result result = pending->result;
        pending_complete(pending, result.seq, result.error, result.value);
    }
}

static void pending_await(struct pending *pending, uint64_t sync)
{
    struct store *store = pending->store;
    pending->sync = sync;
    if (sync <= store->flush.durable_sync || store->fenced != 0) {
        pending_after_sync(pending);
    } else {
        list_push_back(&store->flush.waiters, &pending->queue);
    }
}

void pending_await_sync(struct pending *pending, uint64_t sync, struct pending_result result)
{
    pending->result = result;
    pending->resume = NULL;
    pending_await(pending, sync);
}

void pending_resume_after_sync(struct pending *pending, uint64_t sync,
                               void (*resume)(struct pending *pending))
{
    pending->resume = resume;
    pending_await(pending, sync);
}

void pending_synced(struct store *store)
{
    struct list due;
    list_init(&due);
    list_each(node, &store->flush.waiters)
    {
        const struct pending *pending = list_entry(node, struct pending, queue);
        if (pending->sync <= store->flush.durable_sync || store->fenced != 0) {
            list_remove(node);
            list_push_back(&due, node);
        }
    }
    while (!list_empty(&due)) {
        pending_after_sync(list_entry(list_first(&due), struct pending, queue));
    }
}

/* The entries of a claim that only waits for its sync are the client's: it completes. */
static bool claim_is_granted(const struct pending *pending)
{
    return pending->submission.kind == SUBMIT_CLAIM && pending->resume == NULL;
}

void pending_cancel(struct lane *lane, uint64_t user_data)
{
    list_each(node, &lane->pending)
    {
        struct pending *pending = list_entry(node, struct pending, siblings);
        if (pending->submission.user_data == user_data && !claim_is_granted(pending)) {
            pending_complete(pending, 0, -ECANCELED, 0);
            return;
        }
    }
}

int lane_has_slot(struct lane *lane)
{
    const uint64_t slots = lane->map.cq_slots;
    if (lane->cq_tail + lane->pending_count - lane->cq_head_seen < slots) {
        return 1;
    }
    const uint64_t head = lane_engine_cq_head(&lane->map);
    /* Not cq_tail_published: a turn tells completions before its pass notes them (submit_lane). */
    if (head - lane->cq_head_seen > lane->cq_tail - lane->cq_head_seen) {
        return -EPROTO;
    }
    lane->cq_head_seen = head;
    return lane->cq_tail + lane->pending_count - head < slots;
}

void lane_post(struct store *store, struct lane *lane, uint64_t user_data, uint64_t seq, int error,
               uint64_t value)
{
    const struct completion_shm completion = {
        .user_data = user_data,
        .seq = seq,
        .error = error,
        .value = value,
    };
    lane_engine_complete(&lane->map, lane->cq_tail, &completion);
    lane->cq_tail++;
    lane->idle_since_ns = 0; /* its client has something to react to */
    fence_compiler();        /* [J4] */
    atom_store_release(&lane->record->cq_tail, lane->cq_tail);
    lane_touch(store, lane);
}
