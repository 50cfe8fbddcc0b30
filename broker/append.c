/* Append: see append.h. */
#include "broker/append.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/lane_payload.h"
#include "broker/pending.h"
#include "broker/refusal.h"
#include "broker/stream.h"
#include "broker/unit.h"
#include "shm/crash_point.h"

/* What one unit takes out of its lane. */
struct taking {
    struct store *store;
    struct lane *lane;
    struct topic *topic;
    uint64_t head;    /* the lane's, after what is placed so far */
    uint64_t cq_tail; /* the same */
    uint64_t slots;   /* of the CQ that may be used */
    uint64_t bytes;   /* of payload */
    uint32_t count;
};

static struct taking taking_begin(struct store *store, struct lane *lane, struct topic *topic)
{
    struct taking taking = {
        .store = store,
        .lane = lane,
        .topic = topic,
        .head = lane->head,
        .cq_tail = lane->cq_tail,
    };
    uint64_t used = lane->cq_tail + lane->pending_count - lane->cq_head_seen;
    if (used + UNIT_ENTRIES_MAX > lane->map.cq_slots && lane_has_slot(lane) >= 0) {
        used = lane->cq_tail + lane->pending_count - lane->cq_head_seen;
    }
    taking.slots = lane->map.cq_slots - used;
    return taking;
}

/* The completion lies beyond the CQ's tail, where the client does not look, until the unit is final. */
static bool taking_complete(struct taking *taking, const struct submission *submission,
                            uint64_t seq, int error)
{
    taking->head += submission_bytes(submission->bytes);
    if ((submission->flags & SUBMIT_QUIET) != 0) {
        if (error != 0 && taking->lane->failed == 0) {
            taking->lane->failed = error;
        }
        return true;
    }
    if (taking->slots == 0) {
        return false;
    }
    taking->slots--;
    const struct completion_shm completion = {
        .user_data = submission->user_data, .seq = seq, .error = error};
    lane_engine_complete(&taking->lane->map, taking->cq_tail++, &completion);
    return true;
}

static void taking_count(const struct taking *taking, int error)
{
    struct counters *counters = &taking->store->counters;
    if (error != 0) {
        counter_add(counters, COUNTER_SUBMISSIONS_FAILED, 1);
    } else {
        counter_add(counters, COUNTER_ENTRIES_APPENDED, taking->count);
        counter_add(counters, COUNTER_BYTES_APPENDED, taking->bytes);
    }
}

/* Steps 2 to 5 of a unit; step 6, publishing to the client, comes at the end of the pass, or earlier
 * in a long turn (submit_lane). */
static void taking_commit(struct taking *taking, struct unit *unit, int error)
{
    struct lane *lane = taking->lane;
    const struct intent intent = {
        .head = taking->head,
        .cq_tail = taking->cq_tail,
        .position = unit != NULL ? unit_end(unit) : 0,
        .first_seq = unit != NULL ? unit->first_seq : 0,
        .topic = unit != NULL ? taking->topic->index : 0,
        .count = taking->count,
        .error = error,
    };
    intent_write(lane->record, &intent);
    crash_point("append.intent_valid");
    if (unit != NULL) {
        unit_publish(unit);
        lane->last_sync = taking->store->flush.next_sync;
    }
    taking_count(taking, error);
    crash_point("append.tail_published");
    intent_finish(lane->record, taking->head, taking->cq_tail);
    crash_point("append.intent_done");
    lane->head = taking->head;
    lane->cq_tail = taking->cq_tail;
    lane_touch(taking->store, lane);
}

static enum submit_outcome refuse(struct store *store, struct lane *lane,
                                  const struct submission *submission, int error)
{
    struct taking taking = taking_begin(store, lane, NULL);
    if (!taking_complete(&taking, submission, 0, error)) {
        return submit_hostile(lane, "has more completions outstanding than its CQ has slots");
    }
    taking_commit(&taking, NULL, error);
    return SUBMIT_TAKEN;
}

