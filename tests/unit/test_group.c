/*
 * Claims of the group "default": budgets, order, what a claim waits for, what ends it, and that
 * nothing it held stays held.
 *
 * Seen to fail with: a byte budget that counts the entry that no longer fits; claims served newest
 * first; strict claims that do not wait; persist_every not looked at; a peek that moves the cursor;
 * chunks of a claim, or its turn, not released at its end; a claim that a trim overtakes and that
 * moves the cursor back; chunks_max forgotten behind an entry of more chunks; damage not looked at;
 * claims that end one inside the other; an arena held by a claim that waits for it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/store_reader.h"

static struct stage stage;
static struct stage_lane *lane;
static struct stage_lane *other;
static struct stage_topic topic;

static void open_again(void)
{
    lane = stage_lane_open(&stage);
    other = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
    (void)stage_topic_open(other, "t");
}

static void begin(void)
{
    stage_init(&stage, 5);
    stage_open(&stage);
    open_again();
}

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(group, .init = begin, .fini = end, .timeout = 600);

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

static void fill(unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        while (!stage_lane_has_room(lane, size)) {
            (void)stage_pass(&stage);
        }
        (void)stage_append(lane, topic, size, i, 0);
    }
    stage_settle(&stage);
}

/* All chunks only on the disk. */
static void make_cold(void)
{
    stage_close(&stage);
    stage_open(&stage);
    open_again();
}

static void nothing_held(void)
{
    stage_settle(&stage);
    stage_settle(&stage); /* what was reaped at the end of the first one is let go in the second */
    cr_assert_eq(stage_holds(&stage), 0);
    cr_assert(list_empty(&state()->claims));
    cr_assert_eq(state()->pendings, 0);
}

static const struct stage_answer *claim(uint64_t bytes, uint32_t entries, uint32_t every,
                                        unsigned flags)
{
    return stage_answered(lane, stage_claim(lane, topic, bytes, entries, every, flags));
}

Test(group, budgets)
{
    static const struct {
        uint64_t bytes;
        uint32_t entries;
        int granted;
    } cases[] = {{300, 100, 3}, {500, 100, 5}, {1, 100, 1},        {350, 100, 3},
                 {0, 100, 1},   {399, 2, 2},   {UINT64_MAX, 7, 7}, {100, 0, 0}};
    fill(100, 100);
    uint64_t seq = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct stage_answer *answer = claim(cases[i].bytes, cases[i].entries, 100, 0);
        cr_assert_eq(answer->error, cases[i].granted, "%zu bytes: %d", (size_t)cases[i].bytes,
                     answer->error);
        cr_assert_eq(answer->seq, seq);
        seq += (uint64_t)answer->error;
    }
    nothing_held();
}

Test(group, peek_moves_nothing)
{
    fill(10, 100);
    for (int i = 0; i < 3; i++) {
        const struct stage_answer *answer = claim(1000, 5, 1, SUBMIT_PEEK);
        cr_assert_eq(answer->error, 5);
        cr_assert_eq(answer->seq, 0);
    }
    cr_assert_eq(state()->cursor.seq, 0);
    cr_assert_eq(claim(1000, 5, 5, 0)->seq, 0);
    nothing_held();
}

/* Claims of two lanes in turns: each entry to one of them, in the order in which they asked. */
static void in_order(void)
{
    uint64_t asks[20];
    for (int i = 0; i < 20; i++) {
        asks[i] = stage_claim(i % 2 == 0 ? lane : other, topic, UINT64_MAX, 3, 100, 0);
        (void)stage_take(&stage);
    }
    for (unsigned i = 0; i < 20; i++) {
        const struct stage_answer *answer = stage_answered(i % 2 == 0 ? lane : other, asks[i]);
        cr_assert_eq(answer->error, 3);
        cr_assert_eq(answer->seq, i * 3, "claim %u got %zu", i, (size_t)answer->seq);
    }
    nothing_held();
}

Test(group, served_in_order)
{
    fill(100, 1000);
    in_order();
}

Test(group, served_in_order_from_disk)
{
    fill(100, 1000);
    make_cold();
    in_order();
}

