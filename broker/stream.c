/* Stream: see stream.h. */
#include "broker/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/append.h"
#include "broker/pending.h"
#include "broker/refusal.h"
#include "broker/stream_undo.h"
#include "broker/unit.h"
#include "shm/crash_point.h"
#include "shm/ensure.h"

/* What a completion says of a stream that its owner gave up. */
enum { STREAM_ABORTED = -ECANCELED };

/* So many streams as this part of the arena has chunks go on at once; others wait for one to end. */
enum { STREAMS_PART = 4 };

/* Makes one step of a lane's stream final. `unit`: it ends and is published. */
static void step_final(struct store *store, struct lane *lane, const struct intent *intent,
                       struct unit *unit)
{
    intent_write(lane->record, intent);
    crash_point("stream.intent_valid");
    if (unit != NULL) {
        unit_publish(unit);
    }
    if (intent->kind != INTENT_UNIT) {
        intent_publish_stream(lane->record, intent);
    }
    crash_point("stream.published");
    intent_finish(lane->record, intent->head, intent->cq_tail);
    crash_point("stream.intent_done");
    lane->head = intent->head;
    lane->cq_tail = intent->cq_tail;
    lane_touch(store, lane);
}

/* Writes a completion beyond the CQ's tail; returns the tail that covers it. */
static uint64_t answer_write(struct lane *lane, const struct submission *submission, uint64_t seq,
                             int error)
{
    if ((submission->flags & SUBMIT_QUIET) != 0) {
        if (error != 0 && lane->failed == 0) {
            lane->failed = error;
        }
        return lane->cq_tail;
    }
    const struct completion_shm completion = {
        .user_data = submission->user_data, .seq = seq, .error = error};
    lane_engine_complete(&lane->map, lane->cq_tail, &completion);
    lane->idle_since_ns = 0; /* its client has something to react to */
    return lane->cq_tail + 1;
}

/* Moves past a submission of a stream that goes on. */
static void stream_advance(struct stream *stream, const struct submission *submission)
{
    struct lane *lane = stream->lane;
    const struct intent intent = {
        .kind = INTENT_STREAM,
        .head = lane->head + submission_bytes(submission->bytes),
        .cq_tail = lane->cq_tail,
        .position = stream->unit.position,
        .first_seq = stream->unit.seq,
        .topic = stream->topic->index,
        .salt = stream->salt,
    };
    stream->taken = 0;
    step_final(stream->store, lane, &intent, NULL);
}

/* The lane has no stream any more. */
static void lane_part(struct stream *stream)
{
    struct lane *lane = stream->lane;
    if ((stream->submission.flags & SUBMIT_QUIET) == 0) {
        ensure(lane->pending_count > 0);
        lane->pending_count--;
    }
    lane->stream = NULL;
    stream->lane = NULL;
}

/* Tells the owner that nothing of it was appended, its lane going on at `head`, and rolls it back. */
static void stream_fail(struct stream *stream, int error, uint64_t head)
{
    struct lane *lane = stream->lane;
    const struct intent intent = {
        .kind = INTENT_STREAM_END,
        .head = head,
        .cq_tail = answer_write(lane, &stream->submission, 0, error),
        .topic = stream->topic->index,
        .error = error,
    };
    step_final(stream->store, lane, &intent, NULL);
    counter_add(&stream->store->counters, COUNTER_SUBMISSIONS_FAILED, 1);
    lane_part(stream);
    stream_undo(stream);
}

static enum submit_outcome open_refuse(struct store *store, struct lane *lane,
                                       const struct submission *submission, int error)
{
    const struct intent intent = {
        .kind = INTENT_STREAM_END,
        .head = lane->head + submission_bytes(submission->bytes),
        .cq_tail = answer_write(lane, submission, 0, error),
        .error = error,
    };
    step_final(store, lane, &intent, NULL);
    counter_add(&store->counters, COUNTER_SUBMISSIONS_FAILED, 1);
    lane->stream_skip = true;
    return SUBMIT_TAKEN;
}

/* Does what OPEN announces fit together, and the limits? */
static int open_check(const struct stream_open_shm *open)
{
    if (open->entries > BATCH_ENTRIES_MAX || open->bytes > BATCH_BYTES_MAX ||
        open->entry_bytes_max > ENTRY_BYTES_MAX) {
        return -EMSGSIZE;
    }
    const uint64_t least = open->bytes + open->entries * BATCH_ITEM_BYTES;
    const uint64_t most = least + open->entries * (BATCH_ITEM_ALIGNMENT - 1);
    if (open->entries == 0 || open->body_bytes < least || open->body_bytes > most) {
        return -EINVAL;
    }
    return 0;
}