int append_topic_ready(struct store *store, struct topic *topic,
                       const struct submission *submission)
{
    if (store->fenced != 0) {
        return -EIO;
    }
    if (topic == NULL || topic->state == TOPIC_DELETED) {
        return -ESTALE;
    }
    if (topic->stream != NULL) {
        return STORE_HELD;
    }
    if ((submission->flags & SUBMIT_AT) != 0 && topic->next_seq != submission->arg) {
        return -EILSEQ;
    }
    if (topic->state == TOPIC_PRESENT) {
        return STORE_READY;
    }
    if ((submission->flags & SUBMIT_NO_CREATE) != 0) {
        return -ENOENT;
    }
    return store_topic_create(store, topic);
}

/* What may be refused for a reason of its own, by its seq or for no_wait, is looked at by itself. */
static bool same_run(const struct submission *first, const struct submission *next)
{
    return next->kind == SUBMIT_APPEND && next->topic == first->topic &&
           next->incarnation == first->incarnation && (next->flags & SUBMIT_AT) == 0 &&
           ((next->flags ^ first->flags) & SUBMIT_NO_WAIT) == 0 &&
           (next->flags & ~SUBMIT_FLAGS_KNOWN) == 0;
}

/* Where the payload of the submission at `head` begins in its ring. */
static uint64_t payload_index(uint64_t head)
{
    return head + SUBMISSION_HEADER_BYTES;
}

/* The submission behind the ones taken so far, if it can go into the same unit. */
static bool run_next(const struct taking *taking, const struct unit *unit, uint64_t tail,
                     const struct submission *first, struct submission *next)
{
    if (tail - taking->head < SUBMISSION_HEADER_BYTES || taking->count == UNIT_ENTRIES_MAX ||
        taking->head - taking->lane->head >= UNIT_BYTES_MAX || taking->slots == 0) {
        return false;
    }
    *next = submission_copy(&taking->lane->map, taking->head);
    return same_run(first, next) && submission_bytes(next->bytes) <= tail - taking->head &&
           unit_fits(unit, next->bytes) &&
           lane_payload_is_whole(&taking->lane->map, payload_index(taking->head), next->bytes);
}

static enum submit_outcome append_run(struct store *store, struct lane *lane, struct topic *topic,
                                      uint64_t tail, const struct submission *first)
{
    struct taking taking = taking_begin(store, lane, topic);
    struct submission next = *first;
    struct unit unit;
    unit_begin(&unit, store, topic);
    do {
        const void *payload =
            lane_payload(store, &lane->map, payload_index(taking.head), next.bytes);
        if (!taking_complete(&taking, &next, unit.seq, 0)) {
            return submit_hostile(lane, "has more completions outstanding than its CQ has slots");
        }
        unit_place(&unit, payload, next.bytes, 0);
        taking.bytes += next.bytes;
        taking.count++;
    } while (run_next(&taking, &unit, tail, first, &next));
    taking_commit(&taking, &unit, 0);
    return SUBMIT_TAKEN;
}

/*
 * Copies the sizes of a batch's items to store->sizes. 0; -EINVAL: they don't fill its body exactly;
 * -ENOMEM. Each size says where the next one is, and all of them come from the client's core: waited
 * for one after the other they take as long as the entries' copies. So those further on are asked
 * for early, at the place where they are if sizes go on alike.
 */
static int batch_sizes(struct store *store, const struct lane *lane,
                       const struct submission *submission)
{
    enum { ITEMS_AHEAD = 16 };
    const uint64_t body = payload_index(lane->head);
    uint64_t offset = 0;
    for (uint64_t i = 0; i < submission->arg; i++) {
        if (submission->bytes - offset < BATCH_ITEM_BYTES) {
            return -EINVAL;
        }
        const volatile uint64_t *size = lane_at(&lane->map, body + offset);
        const uint64_t bytes = *size;
        if (bytes > submission->bytes - offset - BATCH_ITEM_BYTES ||
            batch_item_bytes(bytes) > submission->bytes - offset) {
            return -EINVAL;
        }
        if (lane_payload_prepare(store, &lane->map, body + offset + BATCH_ITEM_BYTES, bytes) != 0) {
            return -ENOMEM;
        }
        store->sizes[i] = bytes;
        lane_engine_fetch(&lane->map, body + offset + ITEMS_AHEAD * batch_item_bytes(bytes));
        offset += batch_item_bytes(bytes);
    }
    return offset == submission->bytes ? 0 : -EINVAL;
}

