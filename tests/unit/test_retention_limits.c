/*
 * Retention by bytes and by age, and policies that change: what goes, what stays, exactly where a topic
 * then begins, and that a start after a power loss says the same.
 *
 * Seen to fail with: a tail that is trimmed; what is not durable trimmed; chunks trimmed by the wall
 * clock; a cursor left behind the first entry; a chunk that somebody holds reused; a policy or an age
 * that a restart forgets; places taken from chunks that nobody has loaded.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/retention.h"
#include "tests/unit/store_reader.h"

#define SECOND UINT64_C(1000000000)
#define YEAR (UINT64_C(365) * 86400 * SECOND)

static struct stage stage;
static struct stage_lane *lane;
static struct stage_topic topic;

static void attach(void)
{
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
}

/* Of the stages to come: bytes after which the system topic is written down anew; 0: the usual. */
static uint64_t snapshot_log_bytes;

static void open_stage(enum fsync_schedule fsync, const char *retention)
{
    stage_init(&stage, 7);
    stage.snapshot_log_bytes = snapshot_log_bytes;
    stage.config.fsync = fsync;
    stage.config.fsync_interval_ns = 3600 * SECOND;
    cr_assert_eq(retention_policy_parse(retention, &stage.config.retention), 0);
    attach();
}

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(retention_limits, .fini = end, .timeout = 600);

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

static uint64_t bytes_kept(void)
{
    return state()->tail_position - state()->first_position;
}

static void append_to(struct stage_topic to, uint32_t count, uint32_t size)
{
    for (uint32_t i = 0; i < count; i++) {
        while (!stage_lane_has_room(lane, size)) {
            (void)stage_pass(&stage);
        }
        (void)stage_append(lane, to, size, 1, 0);
    }
    stage_settle(&stage);
}

static void append(uint32_t count, uint32_t size)
{
    append_to(topic, count, size);
}

/* Time passes, with ticks once a second of it or as many as `ticks`. */
static void pass_time(uint64_t ns, unsigned ticks)
{
    for (unsigned i = 0; i < ticks; i++) {
        stage_clock(&stage, ns / ticks);
        retention_tick(&stage.store);
        stage_settle(&stage);
    }
}

static void set(struct stage_topic to, const char *policy, int error, uint64_t when)
{
    char body[128] = "retention";
    const size_t bytes = strlen(policy) + 1;
    memcpy(body + 10, policy, bytes);
    const struct stage_request request = {.kind = SUBMIT_TOPIC_SET,
                                          .topic = to,
                                          .arg = when,
                                          .body = body,
                                          .bytes = (uint32_t)(10 + bytes)};
    cr_assert_eq(stage_answered(lane, stage_submit(lane, &request))->error, error, "%s", policy);
}

/* The topic reads as entries first_seq .. next_seq - 1, from exactly where it begins. */
static void note_first(void *context, const struct stage_entry *entry)
{
    struct stage_entry *first = context;
    if (first->bytes == NULL) {
        *first = *entry;
    }
}

static void check_begins(void)
{
    struct stage_entry first = {0};
    stage_read(&stage, state(), note_first, &first);
    cr_assert_eq(first.seq, state()->first_seq);
}

static void crash_and_attach(void)
{
    stage_power_off(&stage, LOSE_UNSYNCED);
    attach();
}

Test(retention_limits, bytes_are_a_bound_of_what_is_kept)
{
    open_stage(FSYNC_EACH, "bytes=512KiB");
    uint64_t longest = 0;
    for (int i = 0; i < 300; i++) {
        append(3, 4000);
        longest = bytes_kept() > longest ? bytes_kept() : longest;
        cr_assert_leq(bytes_kept(), (512 << 10), "%zu bytes are kept", (size_t)bytes_kept());
    }
    /* Whole chunks go, so what is kept is a chunk less than the bound at worst. */
    cr_assert_gt(bytes_kept(), (512 << 10) - 2 * STAGE_CHUNK);
    cr_assert_gt(longest, (512 << 10) - STAGE_CHUNK);
    cr_assert_eq(state()->next_seq, 900);
    const uint64_t before = state()->first_seq;
    check_begins();
    crash_and_attach();
    cr_assert_eq(state()->first_seq, before);
    cr_assert_eq(state()->next_seq, 900);
    check_begins();
    append(3, 4000); /* the chunks of before the start are cold: the place is read from one */
    append(30, 4000);
    pass_time(3 * SECOND, 3);
    cr_assert_gt(state()->first_seq, before);
    cr_assert_leq(bytes_kept(), (512 << 10));
    check_begins();
}