Test(group, strict_waits_for_its_sync)
{
    fill(10, 100);
    const uint64_t ask = stage_claim(lane, topic, 1000, 2, 1, SUBMIT_STRICT);
    (void)stage_take(&stage);
    flush_tick(&stage.store);
    while (!flush_idle(&stage.store.flush)) {
        stage_look(&stage);
        cr_assert(!stage_answer(lane, ask)->given, "granted before its sync");
        cr_assert_eq(state()->cursor.durable_seq, 0);
        (void)io_poll(stage.io);
    }
    stage_look(&stage);
    cr_assert_eq(stage_answer(lane, ask)->error, 2);
    cr_assert_eq(state()->cursor.durable_seq, 2);
    nothing_held();
}

/* Never more than n beyond the durable cursor, whatever is in flight. */
Test(group, at_least_once_is_bounded)
{
    fill(400, 50);
    for (uint32_t every = 1; every <= 20; every += 3) {
        for (int i = 0; i < 12; i++) {
            const uint32_t entries = 1 + (uint32_t)stage_random(&stage, every);
            const uint64_t ask = stage_claim(lane, topic, UINT64_MAX, entries, every, 0);
            for (;;) {
                (void)stage_take(&stage);
                stage_look(&stage);
                const struct stage_answer *answer = stage_answer(lane, ask);
                if (answer->given) {
                    cr_assert_leq(answer->seq + (uint64_t)answer->error,
                                  state()->cursor.durable_seq + every);
                    break;
                }
                flush_tick(&stage.store);
                (void)io_poll(stage.io);
            }
        }
        stage_settle(&stage);
    }
    nothing_held();
}

Test(group, chunks_are_bounded)
{
    fill(1, 20000); /* several small chunks */
    fill(200, 1000);
    for (uint32_t chunks_max = 0; chunks_max <= 4; chunks_max++) {
        const struct claim_request_shm body = {
            .entries_max = 1000, .chunks_max = chunks_max, .persist_every = 1000};
        const struct stage_request request = {.kind = SUBMIT_CLAIM,
                                              .topic = topic,
                                              .arg = UINT64_MAX,
                                              .body = &body,
                                              .bytes = sizeof body};
        const uint64_t from = state()->cursor.position;
        const struct stage_answer *answer = stage_answered(lane, stage_submit(lane, &request));
        cr_assert_gt(answer->error, 0);
        const uint64_t to = state()->cursor.position;
        const uint64_t chunks =
            chunk_number(to - 1, STAGE_CHUNK) - chunk_number(from, STAGE_CHUNK) + 1;
        cr_assert(answer->seq == 0 || chunks <= chunks_max + (chunks_max == 0) + 1, "%zu for %u",
                  (size_t)chunks, chunks_max);
        cr_assert(answer->seq != 0 || answer->error < 10, "%d entries more than the first",
                  answer->error);
    }
    nothing_held();
}

Test(group, ended_by_delete)
{
    fill(300, 1000);
    make_cold();
    uint64_t asks[10];
    for (int i = 0; i < 10; i++) {
        asks[i] = stage_claim(i % 2 == 0 ? lane : other, topic, UINT64_MAX, 50, 50,
                              i % 3 == 0 ? SUBMIT_STRICT : 0);
    }
    (void)stage_take(&stage);
    (void)io_poll(stage.io);
    const uint64_t delete = stage_ask(lane, SUBMIT_TOPIC_DELETE, topic, 0, 0);
    cr_assert_eq(stage_answered(lane, delete)->error, 0);
    for (int i = 0; i < 10; i++) {
        (void)stage_answered(i % 2 == 0 ? lane : other, asks[i]);
    }
    nothing_held();
}

/* At any moment of claims on cold and resident chunks one lane goes. */
Test(group, ended_by_lane_close)
{
    fill(300, 1000);
    for (unsigned passes = 0; passes < 12; passes++) {
        make_cold();
        struct stage_lane *third = stage_lane_open(&stage);
        for (int i = 0; i < 6; i++) {
            (void)stage_claim(third, topic, UINT64_MAX, 10, 10, i % 2 == 0 ? SUBMIT_STRICT : 0);
            (void)stage_claim(lane, topic, UINT64_MAX, 10, 10, SUBMIT_PEEK);
        }
        stage.reaping = passes % 2 == 0;
        for (unsigned i = 0; i < passes; i++) {
            (void)stage_pass(&stage);
        }
        stage_lane_close(third);
        stage.reaping = true;
        nothing_held();
    }
}

