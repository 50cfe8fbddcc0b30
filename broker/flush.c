/* Flush: see flush.h. */
#include "broker/flush.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/group.h"
#include "broker/pending.h"
#include "broker/store.h"
#include "broker/topic.h"
#include "shm/crash_point.h"
#include "shm/ensure.h"

/* One write, or one sync, of the flush in flight. */
struct flush_op {
    struct io_op io;
    struct store *store;
    struct chunk *chunk;   /* of a write: held until it is done */
    uint64_t upto;         /* of the range's last write: the image is on disk up to here */
    void *block;           /* a private buffer, or NULL */
    struct flush_op *next; /* in flush.free_ops */
};

int flush_init(struct flush *flush)
{
    *flush = (struct flush){.next_sync = 1};
    list_init(&flush->dirty);
    list_init(&flush->full);
    list_init(&flush->captured);
    list_init(&flush->waiters);
    flush->blocks = io_buffer_new((uint64_t)FLUSH_BLOCKS * FLUSH_COPY_BYTES);
    if (flush->blocks == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < FLUSH_BLOCKS; i++) {
        void *block = flush->blocks + (size_t)i * FLUSH_COPY_BYTES;
        *(void **)block = flush->free_block;
        flush->free_block = block;
    }
    return 0;
}

void flush_deinit(struct flush *flush)
{
    while (flush->free_ops != NULL) {
        struct flush_op *op = flush->free_ops;
        flush->free_ops = op->next;
        free(op);
    }
    free(flush->blocks);
    flush->blocks = NULL;
}

static bool block_is_private(const struct flush *flush, const void *block)
{
    const uintptr_t offset = (uintptr_t)block - (uintptr_t)flush->blocks;
    return offset < (uintptr_t)FLUSH_BLOCKS * FLUSH_COPY_BYTES;
}

static void *block_take(struct flush *flush, uint64_t bytes)
{
    void *block = flush->free_block;
    if (block != NULL) {
        flush->free_block = *(void **)block;
        return block;
    }
    return io_buffer_new(bytes); /* not registered, but as good */
}

static void block_give(struct flush *flush, void *block)
{
    if (block == NULL) {
        return;
    }
    if (!block_is_private(flush, block)) {
        free(block);
        return;
    }
    *(void **)block = flush->free_block;
    flush->free_block = block;
}

static struct flush_op *op_take(struct store *store)
{
    struct flush *flush = &store->flush;
    struct flush_op *op = flush->free_ops;
    if (op != NULL) {
        flush->free_ops = op->next;
    } else {
        op = malloc(sizeof *op);
        ensure(op != NULL);
    }
    *op = (struct flush_op){.store = store};
    op->io.context = op;
    return op;
}

void flush_mark_dirty(struct store *store, struct topic *topic)
{
    struct flush *flush = &store->flush;
    flush->news = true;
    if (list_linked(&topic->dirty)) {
        return;
    }
    if (flush->due_ns == 0) {
        flush->due_ns = store->now_ns + store->config->fsync_interval_ns;
    }
    list_push_back(&flush->dirty, &topic->dirty);
}

static uint64_t chunk_bytes(const struct store *store, const struct chunk *chunk)
{
    return chunk_size(chunk->number, store->chunk_bytes);
}

void flush_mark_full(struct store *store, struct chunk *chunk)
{
    if (!list_linked(&chunk->full)) {
        list_push_back(&store->flush.full, &chunk->full);
        store->flush.full_bytes += chunk_bytes(store, chunk);
        chunk->full_ns = store->now_ns;
    }
}

void flush_unmark_full(struct store *store, struct chunk *chunk)
{
    if (list_linked(&chunk->full)) {
        list_remove(&chunk->full);
        store->flush.full_bytes -= chunk_bytes(store, chunk);
    }
}

void flush_hurry(struct store *store)
{
    struct flush *flush = &store->flush;
    flush->room_wanted = true;
    if (flush_idle(flush) && list_empty(&flush->full)) {
        flush_want(store);
    }
}

/* When the oldest complete chunk is written, whatever happens; UINT64_MAX: there is none. */
static uint64_t full_due_ns(const struct store *store)
{
    const struct list_node *oldest = list_first(&store->flush.full);
    return oldest == NULL ? UINT64_MAX
                          : list_entry(oldest, struct chunk, full)->full_ns +
                                FLUSH_FULL_MS * UINT64_C(1000000);
}

static bool ahead_due(const struct store *store)
{
    const struct flush *flush = &store->flush;
    if (list_empty(&flush->full)) {
        return false;
    }
    const uint64_t arena_bytes = (uint64_t)store->pool.bigs * store->chunk_bytes;
    return store->config->fsync != FSYNC_NONE || flush->room_wanted ||
           flush->full_bytes >= arena_bytes / FLUSH_FULL_PART ||
           full_due_ns(store) <= store->now_ns;
}

