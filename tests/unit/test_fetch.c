/*
 * Chunks that come back from the disk: the one that is asked for, whole and as it was written, held
 * until its completion is reaped, one read for all who want it; found by number, seq and time.
 *
 * Seen to fail with: a seek to an entry of several chunks that begins behind its first one; a hold
 * that ends with the completion instead of its reaping; a read for each waiter; a cursor that stays in
 * a chunk that a trim gives up.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "broker/fetch.h"
#include "tests/unit/store_reader.h"

enum { ENTRIES = 400 };

static struct stage stage;
static struct stage_lane *lane;
static struct stage_topic topic;
static uint64_t position_of[ENTRIES];
static uint64_t time_of[ENTRIES];

static void note(void *context, const struct stage_entry *entry)
{
    (void)context;
    position_of[entry->seq] = entry->position;
    time_of[entry->seq] = entry->time_ns;
}

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

/* Where an entry begins: an entry's position, for those of several chunks that of their last. */
static uint64_t first_chunk_of(uint64_t seq)
{
    uint64_t number = state()->first_chunk;
    for (uint64_t at = number; at < number + state()->chunk_count; at++) {
        const struct chunk *chunk = topic_chunk(state(), at);
        const unsigned char *image = stage_image(&stage, chunk);
        uint64_t offset = CHUNK_HEADER_BYTES;
        while (offset + FRAME_HEADER_BYTES <= chunk_size(at, STAGE_CHUNK) &&
               chunk_start(at, STAGE_CHUNK) + offset < state()->tail_position) {
            struct frame_header frame;
            memcpy(&frame, image + offset, sizeof frame);
            if ((frame.flags & FRAME_FIRST) != 0 && frame.seq == seq) {
                return at;
            }
            offset += frame_bytes(frame.size);
        }
    }
    cr_assert_fail("entry %zu begins nowhere", (size_t)seq);
    return 0;
}

static void begin(void)
{
    stage_init(&stage, 9);
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
    for (int i = 0; i < ENTRIES; i++) {
        const uint32_t size = i % 9 == 0 ? 20000 : (uint32_t)stage_random(&stage, 2000);
        while (!stage_lane_has_room(lane, size)) {
            (void)stage_pass(&stage);
        }
        (void)stage_append(lane, topic, size, (uint64_t)i, 0);
        stage_clock(&stage, 1000000);
        (void)stage_pass(&stage);
    }
    stage_settle(&stage);
    stage_read(&stage, state(), note, NULL);
    stage_close(&stage);
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
}

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(fetch, .init = begin, .fini = end, .timeout = 600);

Test(fetch, by_chunk)
{
    for (uint64_t number = 0; number < state()->chunk_count; number++) {
        const uint64_t ask = stage_ask(lane, SUBMIT_FETCH, topic, number, SUBMIT_BY_CHUNK);
        const struct stage_answer *answer = stage_answered(lane, ask);
        cr_assert_eq(answer->error, 0);
        cr_assert_eq(answer->value, number);
        uint32_t unit;
        cr_assert(topic_chunk(state(), number)->state == CHUNK_RESIDENT);
        unit = topic_chunk(state(), number)->unit;
        cr_assert_eq(answer->seq, unit);
        cr_assert_neq(chunk_stamp(directory_stamp(stage.directory, unit)), 0);
    }
    const uint64_t count = state()->first_chunk + state()->chunk_count;
    const uint64_t beyond = stage_ask(lane, SUBMIT_FETCH, topic, count, SUBMIT_BY_CHUNK);
    cr_assert_eq(stage_answered(lane, beyond)->error, -EAGAIN);
    const uint64_t far = stage_ask(lane, SUBMIT_FETCH, topic, UINT64_MAX, SUBMIT_BY_CHUNK);
    cr_assert_eq(stage_answered(lane, far)->error, -EAGAIN);
    const uint64_t trim = stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, ENTRIES, 0);
    cr_assert_eq(stage_answered(lane, trim)->error, 0);
    const uint64_t gone = stage_ask(lane, SUBMIT_FETCH, topic, 0, SUBMIT_BY_CHUNK);
    cr_assert_eq(stage_answered(lane, gone)->error, -ENODATA);
}