Test(group, cancelled)
{
    fill(300, 1000);
    make_cold();
    const uint64_t first = stage_claim(lane, topic, UINT64_MAX, 10, 10, 0);
    const uint64_t second = stage_claim(lane, topic, UINT64_MAX, 10, 10, 0);
    (void)stage_ask(lane, SUBMIT_CANCEL, topic, first, SUBMIT_QUIET);
    cr_assert_eq(stage_answered(lane, second)->error, 10);
    cr_assert_eq(stage_answered(lane, first)->error, -ECANCELED);
    cr_assert_eq(stage_answer(lane, second)->seq, 0);
    nothing_held();
}

/* A claim waits for a chunk while a trim goes past it: it hands out nothing from before. */
Test(group, overtaken_by_a_trim)
{
    fill(1000, 1000);
    make_cold();
    const uint64_t ask = stage_claim(lane, topic, UINT64_MAX, 10, 10, 0);
    (void)stage_take(&stage);
    cr_assert_eq(topic_chunk(state(), 0)->state, CHUNK_LOADING);
    const uint64_t trim = stage_ask(other, SUBMIT_TOPIC_TRIM, topic, 1000, 0);
    cr_assert_eq(stage_answered(other, trim)->error, 0);
    const struct stage_answer *answer = stage_answered(lane, ask);
    cr_assert(answer->error == 0 || answer->seq >= 1000, "%d entries from %zu", answer->error,
              (size_t)answer->seq);
    cr_assert_eq(state()->cursor.seq, 1000, "the cursor went back to %zu",
                 (size_t)state()->cursor.seq);
    fill(5, 100);
    answer = claim(UINT64_MAX, 100, 100, 0);
    cr_assert_eq(answer->error, 5);
    cr_assert_eq(answer->seq, 1000);
    nothing_held();
}

/* An entry that is rotten on the disk: what is before it, then -EBADMSG; others go on behind it. */
Test(group, damaged)
{
    fill(100, 1000);
    const struct chunk *chunk = topic_chunk(state(), 3);
    const struct segment_path path = slot_path(&stage.store.segments, chunk->slot);
    const uint64_t rotten = slot_offset(&stage.store.segments, chunk->slot) + 2500;
    stage_close(&stage);
    struct memory_node *file = memory_disk_find(stage.disk, path.text);
    file->bytes[rotten] ^= 1;
    file->durable[rotten] ^= 1;
    stage_open(&stage);
    open_again();
    uint64_t seq = 0;
    const struct stage_answer *answer;
    while ((answer = claim(UINT64_MAX, 7, 100, 0))->error > 0) {
        cr_assert_eq(answer->seq, seq);
        seq += (uint64_t)answer->error;
    }
    cr_assert_eq(answer->error, -EBADMSG, "%d at %zu", answer->error, (size_t)seq);
    cr_assert_gt(seq, 5);
    cr_assert_lt(seq, 20);
    cr_assert_eq(claim(UINT64_MAX, 7, 100, 0)->error, -EBADMSG, "the cursor passed it by itself");
    const uint64_t trim = stage_ask(other, SUBMIT_TOPIC_TRIM, topic, seq + 10, 0);
    cr_assert_eq(stage_answered(other, trim)->error, 0);
    answer = claim(UINT64_MAX, 7, 100, 0);
    cr_assert_eq(answer->error, 7);
    cr_assert_eq(answer->seq, seq + 10);
    nothing_held();
}

/* Tens of thousands of claims that end together are a loop, not a stack. */
Test(group, many_end_at_once)
{
    enum { LANES = 40, CLAIMS = 2000 };
    fill(300, 1000);
    make_cold();
    struct stage_lane *lanes[LANES];
    for (int i = 0; i < LANES; i++) {
        lanes[i] = stage_lane_open_sized(&stage, 1 << 20);
    }
    stage_settle(&stage);
    for (int i = 0; i < LANES; i++) {
        for (int j = 0; j < CLAIMS; j++) {
            (void)stage_claim(lanes[i], topic, 1000, 10, 10, SUBMIT_PEEK);
        }
    }
    for (int i = 0; i < 4; i++) {
        (void)stage_take(&stage); /* a lane's turn is bounded */
    }
    cr_assert_eq(state()->pendings, LANES * CLAIMS);
    memory_disk_fail(stage.disk, 0, -EIO, false);
    stage_settle(&stage);
    for (int i = 0; i < LANES; i++) {
        cr_assert_eq(stage_answered(lanes[i], CLAIMS - 1)->error, -EIO);
    }
    nothing_held();
}