static uint64_t chunk_end(const struct store *store, const struct chunk *chunk)
{
    return chunk_start(chunk->number + 1, store->chunk_bytes);
}

void flush_settle_chunk(struct store *store, struct chunk *chunk)
{
    bool clean = true;
    if (chunk->topic != NULL && chunk->state == CHUNK_RESIDENT) {
        const uint64_t end = chunk_end(store, chunk);
        const uint64_t tail = topic_log_end(chunk->topic);
        clean = !chunk->started || chunk->written >= (tail < end ? tail : end);
        /* What wants room often has to record something before it gets it, and would throw the
         * system topic's tail out for itself again and again. */
        clean &= chunk->topic != store->system || tail >= end;
    }
    pool_settle(&store->pool, chunk, clean);
    store->freed = true;
}

void flush_settle_end(struct store *store, struct topic *topic)
{
    const bool freed = store->freed;
    uint64_t number = chunk_number(topic->tail_position, store->chunk_bytes);
    struct chunk *chunk;
    while ((chunk = topic_chunk(topic, number++)) != NULL) {
        flush_settle_chunk(store, chunk);
    }
    store->freed = freed; /* nothing new: who is retried next can have them already */
}

uint64_t flush_want(struct store *store)
{
    struct flush *flush = &store->flush;
    if (flush->news) {
        flush->wanted = true;
        return flush->next_sync;
    }
    return flush->state != FLUSH_IDLE && flush->sync ? flush->number : flush->durable_sync;
}

/* All syncs of the flush have succeeded. */
static void flush_durable(struct store *store)
{
    struct flush *flush = &store->flush;
    crash_point("flush.synced");
    counter_add(&store->counters, COUNTER_SYNCS, 1);
    counter_add(&store->counters, COUNTER_SYNC_NS, store->now_ns - flush->begun_ns);
    flush->durable_sync = flush->number;
    list_each(node, &flush->captured)
    {
        struct topic *topic = list_entry(node, struct topic, captured);
        list_remove(&topic->captured);
        topic->durable_position = topic->captured_position;
        topic->durable_seq = topic->captured_seq;
        topic_publish_durable(topic->shm, topic->durable_position, topic->durable_seq);
        if (topic->tail_position == topic->durable_position) {
            list_remove(&topic->dirty);
        }
        marks_note(store, topic);
        store_topic_moved(store, topic);
    }
    flush->due_ns =
        list_empty(&flush->dirty) ? 0 : store->now_ns + store->config->fsync_interval_ns;
    group_synced(store, flush->number);
    store_frees_release(store, flush->number);
    if (flush->number - flush->marked_sync >= MARK_SYNCS) {
        flush->marked_sync = flush->number;
        marks_begin(store, true);
    }
}

static void flush_end(struct store *store)
{
    struct flush *flush = &store->flush;
    flush->state = FLUSH_IDLE;
    if (flush->error != 0) {
        list_each(node, &flush->captured)
        {
            list_remove(node);
        }
        store_fence(store, flush->error, flush->sync ? "a sync" : "a write");
    } else if (flush->sync) {
        flush_durable(store);
    }
    store->freed = true; /* who found the arena full may ask for the next flush */
    pending_synced(store);
}

static void syncs_begin(struct store *store);
static void captured_write(struct store *store, bool dsync);
static void ahead_write(struct store *store);

static void flush_op_done(struct io_op *io, int result)
{
    struct flush_op *op = io->context;
    struct store *store = op->store;
    struct flush *flush = &store->flush;
    if (result != 0 && flush->error == 0) {
        flush->error = result;
    }
    if (op->chunk != NULL) {
        op->chunk->holds--;
        if (result == 0 && op->upto > op->chunk->written) {
            op->chunk->written = op->upto;
        }
        flush_settle_chunk(store, op->chunk);
    }
    block_give(flush, op->block);
    op->next = flush->free_ops;
    flush->free_ops = op;
    flush->outstanding--;
    if (flush->state == FLUSH_WRITING && flush->sync && flush->error == 0) {
        captured_write(store, false);
    } else if (flush->state == FLUSH_WRITING && !flush->sync) {
        ahead_write(store);
    }
    if (flush->outstanding > 0) {
        return;
    }
    if (flush->state == FLUSH_WRITING && flush->sync && flush->error == 0) {
        crash_point("flush.written");
        syncs_begin(store);
    } else {
        flush_end(store);
    }
}

