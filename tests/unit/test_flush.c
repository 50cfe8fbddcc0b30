/*
 * Group commit, operation by operation: what a flush writes, what it acknowledges, and what it does
 * when any of its writes and syncs fails. The disk is asked directly for what is in its files.
 *
 * Seen to fail with: the watermark moved to the tail instead of the captured position; appends
 * during a flush that carry its number; a last block with what the arena holds behind the tail, or
 * written from the arena; one write that is durable in itself where there are two; an error that the
 * next success hides; a flush or an append after a fence; a fence that leaves waits pending; a sync
 * wanted while the last one is in flight that never comes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "broker/io.h"
#include "tests/unit/store_reader.h"

static struct stage stage;
static struct stage_lane *lane;
static struct stage_topic topic;

static void begin(void)
{
    stage_init(&stage, 3);
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
    (void)stage_append(lane, topic, 10, 0, 0);
    stage_settle(&stage);
}

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(flush, .init = begin, .fini = end, .timeout = 600);

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

/* The bytes on the disk, as the running system sees them, from a position of the topic on. */
static const unsigned char *on_disk(uint64_t position)
{
    const uint64_t number = chunk_number(position, STAGE_CHUNK);
    const struct chunk *chunk = topic_chunk(state(), number);
    struct memory_node *file =
        memory_disk_find(stage.disk, slot_path(&stage.store.segments, chunk->slot).text);
    cr_assert_not_null(file);
    return file->bytes + slot_offset(&stage.store.segments, chunk->slot) + position -
           chunk_start(number, STAGE_CHUNK);
}

static uint64_t append_now(uint32_t size)
{
    const uint64_t ask = stage_append(lane, topic, size, 1, 0);
    stage_clock(&stage, 1000);
    cr_assert(stage_take(&stage));
    return ask;
}

static uint16_t sync_of(uint64_t position)
{
    const uint64_t number = chunk_number(position, STAGE_CHUNK);
    struct frame_header frame;
    memcpy(&frame,
           stage_image(&stage, topic_chunk(state(), number)) + position -
               chunk_start(number, STAGE_CHUNK),
           sizeof frame);
    return frame.sync;
}

Test(flush, acknowledges_what_it_captured)
{
    const uint64_t number = stage.store.flush.next_sync;
    const uint64_t first = state()->tail_position;
    (void)append_now(100);
    const uint64_t captured = state()->tail_position;
    cr_assert_eq(sync_of(first), number);
    flush_tick(&stage.store);
    cr_assert_eq(stage.store.flush.number, number);
    (void)append_now(100);
    cr_assert_eq(sync_of(captured), number + 1, "an append during the flush carries its number");
    const uint64_t wait = stage_ask(lane, SUBMIT_WAIT, topic, 0, SUBMIT_DURABLE);
    (void)stage_take(&stage);
    while (!flush_idle(&stage.store.flush)) {
        cr_assert_neq(state()->durable_position, captured);
        (void)io_poll(stage.io);
    }
    stage_look(&stage);
    cr_assert_eq(stage.store.flush.durable_sync, number);
    cr_assert_eq(state()->durable_position, captured);
    cr_assert_eq(state()->durable_seq, 2);
    cr_assert_eq(topic_durable_seq(state()->shm), 2);
    cr_assert(!stage_answer(lane, wait)->given, "durable before its sync");
    cr_assert_eq(stage_answered(lane, wait)->error, 0);
    cr_assert_eq(state()->durable_seq, 3);
}

/* The block that holds the captured tail is zero behind it, whatever the arena holds by then. */
static void zero_behind(uint32_t size)
{
    (void)append_now(size);
    const uint64_t captured = state()->tail_position;
    const uint64_t rest = align_up(captured, BLOCK_BYTES) - captured;
    const struct chunk *chunk = topic_chunk(state(), chunk_number(captured, STAGE_CHUNK));
    if (chunk == NULL) {
        stage_settle(&stage);
        return;
    }
    memset(pool_at(&stage.store.pool, chunk, captured), 0xaa, rest); /* of who had it before */
    flush_tick(&stage.store);
    (void)append_now(200);
    while (!flush_idle(&stage.store.flush)) {
        (void)io_poll(stage.io);
    }
    const unsigned char *bytes = on_disk(captured);
    for (uint64_t i = 0; i < rest; i++) {
        cr_assert_eq(bytes[i], 0, "byte %zu behind the captured tail is on disk", (size_t)i);
    }
    stage_settle(&stage);
    stage_read(&stage, state(), NULL, NULL);
}