Test(retention_limits, the_last_chunk_stays)
{
    open_stage(FSYNC_EACH, "bytes=1,age=1ms");
    append(1, 3000);
    pass_time(10 * SECOND, 10);
    cr_assert_eq(state()->first_seq, 0);
    append(40, 60000);
    pass_time(10 * SECOND, 10);
    cr_assert_leq(state()->chunk_count, 2); /* no entry may begin in the last one */
    cr_assert_lt(state()->first_seq, 41);
    cr_assert_leq(bytes_kept(), 2 * STAGE_CHUNK);
    check_begins();
    /* Exactly filled: the tail lies where the next chunk begins. */
    const uint64_t number = chunk_number(state()->tail_position, STAGE_CHUNK);
    const uint64_t room = chunk_start(number + 1, STAGE_CHUNK) - state()->tail_position;
    append(1, (uint32_t)(room / 2 - FRAME_HEADER_BYTES));
    append(1, (uint32_t)(chunk_start(number + 1, STAGE_CHUNK) - state()->tail_position -
                         FRAME_HEADER_BYTES));
    cr_assert_eq(state()->tail_position, chunk_first_frame(number + 1, STAGE_CHUNK));
    pass_time(10 * SECOND, 10);
    cr_assert_lt(state()->first_seq, state()->next_seq, "nothing is left");
    check_begins();
}

Test(retention_limits, what_is_not_durable_stays)
{
    open_stage(FSYNC_NONE, "bytes=128KiB");
    append(30, 4000);
    cr_assert_eq(state()->durable_seq, 0);
    append(10, 4000);
    cr_assert_eq(state()->first_seq, 0, "entries went that were never durable");
    const uint64_t wait = stage_ask(lane, SUBMIT_WAIT, topic, 0, SUBMIT_DURABLE);
    cr_assert_eq(stage_answered(lane, wait)->error, 0);
    append(1, 10);
    cr_assert_gt(state()->first_seq, 0);
}

/* Under `none` nobody asks for durability: what is over the bound does, so that the disk stays small. */
Test(retention_limits, none_asks_for_syncs)
{
    open_stage(FSYNC_NONE, "bytes=256KiB");
    append(2000, 16000);
    cr_assert_leq(bytes_kept(), 40 * STAGE_CHUNK);
    cr_assert_leq(segment_set_bytes(&stage.store.segments), 8 * stage.config.segment_bytes);
}

Test(retention_limits, age_goes_by_the_newest_entry_of_a_chunk)
{
    open_stage(FSYNC_EACH, "age=100s");
    append(20, 3000); /* small chunks are full after one */
    const uint64_t old = state()->next_seq;
    pass_time(60 * SECOND, 60);
    append(20, 3000);
    pass_time(39 * SECOND, 39);
    cr_assert_eq(state()->first_seq, 0, "gone before its time");
    pass_time(3 * SECOND, 3);
    cr_assert_geq(state()->first_seq, old - 1, "what is 102 s old is still there");
    cr_assert_leq(state()->first_seq, old);
    check_begins();
    pass_time(1000 * SECOND, 100);
    cr_assert_eq(state()->chunk_count, 1);
    cr_assert_lt(state()->first_seq, state()->next_seq);
    check_begins();
}

/* The wall clock goes where it wants: only time that passed counts. */
Test(retention_limits, clock_jumps_delete_nothing)
{
    open_stage(FSYNC_EACH, "age=100s");
    append(20, 3000);
    pass_time(50 * SECOND, 50);
    stage.time_ns += 10 * YEAR;
    pass_time(2 * SECOND, 2);
    append(5, 3000);
    cr_assert_eq(state()->first_seq, 0, "a jump forward has deleted entries");
    crash_and_attach();
    pass_time(2 * SECOND, 2);
    cr_assert_eq(state()->first_seq, 0, "a jump forward has deleted entries at a start");
    stage.time_ns -= 30 * YEAR;
    pass_time(2 * SECOND, 2);
    append(5, 3000);
    crash_and_attach();
    pass_time(40 * SECOND, 40);
    cr_assert_eq(state()->first_seq, 0, "a jump back has deleted entries");
    /* And nothing is kept for ever: what was stamped ten years ahead ages as well. */
    pass_time(200 * SECOND, 200);
    cr_assert_eq(state()->chunk_count, 1);
    check_begins();
}

