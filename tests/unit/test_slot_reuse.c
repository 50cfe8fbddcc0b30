/*
 * Slots that are used again and again, and segments that come and go, with a power loss at every point:
 * whatever the disk kept of a slot's earlier lives, a topic reads as what was appended to it, byte by
 * byte, from its first entry on; nothing durable is missing, and what was trimmed for good stays so.
 *
 * Seen to fail with: slots that are free when their trim is recorded, not when it is durable; checksums
 * that are seeded without the generation.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/frame_scan.h"
#include "broker/retention.h"
#include "tests/unit/store_reader.h"

enum { TOPICS = 3, SIZE = 7000 };

static struct stage stage;
static struct stage_lane *lane;
static struct stage_topic topics[TOPICS];
static uint64_t durable[TOPICS]; /* next seq that was durable for sure */
static uint64_t kept[TOPICS];    /* first seq that was durable for sure */

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(slot_reuse, .fini = end, .timeout = 600);

static uint64_t stamp_of(int topic, uint64_t seq)
{
    return (uint64_t)(topic + 1) * 1000003 + seq;
}

static struct topic *state(int i)
{
    return stage_topic_of(&stage, topics[i]);
}

/* Opens, with few segments and those given back at once. */
static void attach(void)
{
    static const char *const names[TOPICS] = {"a", "b", "c"};
    stage_open(&stage);
    stage.store.segments.window_ns = 1000;
    lane = stage_lane_open(&stage);
    for (int i = 0; i < TOPICS; i++) {
        topics[i] = stage_topic_open(lane, names[i]);
    }
}

static void entry_check(void *context, const struct stage_entry *entry)
{
    static unsigned char expected[SIZE];
    const int i = *(const int *)context;
    cr_assert_eq(entry->size, SIZE);
    stage_fill(expected, SIZE, stamp_of(i, entry->seq));
    cr_assert(memcmp(entry->bytes, expected, SIZE) == 0, "topic %d: entry %zu is another one", i,
              (size_t)entry->seq);
}

static void check_all(void)
{
    for (int i = 0; i < TOPICS; i++) {
        if (state(i)->state != TOPIC_PRESENT) {
            cr_assert_eq(durable[i], 0);
            continue;
        }
        cr_assert_geq(state(i)->next_seq, durable[i], "topic %d: durable entries are missing", i);
        cr_assert_geq(state(i)->first_seq, kept[i], "topic %d: what was trimmed is back", i);
        stage_read(&stage, state(i), entry_check, &i);
    }
}

static void durable_note(void)
{
    for (int i = 0; i < TOPICS; i++) {
        if (state(i)->state == TOPIC_PRESENT) {
            durable[i] = state(i)->durable_seq;
        }
    }
}

/* Appends to one topic after the other: bytes= trims each as it grows, so its slots go to the others. */
static void work(unsigned passes)
{
    static int next;
    for (unsigned pass = 0; pass < passes; pass++) {
        next = (next + 1) % TOPICS;
        const uint64_t seq = state(next)->next_seq;
        if (stage_lane_has_room(lane, SIZE) && pass % 2 == 0) {
            (void)stage_append(lane, topics[next], SIZE, stamp_of(next, seq), 0);
            /* The stamp is that of the seq only if nothing else is under way. */
            for (int i = 0; i < 8 && state(next)->next_seq == seq; i++) {
                (void)stage_pass(&stage);
                durable_note();
            }
            cr_assert_eq(state(next)->next_seq, seq + 1);
        }
        (void)stage_pass(&stage);
        durable_note();
    }
}

static void kept_note(void)
{
    for (int i = 0; i < TOPICS; i++) {
        kept[i] = state(i)->state == TOPIC_PRESENT ? state(i)->first_seq : 0;
    }
}

Test(slot_reuse, a_power_loss_at_every_point_of_a_slot_s_lives)
{
    uint64_t lives = 0;
    uint64_t removed = 0;
    for (unsigned passes = 1; passes <= 160; passes += 2) {
        if (passes > 1) {
            stage_deinit(&stage);
        }
        memset(durable, 0, sizeof durable);
        memset(kept, 0, sizeof kept);
        stage_init(&stage, passes);
        stage.config.retention = (struct retention_policy){.bytes_max = 192 << 10};
        stage.config.fsync = FSYNC_INTERVAL;
        stage.config.fsync_interval_ns = 2000 + passes * 500;
        attach();
        work(200); /* each slot has had other lives by then */
        if (passes % 8 == 1) {
            /* A backlog that is trimmed after the next start: then there are segments to give back. */
            const struct retention_policy more = {.bytes_max = 4 << 20};
            retention_default_set(&stage.store, &more);
            work(1200);
        }
        stage_settle(&stage);
        kept_note();
        for (int crash = 0; crash < 3; crash++) {
            work(passes);
            const uint32_t present = stage.store.segments.present;
            const uint32_t count = stage.store.segments.count;
            removed += count - present;
            stage_power_off(&stage, crash == 1 ? LOSE_UNSYNCED : LOSE_RANDOM);
            attach();
            check_all();
        }
        lives += stage.store.numbers.next_generation;
    }
    cr_assert_gt(lives, 80 * 50);
    cr_assert_gt(removed, 0, "no segment was ever given back");
}

/* A slot whose new life got as far as its header: the frames behind it, of an earlier life of the same
 * topic's same chunk, are none. */
Test(slot_reuse, frames_of_an_earlier_life_are_none)
{
    static _Alignas(16) unsigned char image[STAGE_CHUNK / SMALL_CHUNKS];
    stage_init(&stage, 1);
    attach();
    (void)stage_append(lane, topics[0], 1000, 1, 0);
    (void)stage_append(lane, topics[0], 1000, 1, 0);
    stage_settle(&stage);
    const struct chunk *chunk = topic_chunk(state(0), 0);
    const uint64_t upto = state(0)->tail_position;
    const uint64_t id = state(0)->id;
    memcpy(image, stage_image(&stage, chunk), sizeof image);
    const uint64_t generation = chunk->generation;
    cr_assert_eq(frame_scan_verify(image, STAGE_CHUNK, id, 0, generation, upto), 0);
    struct chunk_header *header = (void *)image;
    header->generation = generation + 1;
    chunk_header_seal(header);
    cr_assert_neq(frame_scan_verify(image, STAGE_CHUNK, id, 0, generation + 1, upto), 0);
    header->generation = generation;
    header->topic_id = id + 1;
    chunk_header_seal(header);
    cr_assert_neq(frame_scan_verify(image, STAGE_CHUNK, id + 1, 0, generation, upto), 0);
}
