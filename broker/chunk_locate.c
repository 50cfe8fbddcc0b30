/* Chunk locate: see chunk_locate.h. */
#include "broker/chunk_locate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/frame_scan.h"
#include "broker/pending.h"
#include "shm/ensure.h"

/* The beginning of a chunk is being read. */
struct header_read {
    struct io_op io;
    struct store *store;
    struct chunk *chunk;
    struct list waiters; /* of struct pending.queue */
};

/* On which side of the entry that is looked for does a chunk begin? */
enum side { SIDE_BEFORE, SIDE_AFTER, SIDE_UNKNOWN };

static enum chunk_begin begin_of(const struct frame_header *first)
{
    return (first->flags & FRAME_FIRST) != 0 ? BEGIN_ENTRY : BEGIN_REST;
}

/* Does the chunk begin with an entry, or with the rest of one? */
static enum chunk_begin chunk_begin(const struct store *store, struct chunk *chunk)
{
    if (chunk->begin == BEGIN_UNKNOWN && chunk->state == CHUNK_RESIDENT) {
        chunk->begin =
            begin_of((const void *)(pool_image(&store->pool, chunk) + CHUNK_HEADER_BYTES));
    }
    return chunk->begin;
}

static enum side known_or_not(const struct chunk *chunk)
{
    return chunk->begin_unreadable ? SIDE_AFTER : SIDE_UNKNOWN;
}

static enum side chunk_judge(const struct store *store, const struct submission *sought,
                             struct chunk *chunk)
{
    const bool by_time = (sought->flags & SUBMIT_BY_TIME) != 0;
    const uint64_t bound = by_time ? chunk->base_time_ns : chunk->base_seq;
    if (bound > sought->arg || (by_time && bound == sought->arg)) {
        return SIDE_AFTER;
    }
    if (!chunk->base_exact) {
        return known_or_not(chunk);
    }
    if (bound < sought->arg) {
        return SIDE_BEFORE;
    }
    switch (chunk_begin(store, chunk)) {
    case BEGIN_ENTRY:
        return SIDE_BEFORE;
    case BEGIN_REST:
        return SIDE_AFTER;
    case BEGIN_UNKNOWN:
        break;
    }
    return known_or_not(chunk);
}

/* Visible chunks whose bounds are not above what is sought. */
static uint32_t chunks_below(const struct store *store, const struct topic *topic,
                             const struct submission *sought)
{
    const bool by_time = (sought->flags & SUBMIT_BY_TIME) != 0;
    uint32_t low = 0;
    uint32_t high = topic->chunk_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct chunk *chunk = topic->chunks[middle];
        const uint64_t bound = by_time ? chunk->base_time_ns : chunk->base_seq;
        if (chunk_is_visible(chunk, store->chunk_bytes) && bound <= sought->arg) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Of chunks [0, high) the last that is BEFORE, or the first: steps back further and further until
 * one is, then halves what is between. UNKNOWN: *at has to be read first. */
static enum side search(const struct store *store, const struct topic *topic,
                        const struct submission *sought, uint32_t high, uint32_t *at)
{
    uint32_t low = UINT32_MAX; /* none is known */
    uint32_t step = 1;
    *at = high > 0 ? high - 1 : 0;
    while (high > 0) {
        const enum side side = chunk_judge(store, sought, topic->chunks[*at]);
        if (side == SIDE_UNKNOWN) {
            return side;
        }
        if (side == SIDE_BEFORE) {
            low = *at;
        } else {
            high = *at;
        }
        if (low == UINT32_MAX) {
            *at = high > step ? high - step : 0;
            step *= 2;
            continue;
        }
        *at = low + (high - low) / 2;
        if (*at == low) {
            return SIDE_BEFORE;
        }
    }
    *at = 0;
    return SIDE_BEFORE;
}

static void header_learn(struct header_read *read, int result)
{
    struct chunk *chunk = read->chunk;
    const struct frame_chunk place = {
        .topic_id = chunk->topic->id, .chunk_no = chunk->number, .generation = chunk->generation};
    const unsigned char *block = read->io.buffer;
    if (result != 0 || !frame_chunk_header_fits(&place, block)) {
        chunk->begin_unreadable = true;
        return;
    }
    struct chunk_header header;
    memcpy(&header, block, sizeof header);
    chunk->begin = begin_of((const void *)(block + CHUNK_HEADER_BYTES));
    topic_chunk_learn(chunk, header.base_seq, header.base_time_ns);
}

static void header_done(struct io_op *io, int result)
{
    struct header_read *read = io->context;
    struct store *store = read->store;
    struct chunk *chunk = read->chunk;
    store->loading--;
    chunk->holds--;
    if (chunk->topic != NULL) {
        header_learn(read, result);
    }
    flush_settle_chunk(store, chunk);
    struct list_node *node;
    while ((node = list_first(&read->waiters)) != NULL) {
        struct pending *pending = list_entry(node, struct pending, queue);
        list_remove(node);
        pending->resume(pending);
    }
    free(read->io.buffer);
    free(read);
}

static int header_begin(struct pending *pending, struct chunk *chunk)
{
    struct store *store = pending->store;
    struct header_read *read = calloc(1, sizeof *read);
    void *block = io_buffer_new(BLOCK_BYTES);
    if (read == NULL || block == NULL) {
        free(read);
        free(block);
        return -ENOMEM;
    }
    read->store = store;
    read->chunk = chunk;
    read->io = (struct io_op){
        .kind = IO_READ,
        .file = slot_file(&store->segments, chunk->slot),
        .buffer = block,
        .bytes = BLOCK_BYTES,
        .offset = slot_offset(&store->segments, chunk->slot),
        .done = header_done,
        .context = read,
    };
    list_init(&read->waiters);
    list_push_back(&read->waiters, &pending->queue);
    store->loading++;
    chunk->holds++;
    pool_settle(&store->pool, chunk, false);
    counter_add(&store->counters, COUNTER_HEADERS_READ, 1);
    io_submit(store->io, &read->io);
    return STORE_WAIT;
}

int chunk_locate(struct pending *pending, struct chunk **chunk)
{
    struct store *store = pending->store;
    const struct topic *topic = pending->topic;
    *chunk = NULL;
    if (topic->chunk_count == 0) {
        return STORE_READY;
    }
    uint32_t at;
    const uint32_t high = chunks_below(store, topic, &pending->submission);
    if (search(store, topic, &pending->submission, high, &at) == SIDE_UNKNOWN) {
        return header_begin(pending, topic->chunks[at]);
    }
    *chunk = topic->chunks[at];
    return STORE_READY;
}
