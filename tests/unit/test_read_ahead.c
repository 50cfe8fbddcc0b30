/*
 * Read-ahead: who goes through old chunks one after the other finds them read before he asks, each
 * read once however many readers there are; who jumps about costs no read but his own; what was read
 * for a reader that never came goes, and damage met ahead is its reader's alone.
 *
 * Seen to fail with: read-ahead that evicts the chunk whose use began it; read-ahead behind every
 * use; no memory of what has been asked for; a budget that is never given back.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/fetch.h"
#include "tests/unit/store_reader.h"

enum { ENTRIES = 2000, SIZE = 3000, ARENA_CHUNKS = 64, BUDGET = ARENA_CHUNKS / READ_AHEAD_PART };

static struct stage stage;
static struct stage_lane *lane;
static struct stage_topic topic;

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

static void reopen(void)
{
    stage_close(&stage);
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
}

static void begin(void)
{
    stage_init(&stage, 11);
    stage.config.arena_bytes = ARENA_CHUNKS * STAGE_CHUNK;
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
    for (int i = 0; i < ENTRIES; i++) {
        while (!stage_lane_has_room(lane, SIZE)) {
            (void)stage_pass(&stage);
        }
        (void)stage_append(lane, topic, SIZE, (uint64_t)i, 0);
    }
    stage_settle(&stage);
    reopen();
}

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(read_ahead, .init = begin, .fini = end, .timeout = 600);

static uint64_t counted(enum counter counter)
{
    return stage.store.counters.values[counter];
}

static uint64_t last_chunk(void)
{
    return state()->first_chunk + state()->chunk_count - 1;
}

/* The answer's error. */
static int fetch(struct stage_lane *from, uint64_t number)
{
    const uint64_t ask = stage_ask(from, SUBMIT_FETCH, topic, number, SUBMIT_BY_CHUNK);
    return stage_answered(from, ask)->error;
}

static bool is_resident(uint64_t number)
{
    return topic_chunk(state(), number)->state == CHUNK_RESIDENT;
}

/* As a reader that looks for an entry: the number of the chunk that it is given, and whether that was
 * read for it. */
static uint64_t seek(struct stage_lane *from, uint64_t seq, bool *was_read)
{
    const uint64_t reads = stage.store.counters.values[COUNTER_FETCHES];
    const uint64_t ask = stage_ask(from, SUBMIT_FETCH, topic, seq, SUBMIT_BY_SEQ);
    const struct stage_answer *answer = stage_answered(from, ask);
    cr_assert_eq(answer->error, 0);
    *was_read = stage.store.counters.values[COUNTER_FETCHES] != reads;
    return answer->value;
}

/* Every chunk is read once, and but for the first ones before it is asked for; never too many. */
Test(read_ahead, one_after_the_other)
{
    const uint64_t reads = counted(COUNTER_FETCHES);
    const uint64_t last = last_chunk();
    for (uint64_t number = 0; number <= last; number++) {
        if (number > 4) {
            cr_assert(is_resident(number), "chunk %zu was not read ahead", (size_t)number);
        }
        cr_assert_eq(fetch(lane, number), 0);
        cr_assert_leq(stage.store.pool.ahead_count, (uint32_t)BUDGET);
    }
    cr_assert_eq(counted(COUNTER_FETCHES) - reads, last + 1);
    cr_assert_geq(counted(COUNTER_CHUNKS_READ_AHEAD), last - 3);
    cr_assert_eq(stage.store.pool.ahead_hits, counted(COUNTER_CHUNKS_READ_AHEAD));
    cr_assert_eq(stage.store.pool.ahead_wasted, 0);
    cr_assert_eq(stage_holds(&stage), 0);
}

/* Several readers that follow each other share the reads. */
Test(read_ahead, together)
{
    enum { READERS = 4 };
    struct stage_lane *lanes[READERS];
    for (int i = 0; i < READERS; i++) {
        lanes[i] = stage_lane_open(&stage);
    }
    const uint64_t reads = counted(COUNTER_FETCHES);
    const uint64_t last = last_chunk();
    for (uint64_t step = 0; step <= last + READERS; step++) {
        for (uint64_t i = 0; i < READERS; i++) {
            if (step >= i && step - i <= last) {
                cr_assert_eq(fetch(lanes[i], step - i), 0);
            }
        }
    }
    cr_assert_eq(counted(COUNTER_FETCHES) - reads, last + 1);
}

/* Readers far from each other each have theirs, none of them more than its share. */
Test(read_ahead, apart)
{
    const uint64_t third = last_chunk() / 3;
    const uint64_t reads = counted(COUNTER_FETCHES);
    for (uint64_t step = 0; step < third; step++) {
        for (uint64_t i = 0; i < 3; i++) {
            cr_assert_eq(fetch(lane, i * third + step), 0);
        }
        cr_assert_leq(stage.store.pool.ahead_count, (uint32_t)BUDGET);
    }
    /* At the end of its third each may have read into the next one, which is there or is read again. */
    cr_assert_leq(counted(COUNTER_FETCHES) - reads, 3 * third + 2 * BUDGET);
    cr_assert_geq(stage.store.pool.ahead_hits, 3 * third - 12);
}

Test(read_ahead, jumping_reads_only_what_is_asked_for)
{
    const uint64_t reads = counted(COUNTER_FETCHES);
    uint64_t asked = 0;
    for (int i = 0; i < 500; i++) {
        bool was_read;
        const uint64_t number = seek(lane, 1 + stage_random(&stage, ENTRIES - 1), &was_read);
        asked += was_read;
        if (i % 3 == 0 && number < last_chunk()) { /* what is looked for begins behind it */
            asked += !is_resident(number + 1);
            cr_assert_eq(fetch(lane, number + 1), 0);
        }
    }
    cr_assert_gt(asked, 50);
    cr_assert_eq(counted(COUNTER_FETCHES) - reads, asked);
    cr_assert_eq(counted(COUNTER_CHUNKS_READ_AHEAD), 0);
}