Test(flush, writes_nothing_behind_what_it_captured)
{
    while (state()->tail_position < 2 * STAGE_CHUNK) {
        zero_behind(100 + (uint32_t)stage_random(&stage, 3000));
        zero_behind(20000 + (uint32_t)stage_random(&stage, 9000));
    }
}

/* Everything an io_memory object is asked for, seen on the way. */
static const struct io_ops *real_ops;
static struct io_ops spying_ops;
static struct {
    struct io_op *op;
    struct io_file *file;
    uint64_t offset;
    uint64_t bytes;
    enum io_kind kind;
    void (*done)(struct io_op *op, int result);
    bool flying;
} seen[4096];
static unsigned seen_count;
static unsigned dsyncs;
static unsigned writes;
static unsigned syncs;

static void spy_done(struct io_op *op, int result)
{
    for (unsigned i = 0; i < seen_count; i++) {
        if (seen[i].flying && seen[i].op == op) {
            seen[i].flying = false;
            op->done = seen[i].done;
            op->done(op, result);
            return;
        }
    }
    cr_assert_fail("an operation ended twice");
}

/* No two operations in flight write the same block, and frames of a sync wait for the one before. */
static void spy_submit(struct io *io, struct io_op *op)
{
    cr_assert_lt(seen_count, 4096u);
    for (unsigned i = 0; op->kind == IO_WRITE && i < seen_count; i++) {
        const bool apart = seen[i].offset + seen[i].bytes <= op->offset ||
                           op->offset + op->bytes <= seen[i].offset;
        cr_assert(!seen[i].flying || seen[i].kind != IO_WRITE || seen[i].file != op->file || apart,
                  "a block is written twice at a time");
    }
    writes += op->kind == IO_WRITE;
    dsyncs += op->kind == IO_WRITE && op->dsync;
    syncs += op->kind == IO_SYNC;
    seen[seen_count].op = op;
    seen[seen_count].file = op->file;
    seen[seen_count].offset = op->offset;
    seen[seen_count].bytes = op->bytes;
    seen[seen_count].kind = op->kind;
    seen[seen_count].done = op->done;
    seen[seen_count++].flying = true;
    op->done = spy_done;
    real_ops->submit(io, op);
}

static void spy(void)
{
    real_ops = stage.io->ops;
    spying_ops = *real_ops;
    spying_ops.submit = spy_submit;
    stage.io->ops = &spying_ops;
}

static void spy_forget(void)
{
    seen_count = 0;
    writes = dsyncs = syncs = 0;
}

Test(flush, small_is_one_write)
{
    while (stage.store.segments.zeroing) {
        (void)stage_pass(&stage);
    }
    spy();
    for (unsigned round = 0; round < 10; round++) {
        spy_forget();
        (void)append_now(300);
        stage_settle(&stage);
        cr_assert_eq(writes, 1);
        cr_assert_eq(dsyncs, 1);
        cr_assert_eq(syncs, 0);
    }
    const struct stage_topic other = stage_topic_open(lane, "other");
    (void)stage_append(lane, other, 10, 1, 0);
    stage_settle(&stage);
    spy_forget();
    (void)stage_append(lane, other, 10, 1, 0);
    (void)append_now(10);
    stage_settle(&stage);
    cr_assert_eq(writes, 2);
    cr_assert_eq(dsyncs, 0);
    cr_assert_eq(syncs, 1, "one fdatasync for each touched segment");
}

Test(flush, no_block_is_written_twice_at_a_time)
{
    stage_close(&stage);
    stage_open(&stage);
    io_memory_shuffle(stage.io);
    spy();
    struct stage_lane *lanes[4];
    struct stage_topic topics[4];
    for (int i = 0; i < 4; i++) {
        const char *names[] = {"a", "b", "c", "d"};
        lanes[i] = stage_lane_open(&stage);
        topics[i] = stage_topic_open(lanes[i], names[i]);
    }
    for (unsigned round = 0; round < 400; round++) {
        seen_count = seen_count > 3000 ? 0 : seen_count;
        const int i = (int)stage_random(&stage, 4);
        const uint32_t size =
            (uint32_t)stage_random(&stage, stage_random(&stage, 9) == 0 ? 60000 : 900);
        if (stage_lane_has_room(lanes[i], size)) {
            (void)stage_append(lanes[i], topics[i], size, round, 0);
        }
        (void)stage_pass(&stage);
        if (seen_count == 0) {
            stage_settle(&stage);
        }
    }
    stage_settle(&stage);
    for (int i = 0; i < 4; i++) {
        stage_read(&stage, stage_topic_of(&stage, topics[i]), NULL, NULL);
    }
}