/* One write of [from, from + bytes) of the chunk's slot. */
static void write_submit(struct store *store, struct chunk *chunk, void *buffer, uint64_t from,
                         uint64_t bytes, uint64_t upto, void *block, bool dsync)
{
    struct flush_op *op = op_take(store);
    op->chunk = chunk;
    op->upto = upto;
    op->block = block;
    op->io.kind = IO_WRITE;
    op->io.dsync = dsync;
    op->io.file = slot_file(&store->segments, chunk->slot);
    op->io.buffer = buffer;
    op->io.bytes = bytes;
    op->io.offset = slot_offset(&store->segments, chunk->slot) + from;
    op->io.done = flush_op_done;
    counter_add(&store->counters, COUNTER_BYTES_WRITTEN, bytes);
    chunk->holds++;
    pool_settle(&store->pool, chunk, false);
    store->flush.outstanding++;
    if (!dsync) {
        segment_touch(&store->segments, chunk->slot);
    }
    io_submit(store->io, &op->io);
}

/* The blocks of a chunk that hold what is not on disk below `upto`. */
struct range {
    struct chunk *chunk;
    uint64_t from;  /* of the slot, aligned */
    uint64_t used;  /* of the slot, what is captured */
    uint64_t bytes; /* from `from`, aligned */
    uint64_t upto;  /* a position */
};

static bool range_of(const struct store *store, struct chunk *chunk, uint64_t tail,
                     struct range *range)
{
    const uint64_t start = chunk_start(chunk->number, store->chunk_bytes);
    const uint64_t end = chunk_end(store, chunk);
    const uint64_t upto = tail < end ? tail : end;
    if (upto <= start + CHUNK_HEADER_BYTES || chunk->written >= upto) {
        return false;
    }
    const uint64_t written = chunk->written > start ? chunk->written - start : 0;
    range->chunk = chunk;
    range->from = align_down(written, BLOCK_BYTES);
    range->used = upto - start;
    range->bytes = align_up(range->used, BLOCK_BYTES) - range->from;
    range->upto = upto;
    return true;
}

/* Copies a range's bytes from `from` on, as far as they are captured, zero beyond. */
static void *range_copy(struct store *store, const struct range *range, uint64_t from,
                        uint64_t bytes)
{
    unsigned char *block = block_take(&store->flush, bytes);
    ensure(block != NULL);
    const uint64_t used = range->used - from;
    memcpy(block, pool_image(&store->pool, range->chunk) + from, used);
    memset(block + used, 0, bytes - used);
    return block;
}

/* A range is written from the arena where it lies; a last block that is not full and may change
 * meanwhile goes through a private copy, and with it the rest of what is small. */
static void range_write(struct store *store, const struct range *range, bool dsync)
{
    struct chunk *chunk = range->chunk;
    const uint64_t whole = align_down(range->used, BLOCK_BYTES);
    const bool partial = whole != range->used;
    if (partial && range->bytes <= FLUSH_COPY_BYTES) {
        void *block = range_copy(store, range, range->from, range->bytes);
        write_submit(store, chunk, block, range->from, range->bytes, range->upto, block, dsync);
        return;
    }
    write_submit(store, chunk, pool_image(&store->pool, chunk) + range->from, range->from,
                 whole - range->from, partial ? 0 : range->upto, NULL, dsync && !partial);
    if (partial) {
        void *block = range_copy(store, range, whole, BLOCK_BYTES);
        write_submit(store, chunk, block, whole, BLOCK_BYTES, range->upto, block, false);
    }
}

static void topic_capture(struct store *store, struct topic *topic)
{
    topic->captured_position = topic->tail_position;
    topic->captured_seq = topic->next_seq;
    list_push_back(&store->flush.captured, &topic->captured);
}

/* Calls `each` for every range of a captured topic that is not on disk; returns how many. */
static uint32_t topic_ranges(struct store *store, struct topic *topic, bool dsync,
                             void (*each)(struct store *, const struct range *, bool))
{
    uint32_t count = 0;
    uint64_t number = chunk_number(topic->durable_position, store->chunk_bytes);
    if (number < topic->first_chunk) {
        number = topic->first_chunk;
    }
    for (; number < topic->first_chunk + topic->chunk_count; number++) {
        struct chunk *chunk = topic_chunk(topic, number);
        struct range range;
        if (chunk_start(number, store->chunk_bytes) >= topic->captured_position) {
            break; /* an open stream's */
        }
        if (range_of(store, chunk, topic->captured_position, &range)) {
            flush_unmark_full(store, chunk);
            each(store, &range, dsync);
            count++;
        }
    }
    return count;
}