/* What streams hold of the arena, each the chunk that it fills, leaves the most of it to others. */
static uint32_t streams_max(const struct store *store)
{
    const uint32_t most = store->pool.bigs / STREAMS_PART;
    return most > 0 ? most : 1;
}

/* The chunk of the topic's end is there; a new stream takes the tail. STORE_READY, STORE_HELD where
 * there are too many others, STORE_WAIT or -errno. */
static int stream_new(struct store *store, struct lane *lane, struct topic *topic,
                      const struct submission *submission, struct stream **made)
{
    if (store->streams_count >= streams_max(store)) {
        return STORE_HELD;
    }
    const uint64_t number = chunk_number(topic->tail_position, store->chunk_bytes);
    const int outcome = unit_chunk_prepare(store, topic, number, topic->next_seq);
    if (outcome != STORE_READY) {
        flush_settle_end(store, topic);
        return outcome;
    }
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        flush_settle_end(store, topic);
        return -ENOMEM;
    }
    stream->store = store;
    stream->topic = topic;
    stream->lane = lane;
    stream->submission = *submission;
    stream->salt = store->numbers.salt;
    stream->progress_ns = store->now_ns;
    unit_begin(&stream->unit, store, topic);
    stream->unit.chunk->holds++;
    topic->stream = stream;
    topic->stream_end = topic->tail_position;
    list_push_back(&store->streams, &stream->streams);
    store->streams_count++;
    lane->stream = stream;
    if ((submission->flags & SUBMIT_QUIET) == 0) {
        lane->pending_count++;
    }
    *made = stream;
    return STORE_READY;
}

static enum submit_outcome open_take(struct store *store, struct lane *lane,
                                     const struct submission *submission)
{
    struct stream_open_shm open;
    if (submission->bytes != sizeof open) {
        return submit_hostile(lane, "sent a STREAM_OPEN whose body has the wrong size");
    }
    lane_body_copy(lane, &open, sizeof open);
    struct topic *topic =
        topic_set_find(&store->topics, submission->topic, submission->incarnation);
    const bool no_wait = (submission->flags & SUBMIT_NO_WAIT) != 0;
    int outcome = open_check(&open);
    if (outcome == 0 && no_wait && refusal_stands(lane, submission)) {
        outcome = -EAGAIN;
    }
    if (outcome == 0) {
        outcome = append_topic_ready(store, topic, submission);
    }
    struct stream *stream = NULL;
    if (outcome == STORE_READY) {
        outcome = stream_new(store, lane, topic, submission, &stream);
    }
    if (outcome > 0 && !no_wait) {
        return outcome == STORE_HELD ? SUBMIT_WAITING : SUBMIT_BLOCKED;
    }
    if (outcome > 0) {
        outcome = refusal_begin(lane, submission) == 0 ? -EAGAIN : -ENOMEM;
    }
    if (outcome < 0) {
        return open_refuse(store, lane, submission, outcome);
    }
    stream->entries = stream->entries_left = open.entries;
    stream->bytes = stream->bytes_left = open.bytes;
    stream->body_left = open.body_bytes;
    stream->entry_bytes_max = open.entry_bytes_max;
    stream_advance(stream, submission);
    return SUBMIT_TAKEN;
}

/* Goes to the topic's next chunk; the one before is written ahead. */
static int chunk_next(struct stream *stream)
{
    struct chunk *before = stream->unit.chunk;
    const int outcome =
        unit_chunk_prepare(stream->store, stream->topic, before->number + 1, stream->unit.seq);
    if (outcome != STORE_READY) {
        return outcome;
    }
    unit_next_chunk(&stream->unit);
    stream->unit.chunk->holds++;
    before->holds--;
    stream->topic->stream_end = stream->unit.position;
    stream->written = true;
    return STORE_READY;
}

static void entry_done(struct stream *stream, uint64_t size)
{
    stream->entries_left--;
    stream->bytes_left -= size;
}

/* May an item be so large? Behind its size `body_left` bytes are to come. */
static bool size_fits(const struct stream *stream, uint64_t size, uint64_t body_left)
{
    return stream->entries_left > 0 && size <= stream->entry_bytes_max &&
           size <= stream->bytes_left && batch_item_bytes(size) - BATCH_ITEM_BYTES <= body_left;
}

/* An item's size, read once; where a body was cut it lies on no alignment. */
static uint64_t size_copy(const unsigned char *at)
{
    uint64_t size;
    lane_engine_copy(&size, at, sizeof size);
    return size;
}