/* A sync asked for while one that covers everything is in flight still gets its number. */
Test(flush, wanted_during_the_last_one)
{
    (void)append_now(10);
    flush_tick(&stage.store);
    const uint64_t trim = stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, 2, 0);
    (void)stage_take(&stage);
    cr_assert_eq(stage_answered(lane, trim)->error, 0);
    (void)append_now(10);
    flush_tick(&stage.store);
    const uint64_t sync = flush_want(&stage.store);
    stage_settle(&stage);
    cr_assert_geq(stage.store.flush.durable_sync, sync);
}

/* The k-th operation of a workload fails, once or for good. False: there is no k-th. */
static bool fails_at(uint64_t k, int error, bool sticky)
{
    begin();
    const struct stage_topic other = stage_topic_open(lane, "other");
    stage_settle(&stage);
    while (stage.store.segments.zeroing || stage.store.segments.growing != NULL) {
        (void)stage_pass(&stage);
    }
    memory_disk_fail(stage.disk, k, error, sticky);
    const uint64_t fail_at = stage.disk->fail_at;
    uint64_t asks[24];
    uint64_t waits[24];
    uint64_t durable_seq = state()->durable_seq;
    const uint64_t tail = stage_ask(lane, SUBMIT_WAIT_TAIL, topic, 1000, SUBMIT_DURABLE);
    for (int i = 0; i < 24; i++) {
        asks[i] = stage_append(lane, i % 3 == 0 ? other : topic, i % 4 == 0 ? 9000 : 200, 1, 0);
        waits[i] = stage_ask(lane, SUBMIT_WAIT, topic, 0, SUBMIT_DURABLE);
        const bool fenced = stage.store.fenced != 0;
        for (int pass = 0; pass < 6; pass++) {
            (void)stage_pass(&stage);
            if (fenced) {
                cr_assert_eq(state()->durable_seq, durable_seq, "the watermark moved");
            }
            durable_seq = state()->durable_seq;
        }
    }
    const uint64_t claim = stage_claim(lane, topic, 1000, 1, 1, SUBMIT_PEEK);
    const uint64_t strict = stage_claim(lane, topic, 1000, 1, 1, SUBMIT_STRICT);
    stage_settle(&stage);
    const bool happened = stage.disk->operations >= fail_at;
    const bool fenced = stage.store.fenced != 0;
    cr_assert_eq(fenced, happened, "operation %zu, %d", (size_t)k, error);
    cr_assert_eq(atom_load_relaxed(&stage.directory->fenced), fenced ? (uint64_t)-error : 0);
    bool failed = false;
    for (int i = 0; i < 24; i++) {
        const struct stage_answer *wait = stage_answered(lane, waits[i]);
        cr_assert(wait->error == 0 || wait->error == -EIO || wait->error == -ECANCELED, "%d",
                  wait->error);
        cr_assert(!failed || wait->error != 0, "DURABLE after an error");
        failed |= wait->error == -EIO;
        const struct stage_answer *answer = stage_answered(lane, asks[i]);
        cr_assert(answer->error == 0 || answer->error == -EIO, "%d", answer->error);
    }
    cr_assert(fenced || !failed);
    cr_assert_eq(stage_answered(lane, claim)->error, 1, "reads go on");
    cr_assert_eq(stage_answered(lane, strict)->error, fenced ? -EIO : 1);
    if (fenced) {
        const uint64_t late = append_now(10);
        const uint64_t wait = stage_ask(lane, SUBMIT_WAIT, topic, 0, SUBMIT_DURABLE);
        const uint64_t trim = stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, 2, 0);
        const uint64_t delete = stage_ask(lane, SUBMIT_TOPIC_DELETE, topic, 0, 0);
        const uint64_t vain = stage_ask(lane, SUBMIT_WAIT_TAIL, topic, 1000, SUBMIT_DURABLE);
        cr_assert_eq(stage_answered(lane, late)->error, -EIO);
        cr_assert_eq(stage_answered(lane, tail)->error, -EIO, "it would wait for ever");
        cr_assert_eq(stage_answered(lane, vain)->error, -EIO);
        (void)stage_answered(lane, wait);
        cr_assert_neq(stage_answered(lane, trim)->error, 0);
        cr_assert_eq(stage_answered(lane, delete)->error, -EIO);
        stage_read(&stage, state(), NULL, NULL);
    }
    stage_deinit(&stage);
    return happened;
}