static void range_count(struct store *store, const struct range *range, bool dsync)
{
    (void)store;
    (void)range;
    (void)dsync;
}

/* A flush of one small range needs no separate sync: the write itself is durable. */
static bool flush_is_one_write(struct store *store)
{
    const struct list_node *only = list_first(&store->flush.captured);
    if (only == NULL || only->next != &store->flush.captured.head ||
        store->segments.touched != NULL) {
        return false;
    }
    struct topic *topic = list_entry(only, struct topic, captured);
    if (topic->captured_position - topic->durable_position > FLUSH_COPY_BYTES - BLOCK_BYTES) {
        return false;
    }
    return topic_ranges(store, topic, false, range_count) == 1;
}

static void flush_begin_sync(struct store *store)
{
    struct flush *flush = &store->flush;
    list_each(node, &flush->dirty)
    {
        topic_capture(store, list_entry(node, struct topic, dirty));
    }
    flush->state = FLUSH_WRITING;
    flush->sync = true;
    flush->error = 0;
    flush->number = flush->next_sync++;
    flush->wanted = false;
    flush->news = false;
    flush->begun_ns = store->now_ns;
    const bool dsync = flush_is_one_write(store);
    flush->outstanding = 0;
    flush->next_captured = flush->captured.head.next;
    captured_write(store, dsync);
    if (flush->outstanding == 0) {
        syncs_begin(store);
    }
}

/* Goes on with the writes of a flush, as many at a time as memory is set aside for. */
static void captured_write(struct store *store, bool dsync)
{
    struct flush *flush = &store->flush;
    while (flush->next_captured != &flush->captured.head && flush->outstanding < FLUSH_WRITES_MAX) {
        struct topic *topic = list_entry(flush->next_captured, struct topic, captured);
        flush->next_captured = flush->next_captured->next;
        topic_ranges(store, topic, dsync, range_write);
    }
}

static void syncs_begin(struct store *store)
{
    struct flush *flush = &store->flush;
    flush->state = FLUSH_SYNCING;
    flush->outstanding = 1;
    struct segment *segment;
    while ((segment = segment_take_touched(&store->segments)) != NULL) {
        struct flush_op *op = op_take(store);
        op->io.kind = IO_SYNC;
        op->io.file = segment->file;
        op->io.done = flush_op_done;
        flush->outstanding++;
        io_submit(store->io, &op->io);
    }
    if (--flush->outstanding == 0) {
        flush_end(store);
    }
}

static bool flush_sync_due(const struct store *store)
{
    const struct flush *flush = &store->flush;
    if (flush->wanted) {
        return true; /* also with nothing left to write: somebody waits for its number */
    }
    if (list_empty(&flush->dirty)) {
        return false;
    }
    switch (store->config->fsync) {
    case FSYNC_EACH:
        return true;
    case FSYNC_INTERVAL:
        return store->now_ns >= flush->due_ns;
    case FSYNC_NONE:
        return false;
    }
    return false;
}

/* Of a write-only flush: keeps the device busy with chunks that are complete. */
static void ahead_write(struct store *store)
{
    struct flush *flush = &store->flush;
    if (flush->error != 0 || flush_sync_due(store)) {
        return;
    }
    while (flush->outstanding < FLUSH_AHEAD_WRITES && ahead_due(store)) {
        struct chunk *chunk = list_entry(list_first(&flush->full), struct chunk, full);
        struct range range;
        flush_unmark_full(store, chunk);
        if (chunk->topic != NULL && range_of(store, chunk, UINT64_MAX, &range)) {
            range_write(store, &range, false);
        }
    }
    flush->room_wanted = flush->room_wanted && !list_empty(&flush->full);
}

static void flush_begin_ahead(struct store *store)
{
    struct flush *flush = &store->flush;
    flush->sync = false;
    flush->error = 0;
    ahead_write(store);
    flush->state = flush->outstanding > 0 ? FLUSH_WRITING : FLUSH_IDLE;
}

void flush_tick(struct store *store)
{
    if (store->fenced != 0) {
        return;
    }
    if (!flush_idle(&store->flush)) {
        if (!store->flush.sync) {
            ahead_write(store);
        }
        return;
    }
    if (flush_sync_due(store)) {
        flush_begin_sync(store);
    } else if (ahead_due(store)) {
        flush_begin_ahead(store);
    }
}

uint64_t flush_next_ns(const struct store *store)
{
    const struct flush *flush = &store->flush;
    if (!flush_idle(flush) || store->fenced != 0 || list_empty(&flush->dirty)) {
        return UINT64_MAX;
    }
    return store->config->fsync == FSYNC_INTERVAL ? flush->due_ns : full_due_ns(store);
}
