/* Append: see append.h. */
#include "clientlib/append.h"

#include <errno.h>
#include <string.h>

#include "clientlib/idle.h"
#include "clientlib/lane_op.h"
#include "clientlib/reap.h"
#include "clientlib/stream.h"
#include "clientlib/submit.h"

int append_begin(struct append *append, void **body)
{
    struct tusk_topic *topic = append->topic;
    const int error = client_lane_get(topic->tusk, &append->lane);
    if (error != 0) {
        return error;
    }
    struct client_lane *lane = append->lane;
    if (lane->reserved != NULL) {
        return -EBUSY;
    }
    if (append->body_bytes > submit_body_bytes_max(lane)) {
        return -EMSGSIZE;
    }
    append->expiry = handle_expiry(topic->tusk);
    const uint64_t bytes = submission_bytes(append->body_bytes) + LANE_MARGIN_BYTES;
    if (UNLIKELY(!lane_fits(lane, bytes))) {
        const bool waits = (topic->flags & SUBMIT_NO_WAIT) == 0;
        const int full = waits ? lane_room_await(lane, bytes, append->expiry, true) : -EAGAIN;
        if (full != 0) {
            return full == -ETIMEDOUT ? -EAGAIN : full; /* nothing was submitted */
        }
    }
    const int none = lane_op_claim(lane, append->expiry, true, &append->op);
    if (UNLIKELY(none != 0)) {
        return none == -ETIMEDOUT ? -EAGAIN : none;
    }
    append->op->reports = true;
    *body = lane_at(&lane->map, lane->sq_tail + SUBMISSION_HEADER_BYTES);
    return 0;
}

/* Under `each`: asks, in the same publication, to be told when the append is durable. */
static int durable_wait_write(struct append *append, uint64_t ahead, struct lane_op **wait)
{
    struct client_lane *lane = append->lane;
    const int error = lane_op_claim(lane, append->expiry, false, wait);
    if (error != 0) {
        return error;
    }
    (*wait)->reports = true;
    (*wait)->disk = true;
    (*wait)->target = append->op->target + 1; /* it comes behind the append's completion */
    submission_write(lane, ahead, submission_word(SUBMIT_WAIT, SUBMIT_DURABLE, 0), 0,
                     lane_op_user_data(lane, *wait), 0);
    lane->own_bytes += submission_bytes(0);
    return 0;
}

int append_result(struct append *append, uint64_t *seq)
{
    const struct completion_shm result = lane_op_take(append->lane, append->op);
    if (result.error < 0) {
        if (result.error == -EAGAIN) {
            lane_resume(append->lane, append->topic->word, append->lane->asyncs_tail);
        }
        return result.error;
    }
    *seq = result.seq;
    return 0;
}

/* Is the committed entry durable? The WAIT that is done may have brought an error of earlier
 * submissions as well, so it is the watermark that decides. */
static int durable_result(struct append *append, struct lane_op *wait, uint64_t seq)
{
    struct client_lane *lane = append->lane;
    const struct tusk_topic *topic = append->topic;
    const int result = lane_op_take(lane, wait).error;
    if (topic_durable_seq(topic->shm) > seq) {
        if (result < 0 && result != -ECANCELED) {
            lane_quiet_fail(lane, result);
        }
        return 0;
    }
    const int error = topic_check(topic);
    return error != 0 ? error : result < 0 && result != -ECANCELED ? result : -EIO;
}

int append_publish(struct append *append, struct lane_op **wait)
{
    struct client_lane *lane = append->lane;
    const struct tusk_topic *topic = append->topic;
    uint64_t bytes = submission_bytes(append->body_bytes);
    submission_write(
        lane, 0, submission_word(append->kind, topic->flags | append->flags, append->body_bytes),
        topic->word, lane_op_user_data(lane, append->op), append->arg);
    *wait = NULL;
    if (handle_sync_each(topic->tusk)) {
        const int error = durable_wait_write(append, bytes, wait);
        if (error != 0) {
            return error;
        }
        bytes += submission_bytes(0);
    }
    (void)lane_commit(lane, bytes); /* where it fails the handle is dead, as the wait will find */
    return 0;
}

/* Until both are done. The WAIT is done behind the append, so one sleep ends with both. A refusal
 * needs no WAIT: one that has come is the answer, whatever became of that. What asks not to wait for
 * others, or to be appended at one seq only, does not wait for the disk to be refused. */
static int append_await(struct append *append, struct lane_op *wait)
{
    struct client_lane *lane = append->lane;
    struct lane_op *op = append->op;
    int error = 0;
    const unsigned flags = append->topic->flags | append->flags;
    if (wait == NULL || (flags & (SUBMIT_NO_WAIT | SUBMIT_AT)) != 0) {
        error = lane_op_await(lane, op, append->expiry, false);
    }
    if (error == 0 && wait != NULL && !(op->state == LANE_OP_DONE && op->result.error < 0)) {
        error = lane_op_await(lane, wait, append->expiry, false);
    }
    if (error == 0) {
        return lane_op_await(lane, op, append->expiry, false);
    }
    return op->state == LANE_OP_DONE && op->result.error < 0 ? 0 : error;
}

int append_settle(struct append *append, struct lane_op *wait, uint64_t *seq)
{
    struct client_lane *lane = append->lane;
    uint64_t appended_seq = 0;
    int error = append_await(append, wait);
    if (error != 0) {
        lane_op_drop(lane, append->op);
    } else {
        error = append_result(append, &appended_seq);
    }
    if (wait != NULL && error == 0) {
        error = durable_result(append, wait, appended_seq);
    } else if (wait != NULL) {
        lane_op_drop(lane, wait);
    }
    if (error == 0 && seq != NULL) {
        *seq = appended_seq;
    }
    return error;
}

int append_finish(struct append *append, uint64_t *seq)
{
    struct lane_op *wait;
    const int error = append_publish(append, &wait);
    if (error != 0) {
        lane_op_unclaim(append->lane, append->op);
        return error == -ETIMEDOUT ? -EAGAIN : error;
    }
    return append_settle(append, wait, seq);
}

static int append_one(struct tusk_topic *topic, unsigned flags, uint64_t expected_seq,
                      const void *data, size_t size, uint64_t *seq)
{
    if (topic == NULL || (data == NULL && size > 0)) {
        return -EINVAL;
    }
    struct append append = {.topic = topic,
                            .kind = SUBMIT_APPEND,
                            .flags = flags,
                            .arg = expected_seq,
                            .body_bytes = size};
    void *body;
    const int error = append_begin(&append, &body);
    if (UNLIKELY(error == -EMSGSIZE && size <= ENTRY_BYTES_MAX)) {
        const struct iovec entry = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
        return stream_append(topic, flags, expected_seq, &entry, 1, seq);
    }
    if (UNLIKELY(error != 0)) {
        return error;
    }
    if (size > 0) {
        memcpy(body, data, size);
    }
    return append_finish(&append, seq);
}

int tusk_append(struct tusk_topic *topic, const void *data, size_t size, uint64_t *seq)
{
    return append_one(topic, 0, 0, data, size, seq);
}

int tusk_append_at(struct tusk_topic *topic, uint64_t expected_seq, const void *data, size_t size)
{
    return append_one(topic, SUBMIT_AT, expected_seq, data, size, NULL);
}
