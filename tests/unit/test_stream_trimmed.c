/*
 * Streams whose first entries are no more: a log that begins within a stream, or with the BATCH_END of
 * one, is found again after a power loss, though no place behind that is recorded as durable.
 * How: a store on a memory disk (store_stage.h) that is cut down as consumers, operators and the
 * policies do it, and loses its power.
 *
 * Seen to fail with: a scan that begins within a stream and does not know it, or takes no BATCH_END
 * for its first frame.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/cleanup.h"
#include "tests/unit/store_reader.h"
#include "tests/unit/store_stream.h"

enum { ENTRIES_MAX = 200 };

static struct stage stage;
static struct stage_lane *lane;
static struct stage_topic topic;
static uint32_t sizes[ENTRIES_MAX];
static uint64_t count;

static void lane_renew(void)
{
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
}

static void begin(void)
{
    stage_init(&stage, 5);
    stage.config.arena_bytes = 16 * STAGE_CHUNK;
    stage_open(&stage);
    lane_renew();
    count = 0;
}

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(stream_trimmed, .init = begin, .fini = end, .timeout = 600);

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

/* Begins a stream of entries of this size and sends all of its body; returns its OPEN. */
static uint64_t stream_send(uint32_t entries, uint32_t size)
{
    static struct stage_stream sent;
    for (uint32_t i = 0; i < entries; i++) {
        sizes[count + i] = size;
    }
    stage_stream_open(&sent, lane, topic, sizes + count, entries, count);
    while (sent.sent < sent.bytes) {
        if (!stage_stream_send(&sent, UINT64_MAX)) {
            (void)stage_pass(&stage);
        }
    }
    const uint64_t ask = sent.ask;
    stage_stream_free(&sent);
    return ask;
}

static void stream_end(uint16_t kind)
{
    while (!stage_lane_has_room(lane, 0)) {
        (void)stage_pass(&stage);
    }
    (void)stage_ask(lane, kind, topic, 0, 0);
}

static void stream(uint32_t entries, uint32_t size)
{
    const uint64_t ask = stream_send(entries, size);
    stream_end(SUBMIT_STREAM_COMMIT);
    cr_assert_eq(stage_answered(lane, ask)->error, 0);
    count += entries;
}

static void append(uint32_t size)
{
    const uint64_t ask = stage_append(lane, topic, size, count, 0);
    cr_assert_eq(stage_answered(lane, ask)->error, 0);
    sizes[count++] = size;
}

static void compare(void *context, const struct stage_entry *entry)
{
    (void)context;
    cr_assert_eq(entry->size, sizes[entry->seq]);
    cleanup_free unsigned char *bytes = malloc(entry->size + 1);
    stage_fill(bytes, entry->size, entry->seq);
    cr_assert(memcmp(bytes, entry->bytes, entry->size) == 0, "%zu differs", (size_t)entry->seq);
}

/* Everything from `first` on is there after a power loss that takes only what no sync covered. */
static void survives(uint64_t first)
{
    stage_settle(&stage);
    cr_assert_eq(state()->first_seq, first);
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    lane_renew();
    cr_assert_eq(state()->first_seq, first);
    cr_assert_eq(state()->next_seq, count, "%zu entries, not %zu", (size_t)state()->next_seq,
                 (size_t)count);
    stage_read(&stage, state(), compare, NULL);
    append(100);
    stage_read(&stage, state(), compare, NULL);
}

static void trimmed_at(uint64_t seq, uint32_t entries, uint32_t size)
{
    append(30);
    stream(entries, size);
    append(40);
    const uint64_t ask = stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, seq, 0);
    cr_assert_eq(stage_answered(lane, ask)->error, 0);
    survives(seq);
}

Test(stream_trimmed, within_its_entries)
{
    for (uint64_t seq = 1; seq <= 42; seq += 3) {
        trimmed_at(seq, 40, 3000);
        end();
        begin();
    }
}

Test(stream_trimmed, to_its_second_entry)
{
    trimmed_at(2, 3, 200);
}

Test(stream_trimmed, within_fragments)
{
    for (uint64_t seq = 1; seq <= 5; seq++) {
        trimmed_at(seq, 4, 90000);
        end();
        begin();
    }
}

/* The last entry fills its chunk, the BATCH_END begins the next one, and so does the log, once the group
 * has passed that entry: no record says that anything behind was durable. */
Test(stream_trimmed, to_a_batch_end_that_begins_a_chunk)
{
    const uint64_t room = chunk_size(0, STAGE_CHUNK) - CHUNK_HEADER_BYTES;
    end();
    begin();
    stage.config.fsync = FSYNC_INTERVAL;
    stage.config.fsync_interval_ns = UINT64_C(1000000000);
    const uint64_t ask = stream_send(1, (uint32_t)(room - FRAME_HEADER_BYTES));
    stream_end(SUBMIT_STREAM_COMMIT);
    count++;
    (void)stage_append(lane, topic, 77, count, 0);
    sizes[count++] = 77;
    const uint64_t claim = stage_claim(lane, topic, 1 << 20, 1, 1000, 0);
    while (!stage_answer(lane, claim)->given) {
        (void)stage_pass(&stage);
    }
    cr_assert_eq(stage_answer(lane, ask)->error, 0);
    cr_assert_eq(stage_answer(lane, claim)->error, 1);
    cr_assert_eq(state()->durable_seq, 0, "the claim's record would say what is durable");
    stage_settle(&stage);
    cr_assert_eq(state()->first_position, chunk_first_frame(1, STAGE_CHUNK));
    survives(1);
}