/* Items that lie whole in [body, body + bytes) and fit the chunk; returns how many bytes they take. */
static uint64_t items_place(struct stream *stream, const unsigned char *body, uint64_t bytes)
{
    uint64_t taken = 0;
    while (bytes - taken >= BATCH_ITEM_BYTES) {
        const uint64_t size = size_copy(body + taken);
        const uint64_t rest = bytes - taken - BATCH_ITEM_BYTES;
        if (size > rest || !size_fits(stream, size, rest) || !unit_fits(&stream->unit, size)) {
            break;
        }
        unit_place(&stream->unit, body + taken + BATCH_ITEM_BYTES, size, FRAME_BATCH);
        entry_done(stream, size);
        taken += batch_item_bytes(size);
    }
    return taken;
}

/* Takes bytes of an item's size, which may come cut. 0 or -EINVAL. */
static int size_take(struct stream *stream, const unsigned char *body, uint64_t bytes)
{
    const uint64_t missing = sizeof stream->size - stream->size_bytes;
    const uint64_t count = missing < bytes ? missing : bytes;
    lane_engine_copy((unsigned char *)&stream->size + stream->size_bytes, body, count);
    stream->size_bytes += (uint32_t)count;
    stream->taken += count;
    if (stream->size_bytes < sizeof stream->size) {
        return 0;
    }
    if (!size_fits(stream, stream->size, stream->body_left - stream->taken)) {
        return -EINVAL;
    }
    stream->piece = (struct piece){.size = stream->size};
    stream->padding = batch_item_bytes(stream->size) - BATCH_ITEM_BYTES - stream->size;
    stream->size_bytes = 0;
    stream->phase = STREAM_PLACE;
    return 0;
}

static void frame_close(struct stream *stream)
{
    const uint64_t size = stream->piece.size;
    if (!unit_piece_finish(&stream->unit, &stream->piece)) {
        stream->phase = STREAM_PLACE;
        return;
    }
    entry_done(stream, size);
    stream->phase = stream->padding > 0 ? STREAM_PADDING : STREAM_SIZE;
}

static int frame_open(struct stream *stream)
{
    if (unit_piece_begin(&stream->unit, &stream->piece, FRAME_BATCH) == UNIT_PIECE_CHUNK) {
        return chunk_next(stream);
    }
    stream->phase = STREAM_FILL;
    if (stream->piece.filled == stream->piece.bytes) {
        frame_close(stream);
    }
    return STORE_READY;
}

static void frame_fill(struct stream *stream, const unsigned char *body, uint64_t bytes)
{
    const uint64_t missing = stream->piece.bytes - stream->piece.filled;
    const uint64_t count = missing < bytes ? missing : bytes;
    unit_piece_fill(&stream->unit, &stream->piece, body, count);
    stream->taken += count;
    if (count == missing) {
        frame_close(stream);
    }
}

static void padding_pass(struct stream *stream, uint64_t bytes)
{
    const uint64_t count = stream->padding < bytes ? stream->padding : bytes;
    stream->padding -= count;
    stream->taken += count;
    if (stream->padding == 0) {
        stream->phase = STREAM_SIZE;
    }
}

/* Takes the body that begins at `body` in the lane's ring, up to `upto` bytes; where the ring ends
 * in it, in two pieces. STORE_READY, or STORE_WAIT or -errno in the middle. */
static int body_take(struct stream *stream, uint64_t body, uint64_t upto)
{
    const struct lane_map *map = &stream->lane->map;
    int outcome = STORE_READY;
    while (outcome == STORE_READY && (stream->taken < upto || stream->phase == STREAM_PLACE)) {
        const uint64_t piece = lane_engine_piece(map, body + stream->taken);
        const unsigned char *at = lane_at(map, body + stream->taken);
        uint64_t left = upto - stream->taken;
        left = left < piece ? left : piece;
        switch (stream->phase) {
        case STREAM_SIZE:
            if (stream->size_bytes == 0) {
                const uint64_t placed = items_place(stream, at, left);
                stream->taken += placed;
                at += placed;
                left -= placed;
            }
            if (left > 0) {
                outcome = size_take(stream, at, left);
            }
            break;
        case STREAM_PLACE:
            outcome = frame_open(stream);
            break;
        case STREAM_FILL:
            frame_fill(stream, at, left);
            break;
        case STREAM_PADDING:
            padding_pass(stream, left);
            break;
        }
    }
    return outcome;
}

