/* Stream: see stream.h. */
#include "clientlib/stream.h"

#include <errno.h>
#include <string.h>

#include "clientlib/append.h"
#include "clientlib/idle.h"
#include "clientlib/lane_op.h"

struct stream {
    struct append append; /* its op is the OPEN's */
    const struct iovec *entries;
    size_t at;       /* the entry of which bytes are sent next ... */
    uint64_t offset; /* ... from here in its item on */
    uint64_t left;   /* bytes of the body */
};

static struct stream_open_shm stream_measure(const struct iovec *entries, size_t count)
{
    struct stream_open_shm open = {.entries = count};
    for (size_t i = 0; i < count; i++) {
        const uint64_t bytes = entries[i].iov_len;
        open.bytes += bytes;
        open.body_bytes += batch_item_bytes(bytes);
        open.entry_bytes_max = bytes > open.entry_bytes_max ? bytes : open.entry_bytes_max;
    }
    return open;
}

/* Waits for room for a submission with such a body, and all that may have to follow it. */
static int room_await(const struct stream *stream, uint64_t body_bytes)
{
    struct client_lane *lane = stream->append.lane;
    /* From the broker's last step on: a large stream may take longer than any one wait. */
    const struct expiry expiry = handle_expiry(stream->append.topic->tusk);
    return lane_room_await(lane, submission_bytes(body_bytes) + LANE_MARGIN_BYTES, expiry, true);
}

static int stream_open(struct stream *stream, unsigned flags, uint64_t arg,
                       const struct stream_open_shm *open)
{
    struct append *append = &stream->append;
    void *body;
    append->kind = SUBMIT_STREAM_OPEN;
    append->flags = flags;
    append->arg = arg;
    append->body_bytes = sizeof *open;
    const int error = append_begin(append, &body);
    if (error != 0) {
        return error;
    }
    struct client_lane *lane = append->lane;
    const struct tusk_topic *topic = append->topic;
    submission_write(lane, 0, submission_word(append->kind, topic->flags | flags, sizeof *open),
                     topic->word, lane_op_user_data(lane, append->op), arg);
    memcpy(body, open, sizeof *open);
    return lane_commit(lane, submission_bytes(sizeof *open));
}

/* Copies the next bytes of the body: items as in a batch. */
static void body_copy(struct stream *stream, unsigned char *to, uint64_t count)
{
    while (count > 0) {
        const struct iovec *entry = &stream->entries[stream->at];
        const struct batch_item_shm item = {.bytes = entry->iov_len};
        const uint64_t end = BATCH_ITEM_BYTES + item.bytes;
        uint64_t upto = batch_item_bytes(item.bytes);
        const unsigned char *from = NULL;
        if (stream->offset < BATCH_ITEM_BYTES) {
            from = (const unsigned char *)&item + stream->offset;
            upto = BATCH_ITEM_BYTES;
        } else if (stream->offset < end) {
            from = (const unsigned char *)entry->iov_base + stream->offset - BATCH_ITEM_BYTES;
            upto = end;
        }
        const uint64_t bytes = upto - stream->offset < count ? upto - stream->offset : count;
        if (from != NULL) {
            memcpy(to, from, bytes);
        } else {
            memset(to, 0, bytes);
        }
        to += bytes;
        count -= bytes;
        stream->offset += bytes;
        if (stream->offset == batch_item_bytes(item.bytes)) {
            stream->offset = 0;
            stream->at++;
        }
    }
}

/* Pieces of a quarter lane at most: while the broker takes one, the next ones are written. */
static uint64_t piece_bytes(const struct stream *stream)
{
    const uint64_t quarter = stream->append.lane->map.sq_bytes / 4 - SUBMISSION_HEADER_BYTES;
    const uint64_t most = quarter < UNIT_BYTES_MAX ? quarter : UNIT_BYTES_MAX;
    return stream->left < most ? stream->left : most;
}

static bool stream_ended(const struct stream *stream)
{
    lane_drain(stream->append.lane);
    return stream->append.op->state == LANE_OP_DONE;
}

/* Sends the body. 0: all of it, or the stream has ended before; or why no more could be sent. */
static int stream_send(struct stream *stream)
{
    struct client_lane *lane = stream->append.lane;
    while (stream->left > 0) {
        const uint64_t bytes = piece_bytes(stream);
        int error = room_await(stream, bytes);
        if (error != 0 || stream_ended(stream)) {
            return error;
        }
        body_copy(stream,
                  submission_write(lane, 0, submission_word(SUBMIT_STREAM_DATA, 0, bytes),
                                   stream->append.topic->word, 0, 0),
                  bytes);
        stream->left -= bytes;
        error = lane_commit(lane, submission_bytes(bytes));
        if (error != 0) {
            return error;
        }
    }
    return room_await(stream, 0);
}

/* What the lane's engine is told when nothing more of the stream comes. */
static void stream_abort(const struct stream *stream)
{
    struct client_lane *lane = stream->append.lane;
    submission_write(lane, 0, submission_word(SUBMIT_STREAM_ABORT, 0, 0),
                     stream->append.topic->word, 0, 0);
    (void)lane_commit(lane, submission_bytes(0));
}

/* The broker has ended it before it was all sent. */
static int stream_failed(struct stream *stream)
{
    struct client_lane *lane = stream->append.lane;
    uint64_t seq;
    stream_abort(stream);
    const int error = append_result(&stream->append, &seq);
    if (error == -ETIMEDOUT) {
        lane_quiet_fail(lane, -ECANCELED); /* the next flush tells that it was given up */
    }
    return error != 0 ? error : -EPROTO;
}

int stream_append(struct tusk_topic *topic, unsigned flags, uint64_t expected_seq,
                  const struct iovec *entries, size_t count, uint64_t *seq)
{
    const struct stream_open_shm open = stream_measure(entries, count);
    struct stream stream = {
        .append = {.topic = topic}, .entries = entries, .left = open.body_bytes};
    struct append *append = &stream.append;
    int error = stream_open(&stream, flags, expected_seq, &open);
    if (append->op == NULL) {
        return error;
    }
    if (error == 0) {
        error = stream_send(&stream);
    }
    if (error == 0 && stream_ended(&stream)) {
        return stream_failed(&stream);
    }
    *append = (struct append){.topic = topic,
                              .kind = SUBMIT_STREAM_COMMIT,
                              .lane = append->lane,
                              .expiry = handle_expiry(topic->tusk),
                              .op = append->op};
    struct lane_op *wait = NULL;
    if (error == 0) {
        error = append_publish(append, &wait);
    }
    if (error != 0) {
        append->op->reports = false;
        stream_abort(&stream);
        lane_op_drop(append->lane, append->op);
        return error == -ETIMEDOUT ? -EAGAIN : error; /* nothing of it was appended */
    }
    return append_settle(append, wait, seq);
}
