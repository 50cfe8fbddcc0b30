/* Submit: see submit.h. */
#include "broker/submit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/append.h"
#include "broker/fetch.h"
#include "broker/group.h"
#include "broker/pending.h"
#include "broker/refusal.h"
#include "broker/retention.h"
#include "broker/stream.h"
#include "broker/tail_wait.h"
#include "broker/topic_admin.h"

enum submit_outcome submit_hostile(struct lane *lane, const char *what)
{
    snprintf(lane->client->hostile, sizeof lane->client->hostile, "%s", what);
    return SUBMIT_HOSTILE;
}

void submit_advance(struct store *store, struct lane *lane, const struct submission *submission)
{
    lane->head += submission_bytes(submission->bytes);
    fence_compiler(); /* [J4] */
    atom_store_release(&lane->record->head, lane->head);
    lane_touch(store, lane);
}

/* Accepts a submission that completes later; NULL: `outcome` says what became of it. */
static struct pending *accept_pending(struct store *store, struct lane *lane,
                                      const struct submission *submission,
                                      enum submit_outcome *outcome)
{
    struct topic *topic =
        topic_set_find(&store->topics, submission->topic, submission->incarnation);
    *outcome = SUBMIT_TAKEN;
    if (topic == NULL) {
        submit_advance(store, lane, submission);
        lane_post(store, lane, submission->user_data, 0, -ESTALE, 0);
        return NULL;
    }
    struct pending *pending = pending_new(store, lane, topic, submission);
    if (pending == NULL) {
        *outcome = SUBMIT_BLOCKED;
        return NULL;
    }
    submit_advance(store, lane, submission);
    return pending;
}

static enum submit_outcome take_wait(struct store *store, struct lane *lane,
                                     const struct submission *submission)
{
    const struct pending_result result = {.error = lane->failed};
    lane->failed = 0;
    if ((submission->flags & SUBMIT_DURABLE) == 0) {
        submit_advance(store, lane, submission);
        lane_post(store, lane, submission->user_data, 0, result.error, 0);
        return SUBMIT_TAKEN;
    }
    if (lane->durable_wait != NULL) {
        const int unheard = lane->durable_wait->result.error;
        pending_complete(lane->durable_wait, 0, -ECANCELED, 0);
        lane->failed = unheard;
    }
    struct pending *pending = pending_new(store, lane, NULL, submission);
    if (pending == NULL) {
        lane->failed = result.error;
        return SUBMIT_BLOCKED;
    }
    submit_advance(store, lane, submission);
    lane->durable_wait = pending;
    if (lane->last_sync == store->flush.next_sync) {
        flush_want(store);
    }
    pending_await_sync(pending, lane->last_sync, result);
    return SUBMIT_TAKEN;
}

static enum submit_outcome take_claim(struct store *store, struct lane *lane,
                                      const struct submission *submission)
{
    struct claim_request_shm request;
    if (submission->bytes != sizeof request) {
        return submit_hostile(lane, "sent a CLAIM whose body has the wrong size");
    }
    lane_body_copy(lane, &request, sizeof request);
    enum submit_outcome outcome;
    struct pending *pending = accept_pending(store, lane, submission, &outcome);
    if (pending == NULL) {
        return outcome;
    }
    pending->claim = (struct claim){
        .bytes_max = submission->arg,
        .entries_max = request.entries_max,
        .chunks_max = request.chunks_max < CLAIM_CHUNKS_MAX ? request.chunks_max : CLAIM_CHUNKS_MAX,
        .persist_every = request.persist_every,
    };
    group_claim(pending);
    return SUBMIT_TAKEN;
}

static enum submit_outcome take_later(struct store *store, struct lane *lane,
                                      const struct submission *submission,
                                      void (*begin)(struct pending *pending))
{
    enum submit_outcome outcome;
    struct pending *pending = accept_pending(store, lane, submission, &outcome);
    if (pending != NULL) {
        begin(pending);
    }
    return outcome;
}

static enum submit_outcome take_set(struct store *store, struct lane *lane,
                                    const struct submission *submission)
{
    struct topic_setting setting;
    const int error = topic_setting_read(lane, submission, &setting);
    if (error != 0 &&
        topic_set_find(&store->topics, submission->topic, submission->incarnation) != NULL) {
        submit_advance(store, lane, submission);
        lane_post(store, lane, submission->user_data, 0, error, 0);
        return SUBMIT_TAKEN;
    }
    enum submit_outcome outcome;
    struct pending *pending = accept_pending(store, lane, submission, &outcome);
    if (pending != NULL) {
        topic_admin_set(pending, &setting);
    }
    return outcome;
}