/* A turn of the stream over a body of which `upto` bytes may be taken, as body_take(). */
static int stream_turn(struct stream *stream, uint64_t body, uint64_t upto)
{
    struct store *store = stream->store;
    if (store->fenced != 0) {
        return -EIO;
    }
    const uint64_t taken = stream->taken;
    unit_turn(&stream->unit, stream->salt, FRAME_STREAM);
    const int outcome = body_take(stream, body, upto);
    unit_seal(&stream->unit);
    stream->topic->stream_end = stream->unit.position;
    stream->stalled = outcome == STORE_WAIT;
    if (!stream->stalled || stream->taken != taken) {
        stream->progress_ns = store->now_ns;
    }
    return outcome;
}

static enum submit_outcome data_take(struct stream *stream, const struct submission *submission)
{
    struct lane *lane = stream->lane;
    if (submission->bytes > UNIT_BYTES_MAX || submission->bytes > stream->body_left) {
        return submit_hostile(lane, "sent more of a stream than it may");
    }
    const int outcome =
        stream_turn(stream, lane->head + SUBMISSION_HEADER_BYTES, submission->bytes);
    if (outcome == STORE_WAIT) {
        return SUBMIT_BLOCKED;
    }
    if (outcome < 0) {
        lane->stream_skip = true;
        stream_fail(stream, outcome, lane->head + submission_bytes(submission->bytes));
        return SUBMIT_TAKEN;
    }
    stream->body_left -= submission->bytes;
    stream_advance(stream, submission);
    return SUBMIT_TAKEN;
}

/* Everything is placed: shows it, the lane going on at `head`. STORE_READY, STORE_WAIT or -errno, after
 * which it is still there. */
static int stream_commit(struct stream *stream, uint64_t head)
{
    struct store *store = stream->store;
    struct topic *topic = stream->topic;
    struct lane *lane = stream->lane;
    struct unit *unit = &stream->unit;
    if (store->fenced != 0) {
        return -EIO;
    }
    unit_turn(unit, stream->salt, 0);
    while (!unit_place_marker(unit)) {
        const int outcome = chunk_next(stream);
        stream->stalled = outcome == STORE_WAIT;
        if (outcome != STORE_READY) {
            return outcome;
        }
    }
    const struct intent intent = {
        .kind = INTENT_STREAM_END,
        .head = head,
        .cq_tail = answer_write(lane, &stream->submission, unit->first_seq, 0),
        .position = unit_end(unit),
        .first_seq = unit->first_seq,
        .topic = topic->index,
        .count = (uint32_t)stream->entries,
    };
    topic->stream = NULL;
    step_final(store, lane, &intent, unit);
    lane->last_sync = store->flush.next_sync;
    lane_part(stream);
    counter_add(&store->counters, COUNTER_ENTRIES_APPENDED, stream->entries);
    counter_add(&store->counters, COUNTER_BYTES_APPENDED, stream->bytes);
    counter_add(&store->counters, COUNTER_BATCHES_APPENDED, stream->entries > 1);
    counter_add(&store->counters, COUNTER_STREAMS_APPENDED, 1);
    unit->chunk->holds--;
    flush_settle_chunk(store, unit->chunk);
    stream_end(stream);
    return STORE_READY;
}

static bool stream_is_complete(const struct stream *stream)
{
    return stream->phase == STREAM_SIZE && stream->size_bytes == 0 && stream->entries_left == 0 &&
           stream->bytes_left == 0;
}

static enum submit_outcome commit_take(struct stream *stream, const struct submission *submission)
{
    struct lane *lane = stream->lane;
    if (stream->body_left != 0 || submission->bytes != 0) {
        return submit_hostile(lane, "committed a stream before it had sent all of it");
    }
    const uint64_t head = lane->head + submission_bytes(submission->bytes);
    const int outcome = stream_is_complete(stream) ? stream_commit(stream, head) : -EINVAL;
    if (outcome == STORE_WAIT) {
        return SUBMIT_BLOCKED;
    }
    if (outcome < 0) {
        stream_fail(stream, outcome, head);
    }
    return SUBMIT_TAKEN;
}

/* What is left of a stream that has ended. */
static enum submit_outcome rest_skip(struct store *store, struct lane *lane,
                                     const struct submission *submission)
{
    if (!lane->stream_skip) {
        return submit_hostile(lane, "sent parts of a stream that it had not opened");
    }
    lane->stream_skip = submission->kind == SUBMIT_STREAM_DATA;
    submit_advance(store, lane, submission);
    return SUBMIT_TAKEN;
}

