/*
 * The search for the chunk of a seq or of a time, against what the frames say: right after a start,
 * when only bounds are known, with entries within one chunk and in many, with equal times, and with
 * beginnings that cannot be read; and how many beginnings it reads.
 *
 * Seen to fail with: bounds that are taken for the truth; the chunk before an entry that begins one; no
 * way round a damaged beginning.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/store_reader.h"

enum { ENTRIES_MAX = 4000 };

static struct stage stage;
static struct stage_lane *lane;
static struct stage_topic topic;
static uint32_t entries;
static uint64_t begins_in[ENTRIES_MAX]; /* chunk */
static uint64_t times[ENTRIES_MAX];
static uint64_t chunk_time[ENTRIES_MAX];
static uint64_t chunks;

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(chunk_locate, .fini = end, .timeout = 600);

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

/* Where entries begin, by the frames alone. */
static void truth_note(void)
{
    const struct topic *t = state();
    chunks = t->chunk_count;
    for (uint64_t number = 0; number < chunks; number++) {
        const unsigned char *image = stage_image(&stage, topic_chunk(t, number));
        const uint64_t start = chunk_start(number, STAGE_CHUNK);
        const uint64_t chunk_end = chunk_start(number + 1, STAGE_CHUNK);
        uint64_t position = start + CHUNK_HEADER_BYTES;
        chunk_time[number] = ((const struct chunk_header *)(const void *)image)->base_time_ns;
        while (position < t->tail_position && chunk_end > position &&
               chunk_end - position >= FRAME_HEADER_BYTES) {
            const struct frame_header *frame = (const void *)(image + (position - start));
            if (frame->flags & FRAME_FIRST) {
                begins_in[frame->seq] = number;
                times[frame->seq] = frame->time_ns;
            }
            position += frame_bytes(frame->size);
        }
    }
}

static void open_stage(uint64_t seed)
{
    stage_init(&stage, seed);
    stage.config.retention = (struct retention_policy){0};
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
}

/* Entries of any size, several to a chunk or over several chunks; `pace` appends share one time. */
static void fill(uint32_t count, uint64_t pace)
{
    entries = count;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t kind = stage_random(&stage, 40);
        const uint32_t size = (uint32_t)(kind == 0   ? stage_random(&stage, 200000)
                                         : kind < 10 ? stage_random(&stage, 30000)
                                                     : stage_random(&stage, 3000));
        while (!stage_lane_has_room(lane, size)) {
            (void)stage_pass(&stage);
        }
        (void)stage_append(lane, topic, size, i, 0);
        if (stage_random(&stage, pace) == 0) {
            stage_settle(&stage);
            stage_clock(&stage, 1000000);
        }
    }
    stage_settle(&stage);
    truth_note();
}

static void restart(void)
{
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
}

/* The chunk that is found; UINT64_MAX: damaged. */
static uint64_t find(uint64_t value, unsigned by)
{
    const uint64_t ask = stage_ask(lane, SUBMIT_FETCH, topic, value, by);
    const struct stage_answer *answer = stage_answered(lane, ask);
    cr_assert(answer->error == 0 || answer->error == -EBADMSG, "%d", answer->error);
    return answer->error == 0 ? answer->value : UINT64_MAX;
}

/* The last chunk that begins with an older entry. */
static uint64_t chunk_before(uint64_t time_ns)
{
    uint64_t found = 0;
    for (uint64_t number = 0; number < chunks; number++) {
        found = chunk_time[number] < time_ns ? number : found;
    }
    return found;
}

static uint64_t headers_read(void)
{
    return stage.store.counters.values[COUNTER_HEADERS_READ];
}

Test(chunk_locate, finds_the_chunk_in_which_an_entry_begins)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        open_stage(seed);
        fill(400, 1 + seed);
        restart();
        for (int i = 0; i < 300; i++) {
            const uint64_t seq = stage_random(&stage, entries);
            const uint64_t found = find(seq, SUBMIT_BY_SEQ);
            cr_assert_eq(found, begins_in[seq], "seed %zu, seq %zu: %zu, not %zu", (size_t)seed,
                         (size_t)seq, (size_t)found, (size_t)begins_in[seq]);
            const uint64_t time_ns =
                times[stage_random(&stage, entries)] + stage_random(&stage, 3) - 1;
            cr_assert_eq(find(time_ns, SUBMIT_BY_TIME), chunk_before(time_ns));
        }
        cr_assert_eq(find(0, SUBMIT_BY_SEQ), 0);
        cr_assert_eq(find(0, SUBMIT_BY_TIME), 0);
        cr_assert_eq(find(UINT64_MAX, SUBMIT_BY_TIME), chunk_before(UINT64_MAX));
        cr_assert_leq(headers_read(), chunks, "a beginning is read again and again");
        if (seed < 12) {
            stage_deinit(&stage);
        }
    }
}

Test(chunk_locate, reads_few_beginnings)
{
    open_stage(5);
    fill(3000, 3);
    restart();
    for (int i = 0; i < 50; i++) {
        const uint64_t before = headers_read();
        (void)find(stage_random(&stage, entries), SUBMIT_BY_SEQ);
        cr_assert_leq(headers_read() - before, 8, "one seek reads %zu of %zu beginnings",
                      (size_t)(headers_read() - before), (size_t)chunks);
    }
    cr_assert_lt(headers_read(), 50 * 3);
}

/* A beginning that cannot be read is gone round: the search ends before it. */
Test(chunk_locate, goes_round_damage)
{
    open_stage(9);
    fill(600, 2);
    const struct chunk *chunk = topic_chunk(state(), chunks / 2);
    const struct segment *segment = slot_segment(&stage.store.segments, chunk->slot);
    const uint64_t offset = slot_offset(&stage.store.segments, chunk->slot);
    const uint64_t damaged = chunk->number;
    char path[64] = "data/segments/";
    strcat(path, segment_name(segment->number).text);
    restart();
    memory_disk_find(stage.disk, path)->bytes[offset + 20] ^= 1;
    for (uint64_t seq = 0; seq < entries; seq++) {
        const uint64_t found = find(seq, SUBMIT_BY_SEQ);
        if (begins_in[seq] == damaged) {
            cr_assert(found == UINT64_MAX || found < damaged);
        } else {
            cr_assert_eq(found, begins_in[seq]);
        }
    }
}