static void every_failure(bool sticky)
{
    static const int errors[] = {-EIO, -ENOSPC};
    stage_deinit(&stage);
    for (int i = 0; i < 2; i++) {
        uint64_t k = 0;
        while (fails_at(k, errors[i], sticky)) {
            k++;
        }
        cr_assert_gt(k, 20, "the workload has only %zu operations", (size_t)k);
    }
    begin();
}

Test(flush, any_operation_fails_once)
{
    every_failure(false);
}

Test(flush, all_operations_fail_from_one_on)
{
    every_failure(true);
}

/* Whoever asks for a sync when nothing came since the last one has it already. */
Test(flush, nothing_new_is_not_synced_again)
{
    const uint64_t before = stage.store.counters.values[COUNTER_SYNCS];
    cr_assert_eq(flush_want(&stage.store), stage.store.flush.durable_sync);
    stage_settle(&stage);
    cr_assert_eq(stage.store.counters.values[COUNTER_SYNCS], before);
    (void)append_now(10);
    cr_assert_gt(flush_want(&stage.store), stage.store.flush.durable_sync);
}

/* `N ms`: nothing before its time, and then everything. */
Test(flush, interval)
{
    stage_deinit(&stage);
    stage_init(&stage, 3);
    stage.config.fsync = FSYNC_INTERVAL;
    stage.config.fsync_interval_ns = 5000000;
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
    const uint64_t ask = stage_append(lane, topic, 10, 1, 0);
    const uint64_t begun = stage.now_ns;
    while (stage.now_ns < begun + 4900000) {
        (void)stage_pass(&stage);
        cr_assert_eq(state()->durable_seq, 0);
        stage_clock(&stage, 100000);
    }
    cr_assert(stage_answer(lane, ask)->given, "COMMITTED does not wait for the time");
    stage_clock(&stage, 200000);
    while (stage_pass(&stage)) {
    }
    cr_assert_eq(state()->durable_seq, 1);
}

/* `none`: complete chunks are written, nothing is durable before somebody asks. */
Test(flush, none)
{
    stage_deinit(&stage);
    stage_init(&stage, 3);
    stage.config.fsync = FSYNC_NONE;
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
    for (int i = 0; i < 40; i++) {
        (void)append_now(3000);
        stage_settle(&stage);
    }
    cr_assert_eq(state()->durable_seq, 0);
    cr_assert_gt(topic_chunk(state(), 0)->written, 0);
    const uint64_t wait = stage_ask(lane, SUBMIT_WAIT, topic, 0, SUBMIT_DURABLE);
    cr_assert_eq(stage_answered(lane, wait)->error, 0);
    cr_assert_eq(state()->durable_seq, 40);
}

/* Writes from the arena wait until the test lets them go. */
static struct io_op *held[64];
static unsigned held_count;

static void hold_submit(struct io *io, struct io_op *op)
{
    const uint64_t offset = (uint64_t)((uintptr_t)op->buffer - (uintptr_t)stage.arena.base);
    if (op->kind != IO_WRITE || offset >= stage.arena.bytes) {
        real_ops->submit(io, op);
        return;
    }
    cr_assert_lt(held_count, 64u);
    held[held_count++] = op;
}

static void hold(void)
{
    real_ops = stage.io->ops;
    spying_ops = *real_ops;
    spying_ops.submit = hold_submit;
    stage.io->ops = &spying_ops;
}

static void let_go(unsigned count)
{
    struct io_op *going[64];
    cr_assert_leq(count, held_count);
    memcpy(going, held, count * sizeof *going);
    held_count -= count;
    memmove(held, held + count, held_count * sizeof *held);
    for (unsigned i = 0; i < count; i++) {
        const uint32_t outstanding = stage.store.flush.outstanding;
        const unsigned before = held_count;
        real_ops->submit(stage.io, going[i]);
        while (stage.store.flush.outstanding == outstanding && held_count == before) {
            (void)io_poll(stage.io);
        }
    }
}

/* Appends without flushing; segments grow meanwhile. */
static void fill_chunks(uint64_t count)
{
    const uint64_t end = state()->tail_position + count * STAGE_CHUNK;
    for (unsigned i = 0; state()->tail_position < end; i++) {
        cr_assert_lt(i, 100000u);
        if (stage_lane_has_room(lane, 30000)) {
            (void)stage_append(lane, topic, 30000, 1, 0);
        }
        stage_clock(&stage, 1000);
        (void)io_poll(stage.io);
        (void)stage_take(&stage);
        stage_look(&stage);
    }
}