enum submit_outcome stream_take(struct store *store, struct lane *lane,
                                const struct submission *submission)
{
    struct stream *stream = lane->stream;
    if (submission->kind == SUBMIT_STREAM_OPEN) {
        return stream != NULL || lane->stream_skip
                   ? submit_hostile(lane, "began a stream before it had ended the one before")
                   : open_take(store, lane, submission);
    }
    if (stream == NULL) {
        return rest_skip(store, lane, submission);
    }
    if (submission->topic != stream->submission.topic ||
        submission->incarnation != stream->submission.incarnation) {
        return submit_hostile(lane, "named another topic in the middle of a stream");
    }
    if (submission->kind == SUBMIT_STREAM_DATA) {
        return data_take(stream, submission);
    }
    if (submission->kind == SUBMIT_STREAM_COMMIT) {
        return commit_take(stream, submission);
    }
    stream_fail(stream, STREAM_ABORTED, lane->head + submission_bytes(submission->bytes));
    return SUBMIT_TAKEN;
}

int stream_begin_whole(struct store *store, struct lane *lane, struct topic *topic,
                       const struct submission *submission, const struct stream_plan *plan)
{
    struct stream *stream;
    const int outcome = stream_new(store, lane, topic, submission, &stream);
    if (outcome != STORE_READY) {
        return outcome;
    }
    stream->whole = true;
    stream->entries = stream->entries_left = plan->entries;
    stream->bytes = stream->bytes_left = plan->bytes;
    stream->body_left = submission->bytes;
    stream->entry_bytes_max = ENTRY_BYTES_MAX;
    if (!plan->items) {
        stream->piece = (struct piece){.size = submission->bytes};
        stream->phase = STREAM_PLACE;
    }
    return STORE_READY;
}

bool stream_is_whole(const struct lane *lane)
{
    return lane->stream != NULL && lane->stream->whole;
}

enum submit_outcome stream_go_on(struct lane *lane)
{
    struct stream *stream = lane->stream;
    const uint64_t bytes = stream->submission.bytes;
    const uint64_t most = stream->taken + UNIT_BYTES_MAX;
    const uint64_t head = lane->head + submission_bytes(bytes);
    int outcome =
        stream_turn(stream, lane->head + SUBMISSION_HEADER_BYTES, most < bytes ? most : bytes);
    if (outcome == STORE_READY && stream->taken < bytes) {
        return SUBMIT_AGAIN;
    }
    if (outcome == STORE_READY) {
        outcome = stream_is_complete(stream) ? stream_commit(stream, head) : -EINVAL;
    }
    if (outcome == STORE_WAIT) {
        return SUBMIT_BLOCKED;
    }
    if (outcome < 0) {
        stream_fail(stream, outcome, head);
    }
    return SUBMIT_TAKEN;
}

void stream_lane_gone(struct lane *lane)
{
    struct stream *stream = lane->stream;
    if (stream != NULL) {
        lane_part(stream);
        stream_undo(stream);
    }
}

void stream_topic_gone(struct topic *topic)
{
    struct stream *stream = topic->stream;
    if (stream == NULL) {
        return;
    }
    struct lane *lane = stream->lane;
    if (lane != NULL) {
        const uint64_t past = stream->whole ? submission_bytes(stream->submission.bytes) : 0;
        lane->stream_skip = !stream->whole;
        stream_fail(stream, -ESTALE, lane->head + past);
    }
    if (topic->stream != NULL) {
        stream_end(topic->stream); /* that it is deleted says enough */
    }
}

static void stream_look(struct stream *stream)
{
    const struct store *store = stream->store;
    struct lane *lane = stream->lane;
    if (lane == NULL) {
        stream_undo_step(stream);
    } else if (stream->whole || stream->stalled) {
        stream->progress_ns = store->now_ns; /* it waits for us, not we for its client */
    } else if (store->now_ns - stream->progress_ns >= store->config->stream_timeout_ns) {
        lane->stream_skip = true;
        stream_fail(stream, -ETIMEDOUT, lane->head);
    }
}

void stream_tick(struct store *store)
{
    list_each(node, &store->streams)
    {
        stream_look(list_entry(node, struct stream, streams));
    }
}

uint64_t stream_next_ns(const struct store *store)
{
    uint64_t next = UINT64_MAX;
    list_each(node, &store->streams)
    {
        const struct stream *stream = list_entry(node, struct stream, streams);
        const uint64_t at = stream->progress_ns + store->config->stream_timeout_ns;
        if (stream->lane != NULL && !stream->whole && !stream->stalled && at < next) {
            next = at;
        }
    }
    return next;
}

bool stream_stop(struct store *store)
{
    list_each(node, &store->streams)
    {
        struct stream *stream = list_entry(node, struct stream, streams);
        struct lane *lane = stream->lane;
        if (lane != NULL && !stream->whole && lane_is_drained(lane)) {
            lane->stream_skip = true;
            stream_fail(stream, -ESTALE, lane->head);
        }
    }
    return list_empty(&store->streams);
}