/* A claim of more than the arena has takes what fits, and again, until it has all. */
Test(group, larger_than_the_arena)
{
    stage_deinit(&stage);
    stage_init(&stage, 5);
    stage.config.arena_bytes = 16 * STAGE_CHUNK;
    stage_open(&stage);
    open_again();
    fill(3000, 1000);
    make_cold();
    const struct claim_request_shm body = {
        .entries_max = 100000, .chunks_max = 32, .persist_every = 100000};
    const struct stage_request request = {.kind = SUBMIT_CLAIM,
                                          .topic = topic,
                                          .arg = UINT64_MAX,
                                          .body = &body,
                                          .bytes = sizeof body};
    uint64_t seq = 0;
    while (seq < 3000) {
        const struct stage_answer *answer = stage_answered(lane, stage_submit(lane, &request));
        cr_assert_gt(answer->error, 0, "%d at %zu", answer->error, (size_t)seq);
        cr_assert_eq(answer->seq, seq);
        seq += (uint64_t)answer->error;
        const uint64_t append = stage_append(other, topic, 3000, 1, 0);
        cr_assert_eq(stage_answered(other, append)->error, 0, "the arena is held");
    }
    nothing_held();
}

/* An entry of more chunks than the arena has: it is found and handed out holding few of them; all stay
 * on the disk, and can be asked for one by one, until the completion is reaped, though the cursor has
 * passed them. */
Test(group, entry_larger_than_the_arena)
{
    enum { LARGE = 40 * STAGE_CHUNK };
    stage_close(&stage);
    stage.config.arena_bytes = 128 * STAGE_CHUNK;
    stage_open(&stage);
    lane = stage_lane_open_sized(&stage, UINT64_C(8) << 20);
    topic = stage_topic_open(lane, "t");
    (void)stage_append(lane, topic, 100, 0, 0);
    (void)stage_append(lane, topic, LARGE, 1, 0);
    (void)stage_append(lane, topic, 100, 2, 0);
    stage_settle(&stage);
    stage_close(&stage);
    stage.config.arena_bytes = 16 * STAGE_CHUNK;
    stage_open(&stage);
    open_again();
    cr_assert_eq(stage_answered(lane, stage_claim(lane, topic, 1, 1, 1000, 0))->error, 1);
    stage.reaping = false;
    const uint64_t large = stage_claim(lane, topic, UINT64_MAX, 1, 1000, 0);
    stage_settle(&stage);
    const uint64_t first = chunk_number(state()->first_position, STAGE_CHUNK);
    const uint64_t last = chunk_number(state()->tail_position, STAGE_CHUNK);
    cr_assert_gt(last - first, 40);
    cr_assert_leq(stage_holds(&stage), 4);
    const uint64_t next = stage_claim(other, topic, UINT64_MAX, 1, 1000, 0);
    for (uint64_t number = first; number <= last; number++) {
        const uint64_t ask = stage_ask(other, SUBMIT_FETCH, topic, number, SUBMIT_BY_CHUNK);
        stage_settle(&stage);
        stage_reap(other);
        cr_assert_eq(stage_answer(other, ask)->error, 0, "chunk %zu", (size_t)number);
    }
    cr_assert_eq(stage_answer(other, next)->error, 1);
    cr_assert_eq(stage_answer(other, next)->seq, 2);
    cr_assert_eq(state()->first_chunk, first, "it was trimmed while it was read");
    stage_reap(lane);
    cr_assert_eq(stage_answer(lane, large)->error, 1);
    cr_assert_eq(stage_answer(lane, large)->seq, 1);
    stage.reaping = true;
    stage_settle(&stage);
    (void)stage_append(lane, topic, 100, 3, 0); /* what could not be recorded then is now */
    stage_settle(&stage);
    cr_assert_eq(claim(1, 1, 1000, 0)->error, 1);
    stage_settle(&stage);
    cr_assert_gt(state()->first_chunk, first);
    cr_assert_eq(stage_holds(&stage), 0);
}