/* Never behind the chunk in which the entry begins, and not far before it. */
Test(fetch, by_seq)
{
    for (uint64_t seq = 0; seq < ENTRIES; seq++) {
        const uint64_t ask = stage_ask(lane, SUBMIT_FETCH, topic, seq, SUBMIT_BY_SEQ);
        const struct stage_answer *answer = stage_answered(lane, ask);
        cr_assert_eq(answer->error, 0);
        cr_assert_leq(answer->value, first_chunk_of(seq), "entry %zu begins before", (size_t)seq);
        const uint64_t before = seq == 0 ? 0 : first_chunk_of(seq - 1);
        cr_assert_geq(answer->value + 6, before, "entry %zu: far away", (size_t)seq);
    }
}

Test(fetch, by_time)
{
    for (uint64_t seq = 0; seq < ENTRIES; seq++) {
        const uint64_t ask = stage_ask(lane, SUBMIT_FETCH, topic, time_of[seq], SUBMIT_BY_TIME);
        const struct stage_answer *answer = stage_answered(lane, ask);
        cr_assert_eq(answer->error, 0);
        cr_assert_leq(answer->value, first_chunk_of(seq), "entry %zu begins before", (size_t)seq);
    }
}

/* A trim to any entry, those of several chunks as well, keeps exactly what is not before it. */
Test(fetch, trim_by_seq)
{
    for (uint64_t seq = 1; seq < ENTRIES; seq++) {
        const uint64_t trim = stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, seq, 0);
        cr_assert_eq(stage_answered(lane, trim)->error, 0);
        cr_assert_eq(state()->first_seq, seq, "%zu, not %zu", (size_t)state()->first_seq,
                     (size_t)seq);
        const uint64_t ask = stage_claim(lane, topic, 1, 1, 1, SUBMIT_PEEK);
        const struct stage_answer *answer = stage_answered(lane, ask);
        cr_assert_eq(answer->error, 1, "%d at %zu", answer->error, (size_t)seq);
        cr_assert_eq(answer->seq, seq);
    }
}

/* A trim to where the group stands, also in front of a pad: the group goes on from there. */
Test(fetch, trim_to_the_cursor)
{
    for (uint64_t seq = 0; seq < ENTRIES; seq++) {
        const uint64_t ask = stage_claim(lane, topic, 1, 1, 1000, 0);
        const struct stage_answer *answer = stage_answered(lane, ask);
        cr_assert_eq(answer->error, 1, "%d at %zu", answer->error, (size_t)seq);
        cr_assert_eq(answer->seq, seq);
        const uint64_t trim = stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, seq + 1, 0);
        cr_assert_eq(stage_answered(lane, trim)->error, 0);
    }
}

Test(fetch, one_read_for_all)
{
    uint64_t asks[50];
    const uint64_t reads = stage.store.counters.values[COUNTER_FETCHES];
    for (int i = 0; i < 50; i++) {
        asks[i] = stage_ask(lane, SUBMIT_FETCH, topic, 3, SUBMIT_BY_CHUNK);
    }
    stage.reaping = false;
    stage_settle(&stage);
    cr_assert_eq(stage.store.counters.values[COUNTER_FETCHES], reads + 1);
    cr_assert_eq(topic_chunk(state(), 3)->holds, 4, "the last are held until they are reaped");
    stage_reap(lane);
    (void)stage_pass(&stage);
    cr_assert_eq(topic_chunk(state(), 3)->holds, 0);
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(stage_answer(lane, asks[i])->error, 0);
    }
}

