/* Read-ahead: see read_ahead.h. */
#include "broker/read_ahead.h"

#include "broker/fetch.h"
#include "broker/store.h"

enum {
    DEPTH_FIRST = 2,
    /* Who looks for an entry may have to go on once to find it. */
    STEPS_MIN = 2,
};

/* Readers that have used nothing for so long are not counted on. */
#define STREAM_IDLE_NS UINT64_C(1000000000)

static bool stream_is_of(const struct read_stream *stream, const struct topic *topic)
{
    return stream->topic == topic->index && stream->incarnation == topic->incarnation;
}

/* Are all chunks in [from, to) in the topic's map, where readers find them without saying so? */
static bool chunks_are_mapped(const struct topic *topic, uint64_t from, uint64_t to)
{
    if (to - from > CHUNK_MAP_ENTRIES) {
        return false;
    }
    for (uint64_t number = from; number < to; number++) {
        uint32_t unit;
        if (topic_chunk_unit(topic->shm, number, &unit) == 0) {
            return false;
        }
    }
    return true;
}

/* Where the stream stands, seen from a use of the chunk. */
enum stream_fit { FIT_NONE, FIT_HERE, FIT_NEXT };

static enum stream_fit stream_fits(const struct read_stream *stream, const struct chunk *chunk)
{
    if (!stream_is_of(stream, chunk->topic) || chunk->number < stream->at) {
        return FIT_NONE;
    }
    if (chunk->number == stream->at) {
        return FIT_HERE;
    }
    return chunks_are_mapped(chunk->topic, stream->at + 1, chunk->number) ? FIT_NEXT : FIT_NONE;
}

/* The least useful one: those that were not seen to go on first, then those not heard of longest. */
static bool stream_is_worse(const struct read_stream *one, const struct read_stream *other)
{
    const bool one_goes = one->steps >= STEPS_MIN;
    const bool other_goes = other->steps >= STEPS_MIN;
    return one_goes != other_goes ? other_goes : one->used_ns < other->used_ns;
}

/* The stream that the use belongs to; a new one if there is none. */
static struct read_stream *stream_find(struct read_ahead *ahead, const struct chunk *chunk,
                                       enum read_kind kind, enum stream_fit *fit)
{
    struct read_stream *next = NULL;
    struct read_stream *worst = &ahead->streams[0];
    for (int i = 0; i < READ_AHEAD_STREAMS; i++) {
        struct read_stream *stream = &ahead->streams[i];
        *fit = stream_fits(stream, chunk);
        if (*fit == FIT_HERE) {
            return stream;
        }
        next = *fit == FIT_NEXT ? stream : next;
        worst = stream_is_worse(stream, worst) ? stream : worst;
    }
    if (next != NULL && kind == READ_ON) {
        *fit = FIT_NEXT;
        return next;
    }
    *fit = FIT_NONE;
    *worst = (struct read_stream){.topic = chunk->topic->index,
                                  .incarnation = chunk->topic->incarnation,
                                  .at = chunk->number,
                                  .end = chunk->number + 1};
    return worst;
}

/* What all readers together may have ahead, and each of those that are there now. Chunks. */
static uint32_t budget_all(const struct store *store)
{
    return store->pool.bigs / READ_AHEAD_PART;
}

static uint32_t budget_each(const struct store *store)
{
    uint32_t streams = 0;
    for (int i = 0; i < READ_AHEAD_STREAMS; i++) {
        const struct read_stream *stream = &store->read_ahead.streams[i];
        streams += stream->depth > 0 && store->now_ns - stream->used_ns < STREAM_IDLE_NS;
    }
    const uint32_t share = budget_all(store) / (streams > 0 ? streams : 1);
    const uint32_t most = (uint32_t)(READ_AHEAD_BYTES_MAX / store->chunk_bytes);
    const uint32_t least = share < most ? share : most;
    return least > 0 ? least : 1;
}

/* A reader that waits is slower than the disk could be if more were asked of it: twice as much. */
static void stream_deepen(const struct store *store, struct read_stream *stream, bool waits)
{
    const uint32_t most = budget_each(store);
    if (waits) {
        stream->depth = stream->depth == 0 ? DEPTH_FIRST : stream->depth * 2;
    }
    if (stream->depth > most) {
        stream->depth = most;
    }
}

/* Has the chunks behind the reader read, as far as its depth goes. */
static void stream_fill(struct store *store, struct read_stream *stream, const struct topic *topic)
{
    const uint64_t until = stream->at + 1 + stream->depth;
    if (stream->end <= stream->at) {
        stream->end = stream->at + 1;
    }
    while (stream->end < until && store->pool.ahead_count < budget_all(store)) {
        struct chunk *chunk = topic_chunk(topic, stream->end);
        const bool visible =
            chunk != NULL && chunk_start(chunk->number, store->chunk_bytes) <= topic->tail_position;
        if (!visible || !chunk->started || !fetch_ahead(store, chunk)) {
            return;
        }
        stream->end++;
    }
}

void read_ahead_use(struct store *store, const struct chunk *chunk, enum read_kind kind, bool waits)
{
    struct read_ahead *ahead = &store->read_ahead;
    if (kind == READ_ON && ahead->last != NULL && stream_fits(ahead->last, chunk) == FIT_HERE) {
        ahead->last->used_ns = store->now_ns;
        return;
    }
    enum stream_fit fit;
    struct read_stream *stream = stream_find(ahead, chunk, kind, &fit);
    ahead->last = stream;
    stream->used_ns = store->now_ns;
    if (fit != FIT_NEXT) {
        if (kind == READ_SEEK && stream->steps < STEPS_MIN) {
            stream->steps = 0;
        }
        return;
    }
    stream->at = chunk->number;
    stream->steps++;
    if (stream->steps >= STEPS_MIN) {
        stream_deepen(store, stream, waits);
        stream_fill(store, stream, chunk->topic);
    }
}

void read_ahead_tick(struct store *store)
{
    if (store->now_ns > STREAM_IDLE_NS) {
        pool_ahead_expire(&store->pool, store->now_ns - STREAM_IDLE_NS);
    }
}