static enum submit_outcome take_one(struct store *store, struct lane *lane, uint64_t tail,
                                    const struct submission *submission)
{
    switch ((enum submission_kind)submission->kind) {
    case SUBMIT_APPEND:
    case SUBMIT_BATCH:
        return lane->stream != NULL ? submit_hostile(lane, "appended in the middle of a stream")
                                    : append_take(store, lane, tail, submission);
    case SUBMIT_STREAM_OPEN:
    case SUBMIT_STREAM_DATA:
    case SUBMIT_STREAM_COMMIT:
    case SUBMIT_STREAM_ABORT:
        return stream_take(store, lane, submission);
    case SUBMIT_WAIT:
        return take_wait(store, lane, submission);
    case SUBMIT_WAIT_TAIL:
        return take_later(store, lane, submission, tail_wait);
    case SUBMIT_FETCH:
        return take_later(store, lane, submission, fetch_submit);
    case SUBMIT_CLAIM:
        return take_claim(store, lane, submission);
    case SUBMIT_TOPIC_OPEN:
        return topic_admin_open(store, lane, submission);
    case SUBMIT_TOPIC_CLOSE:
        return topic_admin_close(store, lane, submission);
    case SUBMIT_TOPIC_DELETE:
        return take_later(store, lane, submission, topic_admin_delete);
    case SUBMIT_TOPIC_TRIM:
        return take_later(store, lane, submission, retention_trim);
    case SUBMIT_TOPIC_SET:
        return take_set(store, lane, submission);
    case SUBMIT_TOPIC_GET:
        return topic_admin_get(store, lane, submission);
    case SUBMIT_CANCEL:
        submit_advance(store, lane, submission);
        pending_cancel(lane, submission->arg);
        return SUBMIT_TAKEN;
    case SUBMIT_RESUME:
        refusal_end(lane, submission);
        submit_advance(store, lane, submission);
        return SUBMIT_TAKEN;
    case SUBMIT_NOTHING:
    default:
        return submit_hostile(lane, "sent a submission of an unknown kind");
    }
}

/* What every submission must satisfy before anything of it is used. */
static const char *submission_fault(const struct submission *submission, uint64_t available)
{
    if (submission_bytes(submission->bytes) > available) {
        return "sent a submission that is longer than what it published";
    }
    if ((submission->flags & ~SUBMIT_FLAGS_KNOWN) != 0) {
        return "sent a submission with unknown flags";
    }
    return NULL;
}

/*
 * A client that fills its lane goes on while the rest of the turn is taken. Who sleeps is told at
 * the end of the pass: *_published stay as they are, so that what was told counts as news there.
 */
enum submit_outcome submit_lane(struct store *store, struct lane *lane, uint64_t bytes_max,
                                uint64_t *tail)
{
    const uint64_t begin = lane->head;
    lane_engine_fetch(&lane->map, begin);
    *tail = lane_engine_tail(&lane->map);
    if (*tail - lane->head > lane->map.sq_bytes || *tail % SUBMISSION_ALIGNMENT != 0) {
        return submit_hostile(lane, "published an SQ tail beyond its ring");
    }
    if (stream_is_whole(lane)) {
        return stream_go_on(lane);
    }
    uint64_t told = lane->head_published;
    while (lane->head != *tail && lane->head - begin < bytes_max) {
        if (lane_room_is_news(lane, told)) {
            told = lane->head;
            lane_engine_publish(&lane->map, lane->head, lane->cq_tail);
        }
        const struct submission submission = submission_copy(&lane->map, lane->head);
        const char *fault = submission_fault(&submission, *tail - lane->head);
        if (fault != NULL) {
            return submit_hostile(lane, fault);
        }
        const int slot = lane_has_slot(lane);
        if (slot <= 0) {
            return submit_hostile(lane, slot == 0
                                            ? "has more completions outstanding than its CQ has "
                                              "slots"
                                            : "published a CQ head that is not possible");
        }
        const enum submit_outcome outcome = take_one(store, lane, *tail, &submission);
        if (outcome != SUBMIT_TAKEN) {
            return outcome;
        }
    }
    return SUBMIT_TAKEN;
}
