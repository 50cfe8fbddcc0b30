/*
 * Batch: several entries as one submission: all or nothing.
 * Runs on:    the lane's thread.
 * Invariants: sizes are summed before anything is written. Where a batch doesn't fit half a lane it is
 *             a stream (stream.h), or -EMSGSIZE where it was not to be waited for.
 */
#include <errno.h>
#include <string.h>

#include "clientlib/append.h"
#include "clientlib/lane_op.h"
#include "clientlib/stream.h"
#include "clientlib/submit.h"

/* Bytes of a batch's body. 0, -EINVAL, or -EMSGSIZE: it, or an entry, is larger than any may be. */
static int batch_measure(const struct iovec *entries, size_t count, uint64_t *body_bytes)
{
    if (count > BATCH_ENTRIES_MAX) {
        return -EMSGSIZE;
    }
    uint64_t bytes = 0;
    *body_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t size = entries[i].iov_len;
        if (entries[i].iov_base == NULL && size > 0) {
            return -EINVAL;
        }
        if (size > ENTRY_BYTES_MAX) {
            return -EMSGSIZE;
        }
        bytes += size;
        if (bytes > BATCH_BYTES_MAX) {
            return -EMSGSIZE;
        }
        *body_bytes += batch_item_bytes(size);
    }
    return 0;
}

static void batch_fill(unsigned char *body, const struct iovec *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const size_t size = entries[i].iov_len;
        *(struct batch_item_shm *)(void *)body = (struct batch_item_shm){.bytes = size};
        if (size > 0) {
            memcpy(body + BATCH_ITEM_BYTES, entries[i].iov_base, size);
        }
        body += batch_item_bytes(size);
    }
}

int tusk_batch_append(struct tusk_topic *topic, const struct iovec *entries, size_t count,
                      uint64_t *first_seq)
{
    if (topic == NULL || (entries == NULL && count > 0)) {
        return -EINVAL;
    }
    struct client_lane *lane;
    int error = client_lane_get(topic->tusk, &lane);
    if (error != 0) {
        return error;
    }
    if (count == 0) {
        return 0;
    }
    struct append append = {.topic = topic, .kind = SUBMIT_BATCH, .arg = count};
    error = batch_measure(entries, count, &append.body_bytes);
    if (error != 0) {
        return error;
    }
    if (append.body_bytes > submit_body_bytes_max(lane)) {
        return stream_append(topic, 0, 0, entries, count, first_seq);
    }
    void *body;
    error = append_begin(&append, &body);
    if (error != 0) {
        return error;
    }
    batch_fill(body, entries, count);
    return append_finish(&append, first_seq);
}

/* An empty batch is appended nowhere; its completion takes its turn behind earlier ones. */
static int empty_batch_submit(struct client_lane *lane, uint64_t user_data)
{
    if (user_data == 0) {
        return 0;
    }
    const int error = submit_room_check(lane, 0, false);
    if (error != 0) {
        return error;
    }
    lane->asyncs[lane->asyncs_tail & (CQ_SLOTS - 1)] =
        (struct lane_async){.user_data = user_data, .seq = LANE_SEQ_NONE, .local = 1};
    if (lane->asyncs_done == lane->asyncs_tail) {
        lane->asyncs_done++;
    } else {
        lane->asyncs_local++;
    }
    lane->asyncs_tail++;
    return 0;
}

int tusk_submit_batch(struct tusk_topic *topic, const struct iovec *entries, size_t count,
                      uint64_t user_data)
{
    if (topic == NULL || (entries == NULL && count > 0)) {
        return -EINVAL;
    }
    struct client_lane *lane;
    int error = client_lane_get(topic->tusk, &lane);
    if (error != 0) {
        return error;
    }
    if (lane->reserved != NULL) {
        return -EBUSY;
    }
    if (count == 0) {
        return empty_batch_submit(lane, user_data);
    }
    uint64_t body_bytes;
    error = batch_measure(entries, count, &body_bytes);
    if (error == 0 && body_bytes > submit_body_bytes_max(lane)) {
        error = -EMSGSIZE;
    }
    if (error != 0) {
        return error;
    }
    error = submit_room_check(lane, submission_bytes(body_bytes), user_data == 0);
    if (error != 0) {
        return error;
    }
    batch_fill(lane_at(&lane->map, lane->sq_tail + SUBMISSION_HEADER_BYTES), entries, count);
    return submit_publish(lane, topic, SUBMIT_BATCH, body_bytes, count, user_data);
}
