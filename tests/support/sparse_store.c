/* Sparse store: see sparse_store.h. */
#include "tests/support/sparse_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "broker/io_backend.h"
#include "broker/store.h"
#include "broker/unit.h"
#include "tests/support/check.h"
#include "tests/support/payload.h"

enum { ENTRY_BYTES = 100, TOPICS_MAX = 1 << 20 };
#define ARENA_BYTES (UINT64_C(32) << 20)
#define SEGMENT_BYTES (UINT64_C(64) << 20)

/* The I/O object's operations, but for making room: a block at the end is written instead. */
static const struct io_ops *full_ops;
static struct io_ops sparse_ops;
static void *zeros;

static void op_thin(struct io_op *op)
{
    if (op->kind == IO_ALLOCATE) {
        op->kind = IO_WRITE;
        op->buffer = zeros;
        op->offset += op->bytes - BLOCK_BYTES;
        op->bytes = BLOCK_BYTES;
    }
}

static void sparse_submit(struct io *io, struct io_op *op)
{
    op_thin(op);
    full_ops->submit(io, op);
}

static int sparse_now(struct io *io, struct io_op *op)
{
    op_thin(op);
    return full_ops->now(io, op);
}

static struct io *sparse_io(void)
{
    struct io *io;
    struct fault fault;
    check_say(io_open(&io, IO_BACKEND_AUTO, IO_DIRECT_AUTO, &fault) >= 0, "%s", fault.text);
    check_ok(io_start(io));
    full_ops = io->ops;
    sparse_ops = *full_ops;
    sparse_ops.submit = sparse_submit;
    sparse_ops.now = sparse_now;
    io->ops = &sparse_ops;
    zeros = io_buffer_new(BLOCK_BYTES);
    check(zeros != NULL);
    return io;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* What an engine does between submissions. */
static void pump(struct store *store)
{
    store->now_ns = clock_ns(CLOCK_MONOTONIC);
    store->time_ns = clock_ns(CLOCK_REALTIME);
    store->freed = false;
    (void)marks_step(store);
    (void)snapshot_step(store);
    flush_tick(store);
    (void)io_wait(store->io, 1000000);
    check_say(store->fenced == 0, "the store is fenced: %d", store->fenced);
}

static void sync_all(struct store *store)
{
    const uint64_t sync = flush_want(store);
    while (store->flush.durable_sync < sync || !flush_idle(&store->flush)) {
        pump(store);
    }
}

/* The topic's next chunk, as if it had been filled. */
static void chunk_skip(struct store *store, struct topic *topic)
{
    int outcome;
    while ((outcome = store_chunk_add(store, topic, topic->next_seq)) == STORE_WAIT) {
        pump(store);
    }
    check_ok(outcome);
    struct chunk *chunk = topic_chunk(topic, topic->first_chunk + topic->chunk_count - 1);
    const uint64_t next = chunk_first_frame(chunk->number + 1, store->chunk_bytes);
    chunk->started = true;
    chunk->written = chunk_start(chunk->number + 1, store->chunk_bytes);
    topic->tail_position = topic->durable_position = next;
    topic->next_seq = topic->durable_seq = topic->next_seq + SPARSE_CHUNK_ENTRIES;
    flush_settle_chunk(store, chunk);
}

static void end_append(struct store *store, struct topic *topic, uint32_t producer)
{
    unsigned char payload[ENTRY_BYTES];
    uint64_t sizes[SPARSE_ENTRIES];
    for (uint32_t i = 0; i < SPARSE_ENTRIES; i++) {
        sizes[i] = ENTRY_BYTES;
    }
    int outcome;
    while ((outcome = unit_prepare(store, topic, sizes, SPARSE_ENTRIES)) == STORE_WAIT) {
        pump(store);
    }
    check_ok(outcome);
    struct unit unit;
    unit_begin(&unit, store, topic);
    for (uint32_t i = 0; i < SPARSE_ENTRIES; i++) {
        payload_fill(payload, ENTRY_BYTES, producer, (uint32_t)unit.seq);
        unit_place(&unit, payload, ENTRY_BYTES, 0);
    }
    unit_end(&unit);
    unit_publish(&unit);
}

static uint64_t topic_make(struct store *store, uint32_t number, uint64_t bytes)
{
    char name[32];
    struct topic *topic;
    const int length = snprintf(name, sizeof name, "crowd-%07u", number);
    check_ok(topic_set_open(&store->topics, name, (uint64_t)length, &topic));
    int outcome;
    while ((outcome = store_topic_create(store, topic)) == STORE_WAIT) {
        pump(store);
    }
    check_ok(outcome);
    const uint64_t last = chunk_number(bytes, store->chunk_bytes);
    while (topic->chunk_count < last) {
        chunk_skip(store, topic);
    }
    end_append(store, topic, number);
    return topic->next_seq;
}

static void directory_make(struct store *store, const struct config *config)
{
    const struct directory_geometry geometry = {.chunk_bytes = config->chunk_bytes,
                                                .arena_bytes = config->arena_bytes,
                                                .topics_max = config->topics_max};
    const uint64_t bytes = align_up(directory_bytes(&geometry), WRITER_STRIDE);
    store->directory = aligned_alloc(WRITER_STRIDE, bytes);
    check(store->directory != NULL);
    memset(store->directory, 0, bytes);
    directory_format(store->directory, &geometry, 1, 1);
}

uint64_t sparse_store_make(const char *data_dir, uint32_t topics, uint64_t bytes)
{
    struct config config = {.fsync = FSYNC_NONE,
                            .arena_bytes = ARENA_BYTES,
                            .chunk_bytes = CHUNK_BYTES_DEFAULT,
                            .segment_bytes = SEGMENT_BYTES,
                            .topics_max = topics + 16};
    struct store *store = calloc(1, sizeof *store);
    const struct mapping arena = {.base = io_buffer_new(ARENA_BYTES), .bytes = ARENA_BYTES};
    check(store != NULL && arena.base != NULL && topics <= TOPICS_MAX);
    check(mkdir(data_dir, 0700) == 0 || errno == EEXIST);
    snprintf(config.data_dir, sizeof config.data_dir, "%s/default", data_dir);
    directory_make(store, &config);
    store->config = &config;
    store->io = sparse_io();
    store->now_ns = clock_ns(CLOCK_MONOTONIC);
    store->time_ns = clock_ns(CLOCK_REALTIME);
    struct fault fault;
    check_say(store_open(store, &arena, &fault) == 0, "%s", fault.text);
    uint64_t next_seq = 0;
    for (uint32_t i = 0; i < topics; i++) {
        next_seq = topic_make(store, i, bytes / topics);
    }
    sync_all(store);
    marks_begin(store, false);
    while (marks_running(&store->marks) || snapshot_goes_on(store)) {
        pump(store);
    }
    sync_all(store);
    snapshot_stop(store);
    segment_set_stop(&store->segments);
    while (io_in_flight(store->io) > 0) {
        (void)io_wait(store->io, IO_FOREVER);
    }
    store_seal(store);
    struct io *io = store->io;
    struct directory_shm *directory = store->directory;
    store_close(store);
    io->ops = full_ops;
    io_close(io);
    free(directory);
    free(arena.base);
    free(zeros);
    free(store);
    return next_seq;
}