/* Time before a crash counts as far as it was recorded; time while no broker ran does not. */
static void age_through_restarts(void)
{
    open_stage(FSYNC_EACH, "age=2000s");
    append(20, 3000);
    pass_time(1500 * SECOND, 1500);
    const uint64_t age = stage.store.age_ns;
    stage_close(&stage);
    stage.now_ns += YEAR / 1000; /* the machine was off, or asleep */
    stage.time_ns += YEAR;
    attach();
    cr_assert_geq(stage.store.age_ns, age, "a clean stop forgets the age");
    cr_assert_lt(stage.store.age_ns, age + 100 * SECOND, "time without a broker counts");
    pass_time(10 * SECOND, 10);
    cr_assert_eq(state()->first_seq, 0);
    pass_time(500 * SECOND, 500);
    cr_assert_geq(state()->first_seq, 18);
    check_begins();
    append(20, 3000);
    pass_time(1300 * SECOND, 1300);
    crash_and_attach();
    cr_assert_eq(state()->first_seq + 1 >= 20, true);
    pass_time(1400 * SECOND, 1400); /* a crash loses at most the ten minutes of one record */
    cr_assert_eq(state()->chunk_count, 1);
}

Test(retention_limits, age_survives_restarts)
{
    age_through_restarts();
}

Test(retention_limits, age_survives_snapshots)
{
    snapshot_log_bytes = 300;
    age_through_restarts();
}

Test(retention_limits, a_group_that_is_left_behind_goes_on_at_the_first_entry)
{
    open_stage(FSYNC_EACH, "bytes=256KiB");
    append(4, 3000);
    uint64_t ask = stage_claim(lane, topic, UINT64_MAX, 2, 1000, 0);
    cr_assert_eq(stage_answered(lane, ask)->error, 2);
    append(300, 4000);
    const uint64_t first = state()->first_seq;
    cr_assert_gt(first, 2);
    cr_assert_eq(stage.store.counters.values[COUNTER_ENTRIES_LOST], first - 2);
    ask = stage_claim(lane, topic, UINT64_MAX, 5, 1000, 0);
    cr_assert_eq(stage_answered(lane, ask)->error, 5);
    cr_assert_eq(stage_answer(lane, ask)->seq, first, "the cursor is not at the first entry");
    crash_and_attach();
    ask = stage_claim(lane, topic, UINT64_MAX, 1, 1000, 0);
    cr_assert_geq(stage_answered(lane, ask)->seq, first);
    cr_assert_eq(stage_answer(lane, ask)->error, 1);
}

/* consumed,bytes: each gives its part back. */
Test(retention_limits, several_terms_each_trim)
{
    open_stage(FSYNC_EACH, "consumed,bytes=512KiB");
    append(100, 4000);
    cr_assert_eq(state()->first_seq, 0, "nobody has read and the bound is not reached");
    for (int i = 0; i < 6; i++) {
        const uint64_t ask = stage_claim(lane, topic, UINT64_MAX, 10, 1000, 0);
        cr_assert_eq(stage_answered(lane, ask)->error, 10);
    }
    append(1, 10);
    cr_assert_gt(state()->first_seq, 30, "what is consumed stays");
    cr_assert_eq(stage.store.counters.values[COUNTER_ENTRIES_LOST], 0);
    append(300, 4000);
    cr_assert_leq(bytes_kept(), (512 << 10));
    cr_assert_gt(stage.store.counters.values[COUNTER_ENTRIES_LOST], 0);
}

Test(retention_limits, none_keeps_everything)
{
    open_stage(FSYNC_EACH, "none");
    append(100, 4000);
    const uint64_t ask = stage_claim(lane, topic, UINT64_MAX, 100, 1000, 0);
    cr_assert_gt(stage_answered(lane, ask)->error, 0);
    append(10, 4000);
    pass_time(YEAR, 10);
    cr_assert_eq(state()->first_seq, 0);
}

/* A chunk that a client has not let go of keeps its image and its slot, though the topic begins behind
 * it. */
Test(retention_limits, held_chunks_stay_until_they_are_let_go)
{
    open_stage(FSYNC_EACH, "none");
    append(40, 4000);
    stage.reaping = false;
    const uint64_t ask = stage_claim(lane, topic, UINT64_MAX, 3, 1000, 0);
    stage_settle(&stage);
    cr_assert_eq(stage_answer(lane, ask)->given, false);
    struct stage_lane *other = stage_lane_open(&stage);
    struct stage_lane *const first_lane = lane;
    lane = other;
    char body[] = "retention\0bytes=64KiB";
    const struct stage_request request = {
        .kind = SUBMIT_TOPIC_SET, .topic = topic, .body = body, .bytes = sizeof body};
    (void)stage_submit(other, &request);
    stage_settle(&stage);
    stage_reap(other);
    append(40, 4000);
    cr_assert_gt(state()->first_seq, 3);
    const struct chunk *held = state()->chunks[0];
    cr_assert_gt(held->holds, 0);
    cr_assert_neq(held->slot, SLOT_NONE);
    cr_assert_eq(held->state, CHUNK_RESIDENT);
    cr_assert_lt(held->number, chunk_number(state()->first_position, STAGE_CHUNK));
    stage.reaping = true;
    lane = first_lane;
    cr_assert_eq(stage_answered(lane, ask)->error, 3);
    append(2, 10);
    cr_assert_eq(state()->first_chunk, chunk_number(state()->first_position, STAGE_CHUNK));
    cr_assert_eq(stage_holds(&stage), 0);
}

