/* Stream, its end: see stream_undo.h. */
#include "broker/stream_undo.h"

#include <stdlib.h>

#include "broker/stream.h"
#include "broker/system_topic.h"
#include "shm/crash_point.h"

/* The chunk of the tail is as it was: nothing behind the tail counts as written or placed. */
static void tail_chunk_reset(struct stream *stream)
{
    struct store *store = stream->store;
    const struct topic *topic = stream->topic;
    const uint64_t tail = topic->tail_position;
    const uint64_t number = chunk_number(tail, store->chunk_bytes);
    struct chunk *chunk = topic_chunk(topic, number);
    if (chunk == NULL) {
        return;
    }
    flush_unmark_full(store, chunk);
    if (tail == chunk_first_frame(number, store->chunk_bytes)) {
        chunk->started = false;
        chunk->written = chunk_start(number, store->chunk_bytes);
    } else if (chunk->written > tail) {
        chunk->written = tail;
    }
    flush_settle_chunk(store, chunk);
}

/* A topic without entries begins at its tail: so a verdict says, and so it is replayed. */
static void first_settle(struct topic *topic)
{
    if (topic->first_seq != topic->next_seq) {
        return;
    }
    topic->first_position = topic->tail_position;
    topic_publish_first(topic->shm, topic->first_position, topic->first_seq);
    if (topic->cursor.exists && topic->cursor.position < topic->first_position) {
        topic->cursor.position = topic->first_position;
    }
}

/* Records that nothing behind the tail ever was. STORE_READY, or not yet. */
static int verdict_record(struct stream *stream)
{
    struct store *store = stream->store;
    struct topic *topic = stream->topic;
    int outcome = system_topic_prepare(store);
    if (outcome == STORE_READY) {
        outcome = numbers_take_salt(store);
    }
    if (outcome != STORE_READY) {
        return outcome;
    }
    const uint64_t void_from = chunk_number(topic->tail_position, store->chunk_bytes) + 1;
    const struct record record = {
        .kind = RECORD_VERDICT,
        .topic_id = topic->id,
        .verdict = {.tail = {.position = topic->tail_position, .seq = topic->next_seq},
                    .durable = {.position = topic->durable_position, .seq = topic->durable_seq},
                    .void_from = void_from,
                    .salt_floor = store->numbers.salt},
    };
    system_topic_append(store, &record);
    topic->floor =
        (struct salt_floor){.position = topic->tail_position, .salt = store->numbers.salt};
    first_settle(topic);
    store_forget_end(store, topic, void_from);
    stream->sync = flush_want(store);
    crash_point("stream.verdict");
    return STORE_READY;
}

void stream_undo(struct stream *stream)
{
    struct store *store = stream->store;
    struct topic *topic = stream->topic;
    counter_add(&store->counters, COUNTER_STREAMS_ROLLED_BACK, 1);
    stream->unit.chunk->holds--;
    topic->stream_end = topic->tail_position;
    tail_chunk_reset(stream);
    stream->stage = STREAM_RECORDING;
    if (!stream->written) {
        stream_end(stream);
    }
}

void stream_undo_step(struct stream *stream)
{
    struct store *store = stream->store;
    if (store->fenced != 0) {
        stream_end(stream); /* nothing is appended any more */
        return;
    }
    if (stream->stage == STREAM_RECORDING && verdict_record(stream) == STORE_READY) {
        stream->stage = STREAM_SYNCING;
    }
    if (stream->stage == STREAM_SYNCING && store->flush.durable_sync >= stream->sync) {
        tail_chunk_reset(stream); /* writes that were in flight have ended */
        stream_end(stream);
    }
}

void stream_end(struct stream *stream)
{
    struct store *store = stream->store;
    stream->topic->stream = NULL;
    store->stream_ended = true;
    store_topic_moved(store, stream->topic);
    list_remove(&stream->streams);
    store->streams_count--;
    free(stream);
}

void stream_free_all(struct store *store)
{
    if (store->streams.head.next == NULL) {
        return; /* it was never open */
    }
    list_each(node, &store->streams)
    {
        stream_end(list_entry(node, struct stream, streams));
    }
}