/* A jumping reader does not make the broker forget one that goes on. */
Test(read_ahead, beside_a_jumping_one)
{
    for (uint64_t number = 16; number <= last_chunk() / 2; number++) {
        for (int i = 0; i < 40; i++) {
            bool was_read;
            (void)seek(lane, ENTRIES / 2 + 100 + stage_random(&stage, ENTRIES / 2 - 100),
                       &was_read);
        }
        cr_assert(number <= 20 || is_resident(number), "chunk %zu", (size_t)number);
        cr_assert_eq(fetch(lane, number), 0);
    }
}

/* The reader stops: a second later what waits for it is nobody's, and another can have the room. */
Test(read_ahead, reader_gone)
{
    for (uint64_t number = 16; number < 26; number++) {
        cr_assert_eq(fetch(lane, number), 0);
    }
    const uint32_t waiting = stage.store.pool.ahead_count;
    cr_assert_gt(waiting, 0);
    read_ahead_tick(&stage.store);
    cr_assert_eq(stage.store.pool.ahead_count, waiting);
    stage_clock(&stage, UINT64_C(2000000000));
    read_ahead_tick(&stage.store);
    cr_assert_eq(stage.store.pool.ahead_count, 0);
    cr_assert_eq(stage.store.pool.ahead_wasted, waiting);
}

/* Claims of the default cursor are readers as well. */
Test(read_ahead, claims)
{
    const uint64_t reads = counted(COUNTER_FETCHES);
    const uint64_t chunks = last_chunk() + 1;
    uint64_t seq = 0;
    while (seq < ENTRIES) {
        const uint64_t ask = stage_claim(lane, topic, UINT64_MAX, 7, 1000, 0);
        const struct stage_answer *answer = stage_answered(lane, ask);
        cr_assert_gt(answer->error, 0);
        cr_assert_eq(answer->seq, seq);
        seq += (uint64_t)answer->error;
    }
    /* One more: the end of the system topic, for the cursor's record. */
    cr_assert_leq(counted(COUNTER_FETCHES) - reads, chunks + 1);
    cr_assert_gt(counted(COUNTER_CHUNKS_READ_AHEAD), chunks / 2);
}

/* Flips a byte of the chunk's slot. */
static void rot(uint64_t number, uint64_t offset)
{
    const struct chunk *chunk = topic_chunk(state(), number);
    const struct segment *segment = slot_segment(&stage.store.segments, chunk->slot);
    char path[sizeof stage.config.data_dir + SEGMENT_NAME_BYTES + 16];
    snprintf(path, sizeof path, "%s/segments/%s", stage.config.data_dir,
             segment_name(segment->number).text);
    struct memory_node *file = memory_disk_find(stage.disk, path);
    cr_assert_not_null(file, "%s", path);
    unsigned char *byte = &file->bytes[slot_offset(&stage.store.segments, chunk->slot) + offset];
    *byte ^= 1;
}

/* The readers of a damaged chunk hear of it, those before and behind it don't; it is told once. */
Test(read_ahead, damage_is_its_readers)
{
    enum { BAD_HEADER = 24, BAD_FRAME = 28 };
    rot(BAD_HEADER, 3);
    rot(BAD_FRAME, 5000);
    for (int round = 0; round < 3; round++) {
        for (uint64_t number = 16; number <= last_chunk(); number++) {
            cr_assert_eq(fetch(lane, number), number == BAD_HEADER ? -EBADMSG : 0, "chunk %zu",
                         (size_t)number);
        }
    }
    cr_assert_eq(counted(COUNTER_CHUNKS_DAMAGED), 2);
}

/* The disk failed once, when nobody waited yet: whoever asks has it read again. */
Test(read_ahead, a_read_ahead_that_fails_is_tried_again)
{
    cr_assert_eq(fetch(lane, 16), 0);
    cr_assert_eq(fetch(lane, 17), 0);
    (void)stage_ask(lane, SUBMIT_FETCH, topic, 18, SUBMIT_BY_CHUNK);
    stage_take(&stage);
    memory_disk_fail(stage.disk, 1, -EIO, false); /* chunk 18 is read, 19 is not */
    stage_settle(&stage);
    cr_assert(is_resident(18));
    cr_assert_not(is_resident(19));
    for (uint64_t number = 19; number < 30; number++) {
        cr_assert_eq(fetch(lane, number), 0, "chunk %zu", (size_t)number);
    }
}

/* However many reads end at once, a pass verifies no more than its share of them. */
Test(read_ahead, a_pass_verifies_a_piece)
{
    enum { CHUNKS = 8, PIECE_CHUNKS = 2 };
    for (uint64_t i = 0; i < CHUNKS; i++) {
        (void)stage_ask(lane, SUBMIT_FETCH, topic, 20 + 3 * i, SUBMIT_BY_CHUNK);
    }
    (void)stage_take(&stage);
    while (io_in_flight(stage.io) > 0) {
        (void)io_poll(stage.io);
    }
    for (uint64_t done = 0; done < CHUNKS;) {
        cr_assert(fetch_verify(&stage.store));
        uint64_t now = 0;
        for (uint64_t i = 0; i < CHUNKS; i++) {
            now += is_resident(20 + 3 * i);
        }
        cr_assert_leq(now - done, PIECE_CHUNKS);
        done = now;
    }
    cr_assert_not(fetch_verify(&stage.store));
}