/* A client that leaves at a stop lets go of its chunk: what the topic may give up by then is not looked
 * for any more, since what would be read for that comes back to a store that is no more. */
Test(retention_limits, a_stop_begins_nothing)
{
    open_stage(FSYNC_EACH, "none");
    append(80, 4000);
    stage_close(&stage);
    cr_assert_eq(retention_policy_parse("bytes=64KiB", &stage.config.retention), 0);
    attach();
    stage.reaping = false;
    (void)stage_ask(lane, SUBMIT_FETCH, topic, 0, SUBMIT_BY_CHUNK);
    stage_settle(&stage);
    cr_assert_gt(topic_chunk(state(), 0)->holds, 0);
    cr_assert_eq(state()->first_seq, 0);
    stage_close(&stage); /* in which nothing may be in flight at the end */
    stage.reaping = true;
    attach();
    check_begins();
}

static void own_policies(void)
{
    open_stage(FSYNC_EACH, "bytes=128KiB");
    set(topic, "none", -ENOENT, TOPIC_SET_NOW);
    set(topic, "bytes=512KiB", 0, TOPIC_SET_AT_CREATION);
    const struct stage_topic other = stage_topic_open(lane, "other");
    append(200, 4000);
    append_to(other, 200, 4000);
    cr_assert_gt(bytes_kept(), (256 << 10));
    const struct topic *o = stage_topic_of(&stage, other);
    cr_assert_leq(o->tail_position - o->first_position, (128 << 10));
    set(topic, "none", 0, TOPIC_SET_AT_CREATION); /* too late: it is there */
    set(topic, "bytes=1M,", -EINVAL, TOPIC_SET_NOW);
    cr_assert_eq(state()->retention.bytes_max, 512 << 10);
    crash_and_attach();
    append(200, 4000);
    cr_assert_gt(bytes_kept(), (256 << 10), "the creation's policy is forgotten");
    set(topic, "bytes=256KiB", 0, TOPIC_SET_NOW);
    stage_power_off(&stage, LOSE_UNSYNCED); /* it was answered, so it is durable */
    attach();
    cr_assert_eq(state()->retention.bytes_max, 256 << 10);
    append(1, 10);
    pass_time(2 * SECOND, 2);
    append(1, 10);
    cr_assert_leq(bytes_kept(), (256 << 10));
    set(topic, "default", 0, TOPIC_SET_NOW);
    crash_and_attach();
    cr_assert_eq(state()->retention_own, false);
    append(60, 4000);
    cr_assert_leq(bytes_kept(), (128 << 10));
}

Test(retention_limits, a_topic_may_have_its_own_and_change_it)
{
    own_policies();
}

Test(retention_limits, a_topic_s_own_is_in_snapshots)
{
    snapshot_log_bytes = 300;
    own_policies();
    cr_assert_neq(stage.store.superblock.snapshot.generation, 0, "there was no snapshot");
}

/* The store's policy changes for those that have none of their own, those of age included. */
Test(retention_limits, the_default_may_change)
{
    open_stage(FSYNC_EACH, "none");
    const struct stage_topic own = stage_topic_open(lane, "own");
    set(own, "none", 0, TOPIC_SET_AT_CREATION);
    append(100, 4000);
    append_to(own, 100, 4000);
    const struct retention_policy age = {.age_ns = 10 * SECOND};
    retention_default_set(&stage.store, &age);
    pass_time(30 * SECOND, 30);
    cr_assert_eq(state()->chunk_count, 1);
    cr_assert_eq(stage_topic_of(&stage, own)->first_seq, 0);
}

/* A tick does not grow with the topics, and none of them is forgotten. */
Test(retention_limits, many_topics_age)
{
    enum { TOPICS = 3000 };
    stage_init(&stage, 7);
    stage.config.topics_max = TOPICS + 16;
    stage.config.arena_bytes = 256 * STAGE_CHUNK;
    stage.config.retention = (struct retention_policy){.age_ns = 10 * SECOND};
    attach();
    struct stage_topic topics[TOPICS];
    for (int i = 0; i < TOPICS; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        topics[i] = stage_topic_open(lane, name);
        append_to(topics[i], 3, 3000);
    }
    pass_time(40 * SECOND, 40);
    for (int i = 0; i < TOPICS; i++) {
        cr_assert_eq(stage_topic_of(&stage, topics[i])->first_seq, 2, "topic %d: %zu", i,
                     (size_t)stage_topic_of(&stage, topics[i])->first_seq);
    }
}