static bool sizes_make_room(struct store *store, uint64_t count)
{
    if (count <= store->sizes_room) {
        return true;
    }
    uint64_t *sizes = realloc(store->sizes, count * sizeof *sizes);
    if (sizes == NULL) {
        return false;
    }
    store->sizes = sizes;
    store->sizes_room = count;
    return true;
}

/* 0 or why the batch is refused; its items' sizes are in store->sizes then. */
static int batch_check(struct store *store, const struct lane *lane,
                       const struct submission *submission)
{
    const uint64_t count = submission->arg;
    if (count == 0 || count > submission->bytes / BATCH_ITEM_BYTES) {
        return -EINVAL;
    }
    if (count > BATCH_ENTRIES_MAX) {
        return -EMSGSIZE;
    }
    if (!sizes_make_room(store, count)) {
        return -ENOMEM;
    }
    return batch_sizes(store, lane, submission);
}

static enum submit_outcome append_batch(struct store *store, struct lane *lane, struct topic *topic,
                                        const struct submission *submission)
{
    struct taking taking = taking_begin(store, lane, topic);
    struct unit unit;
    unit_begin(&unit, store, topic);
    uint64_t item = payload_index(lane->head);
    if (!taking_complete(&taking, submission, unit.seq, 0)) {
        return submit_hostile(lane, "has more completions outstanding than its CQ has slots");
    }
    for (uint64_t i = 0; i < submission->arg; i++) {
        const bool last = i + 1 == submission->arg;
        const void *payload =
            lane_payload(store, &lane->map, item + BATCH_ITEM_BYTES, store->sizes[i]);
        unit_place(&unit, payload, store->sizes[i],
                   (uint16_t)(FRAME_BATCH | (last ? FRAME_BATCH_END : 0)));
        item += batch_item_bytes(store->sizes[i]);
        taking.bytes += store->sizes[i];
    }
    counter_add(&store->counters, COUNTER_BATCHES_APPENDED, 1);
    taking.count = (uint32_t)submission->arg;
    taking_commit(&taking, &unit, 0);
    return SUBMIT_TAKEN;
}

/* Entries that the arena cannot hold at once are placed a part at a time. */
static int stream_begin(struct store *store, struct lane *lane, struct topic *topic,
                        const struct submission *submission)
{
    const bool items = submission->kind == SUBMIT_BATCH;
    struct stream_plan plan = {.items = items, .entries = 1, .bytes = submission->bytes};
    if (items) {
        plan.entries = submission->arg;
        plan.bytes = 0;
        for (uint64_t i = 0; i < submission->arg; i++) {
            plan.bytes += store->sizes[i];
        }
    }
    return stream_begin_whole(store, lane, topic, submission, &plan);
}

enum submit_outcome append_take(struct store *store, struct lane *lane, uint64_t tail,
                                const struct submission *submission)
{
    struct topic *topic =
        topic_set_find(&store->topics, submission->topic, submission->incarnation);
    const bool batch = submission->kind == SUBMIT_BATCH;
    const bool no_wait = (submission->flags & SUBMIT_NO_WAIT) != 0;
    const uint64_t size = submission->bytes;
    int outcome = batch ? batch_check(store, lane, submission)
                        : lane_payload_prepare(store, &lane->map, payload_index(lane->head), size);
    if (no_wait && refusal_stands(lane, submission)) {
        outcome = -EAGAIN;
    }
    if (outcome == 0) {
        outcome = append_topic_ready(store, topic, submission);
    }
    bool stream = false;
    if (outcome == STORE_READY) {
        outcome = batch ? unit_prepare(store, topic, store->sizes, submission->arg)
                        : unit_prepare(store, topic, &size, 1);
        stream = outcome == -EMSGSIZE;
    }
    if (stream) {
        outcome = stream_begin(store, lane, topic, submission);
    }
    if (outcome > 0 && no_wait) {
        outcome = refusal_begin(lane, submission) == 0 ? -EAGAIN : -ENOMEM;
    }
    if (outcome > 0) {
        return outcome == STORE_HELD ? SUBMIT_WAITING : SUBMIT_BLOCKED;
    }
    if (outcome < 0) {
        return refuse(store, lane, submission, outcome);
    }
    if (stream) {
        return stream_go_on(lane);
    }
    return batch ? append_batch(store, lane, topic, submission)
                 : append_run(store, lane, topic, tail, submission);
}