/* Without a schedule: what is consumed and trimmed soon is never written. */
Test(flush, leaves_complete_chunks_for_a_while_without_a_schedule)
{
    const struct flush *flush = &stage.store.flush;
    stage.config.fsync = FSYNC_INTERVAL;
    fill_chunks(2);
    (void)flush_want(&stage.store);
    stage_settle(&stage);
    stage.config.fsync = FSYNC_NONE;
    hold();
    fill_chunks(10);
    flush_tick(&stage.store);
    cr_assert_eq(held_count, 0);
    cr_assert_geq(flush->full_bytes, 9 * STAGE_CHUNK);
    const uint64_t due_ns = flush_next_ns(&stage.store);
    cr_assert_gt(due_ns, stage.store.now_ns);
    stage_clock(&stage, due_ns - stage.store.now_ns);
    flush_tick(&stage.store);
    cr_assert_gt(held_count, 0, "what is old enough is not written");
    while (held_count > 0) {
        let_go(1);
    }
    stage_clock(&stage, FLUSH_FULL_MS * UINT64_C(1000000));
    flush_tick(&stage.store);
    while (held_count > 0) {
        let_go(1);
    }
    cr_assert_eq(flush->full_bytes, 0);

    fill_chunks(20);
    flush_tick(&stage.store);
    cr_assert_eq(held_count, 0);
    fill_chunks(16); /* more than half of the arena */
    flush_tick(&stage.store);
    cr_assert_gt(held_count, 0, "half of the arena is not on disk");
    while (held_count > 0) {
        let_go(1);
    }
    cr_assert_lt(flush->full_bytes, 32 * STAGE_CHUNK);
    cr_assert(!list_empty(&flush->full));
    flush_hurry(&stage.store); /* the arena has no room */
    flush_tick(&stage.store);
    while (held_count > 0) {
        let_go(1);
    }
    cr_assert(list_empty(&flush->full));
    cr_assert_eq(flush->full_bytes, 0);
    stage.io->ops = real_ops;
    stage_settle(&stage);
}

Test(flush, writes_ahead_as_a_stream_until_a_sync_is_due)
{
    const struct flush *flush = &stage.store.flush;
    stage.config.fsync = FSYNC_INTERVAL;
    stage.config.fsync_interval_ns = 1000000000;
    fill_chunks(2); /* and a sync of the small ones */
    (void)flush_want(&stage.store);
    stage_settle(&stage);
    hold();
    fill_chunks(30);
    flush_tick(&stage.store);
    cr_assert_eq(held_count, FLUSH_AHEAD_WRITES);
    for (unsigned i = 0; i < 6; i++) { /* one is done, the next one begins */
        let_go(1);
        cr_assert_eq(held_count, FLUSH_AHEAD_WRITES);
        cr_assert_eq(flush->outstanding, FLUSH_AHEAD_WRITES);
    }
    cr_assert(!list_empty(&flush->full));
    stage_clock(&stage, 1000000000);
    flush_tick(&stage.store);
    cr_assert_eq(held_count, FLUSH_AHEAD_WRITES);
    const uint64_t number = flush->next_sync;
    let_go(FLUSH_AHEAD_WRITES - 1);
    cr_assert_eq(held_count, 1, "a sync is due, and something else was begun");
    cr_assert_not(flush->sync);
    let_go(1);
    flush_tick(&stage.store);
    cr_assert(flush->sync && flush->number == number, "the sync did not begin at once");
    cr_assert(list_empty(&flush->full));
    const uint64_t captured = state()->captured_position;
    cr_assert_eq(captured, state()->tail_position);
    while (held_count > 0) {
        let_go(1);
    }
    stage.io->ops = real_ops;
    stage_settle(&stage);
    cr_assert_eq(state()->durable_position, captured);
    stage_read(&stage, state(), NULL, NULL);
}

/* What is complete when the stream has nothing left to write joins it at once. */
Test(flush, writes_what_becomes_complete_while_others_are_in_flight)
{
    stage.config.fsync = FSYNC_INTERVAL;
    stage.config.fsync_interval_ns = 1000000000;
    fill_chunks(2);
    (void)flush_want(&stage.store);
    stage_settle(&stage);
    hold();
    fill_chunks(2);
    flush_tick(&stage.store);
    const unsigned before = held_count;
    cr_assert_gt(before, 0u);
    fill_chunks(3);
    flush_tick(&stage.store);
    cr_assert_geq(held_count, before + 3);
    while (held_count > 0) {
        let_go(1);
    }
    stage.io->ops = real_ops;
    stage_settle(&stage);
    stage_read(&stage, state(), NULL, NULL);
}