/* A client that stands still between an answer and its reaping gives the memory back, not the chunk. */
Test(fetch, what_is_not_reaped_for_too_long_stays_on_disk_alone)
{
    const uint64_t ask = stage_ask(lane, SUBMIT_FETCH, topic, 3, SUBMIT_BY_CHUNK);
    stage.reaping = false;
    stage_settle(&stage);
    struct chunk *chunk = topic_chunk(state(), 3);
    cr_assert_eq(chunk->holds, 1);
    cr_assert_eq(fetch_revoke(&stage.store, lane->lane, 1000), 0, "seen for the first time");
    stage_clock(&stage, 999);
    cr_assert_eq(fetch_revoke(&stage.store, lane->lane, 1000), 0);
    stage_clock(&stage, 1);
    cr_assert_eq(fetch_revoke(&stage.store, lane->lane, 1000), 1);
    cr_assert_eq(fetch_revoke(&stage.store, lane->lane, 1000), 0, "revoked twice");
    cr_assert_eq(chunk->holds, 0);
    cr_assert(list_linked(&chunk->clean), "it may not go");
    /* What a CLAIM promised is not trimmed under it. */
    struct stage_lane *other = stage_lane_open(&stage);
    const uint64_t trim = stage_ask(other, SUBMIT_TOPIC_TRIM, topic, ENTRIES - 1, 0);
    stage_settle(&stage);
    stage_reap(other);
    cr_assert_eq(stage_answer(other, trim)->error, 0);
    cr_assert_eq(state()->first_chunk, 3);
    stage_reap(lane);
    stage.reaping = true;
    stage_settle(&stage);
    cr_assert_eq(stage_answer(lane, ask)->error, 0);
    cr_assert_eq(state()->first_chunk,
                 chunk_number(state()->first_position, stage.config.chunk_bytes));
    cr_assert_eq(stage_holds(&stage), 0);
}

Test(fetch, a_lane_that_goes_with_what_it_has_lost_leaves_nothing_behind)
{
    struct stage_lane *other = stage_lane_open(&stage);
    (void)stage_ask(other, SUBMIT_FETCH, topic, 3, SUBMIT_BY_CHUNK);
    stage.reaping = false;
    stage_settle(&stage);
    (void)fetch_revoke(&stage.store, other->lane, 1);
    stage_clock(&stage, 1);
    cr_assert_eq(fetch_revoke(&stage.store, other->lane, 1), 1);
    stage_lane_close(other);
    cr_assert_eq(topic_chunk(state(), 3)->keeps, 0);
    cr_assert_eq(stage_holds(&stage), 0);
}

/* A lane that goes while it waits, or has not reaped, leaves nothing behind. */
Test(fetch, lane_goes)
{
    stage.reaping = false;
    for (unsigned passes = 0; passes < 6; passes++) {
        struct stage_lane *third = stage_lane_open(&stage);
        for (uint64_t number = 0; number < 20; number++) {
            (void)stage_ask(third, SUBMIT_FETCH, topic, number, SUBMIT_BY_CHUNK);
        }
        for (unsigned i = 0; i < passes; i++) {
            (void)stage_pass(&stage);
        }
        stage_lane_close(third);
        stage_settle(&stage);
        cr_assert_eq(stage_holds(&stage), 0);
    }
}

Test(fetch, read_fails)
{
    const uint64_t ask = stage_ask(lane, SUBMIT_FETCH, topic, 2, SUBMIT_BY_CHUNK);
    memory_disk_fail(stage.disk, 0, -EIO, false);
    cr_assert_eq(stage_answered(lane, ask)->error, -EIO);
    cr_assert_eq(stage.store.fenced, 0);
    const uint64_t good = stage_ask(lane, SUBMIT_FETCH, topic, 1, SUBMIT_BY_CHUNK);
    cr_assert_eq(stage_answered(lane, good)->error, 0);
    cr_assert_eq(stage_holds(&stage), 0);
}
