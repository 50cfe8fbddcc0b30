/*
 * Snapshots of the system topic: the log before them is given up, and what a start finds is the same;
 * a snapshot that is torn or rotten anywhere is refused with its place, never used in part; topics
 * that come and go while one is listed are there or gone; where the disk has no room there is none
 * and everything else goes on; one lets segments go that only the log would keep.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/recovery.h"
#include "broker/recovery_replay.h"
#include "broker/retention.h"
#include "tests/unit/store_reader.h"

static struct stage stage;

static void opened(uint64_t log_bytes)
{
    stage_init(&stage, 1);
    stage.config.topics_max = 1024;
    stage.snapshot_log_bytes = log_bytes;
    stage_open(&stage);
}

static uint64_t snapshots_of(const struct stage *on)
{
    return on->store.superblock.snapshot.generation;
}

static void topic_write(struct stage_lane *lane, const char *name, unsigned entries)
{
    const struct stage_topic topic = stage_topic_open(lane, name);
    for (unsigned i = 0; i < entries; i++) {
        (void)stage_append(lane, topic, 300, i, 0);
        stage_settle(&stage);
        stage_reap(lane);
    }
}

static uint64_t next_seq_of(struct stage_lane *lane, const char *name)
{
    return stage_topic_of(&stage, stage_topic_open(lane, name))->next_seq;
}

Test(snapshot, a_start_finds_what_was_there_and_the_log_before_is_gone)
{
    opened(8192);
    struct stage_lane *lane = stage_lane_open(&stage);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 10; i++) {
            char name[16];
            snprintf(name, sizeof name, "t%u", i);
            const struct stage_topic topic = stage_topic_open(lane, name);
            (void)stage_append(lane, topic, 300, round, 0);
            stage_settle(&stage);
            (void)stage_claim(lane, topic, 1000, 1, 1, SUBMIT_STRICT);
            stage_settle(&stage);
            stage_reap(lane);
        }
    }
    cr_assert_gt(snapshots_of(&stage), 0);
    cr_assert_lt(stage.store.system->tail_position - stage.store.superblock.replay.position,
                 4 * 8192);
    cr_assert_gt(stage.store.system->first_chunk, 0, "the log's beginning is still there");
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    cr_assert_eq(stage.store.topics.present, 10);
    for (unsigned i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        cr_assert_eq(next_seq_of(lane, name), 20);
        const struct topic *topic = stage_topic_of(&stage, stage_topic_open(lane, name));
        cr_assert_eq(topic->cursor.seq, 20);
    }
    stage_deinit(&stage);
}

/* The log says no more of a topic that was written once, nor of the time: the snapshot does. */
Test(snapshot, all_chunks_of_a_topic_and_the_age_clock_are_in_it)
{
    enum { ENTRIES = 600, ENTRY_BYTES = 7000 };
    opened(8192);
    struct stage_lane *lane = stage_lane_open(&stage);
    const struct stage_topic large = stage_topic_open(lane, "large");
    const struct stage_topic small = stage_topic_open(lane, "small");
    for (unsigned i = 0; i < ENTRIES; i++) {
        (void)stage_append(lane, large, ENTRY_BYTES, i, 0);
        (void)stage_append(lane, small, 1, i, 0);
        stage_settle(&stage);
    }
    const uint32_t chunks = stage_topic_of(&stage, large)->chunk_count;
    cr_assert_gt(chunks, RECORD_ITEMS_MAX, "one record has all of them");
    stage_clock(&stage, UINT64_C(7200) * 1000000000);
    const uint64_t age_ns = retention_clock(&stage.store);
    const uint64_t before = snapshots_of(&stage);
    unsigned claims = 0; /* cursors alone, which say nothing of chunks or the time */
    while (snapshots_of(&stage) == before) {
        cr_assert_lt(claims++, ENTRIES);
        (void)stage_claim(lane, small, 1, 1, 1, SUBMIT_STRICT);
        stage_settle(&stage);
    }
    cr_assert_gt(stage.store.segments.slots.system_groups, SEGMENT_SYSTEM_DEFAULT,
                 "no room is left for the next one");
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    cr_assert_eq(next_seq_of(lane, "large"), ENTRIES);
    cr_assert_eq(stage_topic_of(&stage, stage_topic_open(lane, "large"))->chunk_count, chunks);
    cr_assert_geq(retention_clock(&stage.store), age_ns);
    stage_deinit(&stage);
}

/* Many lives, each with more in the log than a snapshot, on one disk: it does not grow. */
Test(snapshot, disk_use_stays_flat)
{
    opened(4096);
    uint32_t segments = 0;
    for (unsigned life = 0; life < 12; life++) {
        struct stage_lane *lane = stage_lane_open(&stage);
        const struct stage_topic topic = stage_topic_open(lane, "t");
        for (unsigned i = 0; i < 500; i++) {
            (void)stage_append(lane, topic, 3000, i, 0);
            stage_settle(&stage);
            (void)stage_claim(lane, topic, 100000, 10, 1, SUBMIT_STRICT);
            stage_settle(&stage);
            stage_reap(lane);
        }
        if (life == 2) {
            segments = stage.store.segments.count;
        }
        stage_power_off(&stage, LOSE_UNSYNCED);
        stage_open(&stage);
    }
    cr_assert_leq(stage.store.segments.count, segments);
    stage_deinit(&stage);
}

Test(snapshot, topics_that_come_and_go_meanwhile)
{
    opened(2048);
    struct stage_lane *lane = stage_lane_open(&stage);
    unsigned listing = 0;
    for (unsigned i = 0; i < 400; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        (void)stage_append(lane, stage_topic_open(lane, name), 10, i, 0);
        if (i >= 8) {
            snprintf(name, sizeof name, "t%u", i - 8 + i % 5);
            const struct stage_topic old = stage_topic_open(lane, name);
            (void)stage_ask(lane, SUBMIT_TOPIC_DELETE, old, 0, 0);
            (void)stage_ask(lane, SUBMIT_TOPIC_CLOSE, old, 0, 0);
        }
        for (unsigned pass = 0; pass < 3; pass++) {
            (void)stage_pass(&stage);
            listing += stage.store.snapshot.state == SNAPSHOT_LISTING;
        }
        stage_reap(lane);
    }
    cr_assert_gt(listing, 100, "no snapshot took several passes");
    stage_settle(&stage);
    const uint32_t present = stage.store.topics.present;
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    cr_assert_eq(stage.store.topics.present, present);
    stage_deinit(&stage);
}

/* Where the named snapshot lies. */
struct place {
    struct segment_path path;
    uint64_t offset;
};

static struct place place_of(uint64_t chunk_no)
{
    const struct store *store = &stage.store;
    const uint32_t slot = store->snapshot.named.slots[chunk_no].slot;
    return (struct place){.path = slot_path(&store->segments, slot),
                          .offset = slot_offset(&store->segments, slot)};
}

static void damage(struct memory_disk *disk, const struct place *place, uint64_t at)
{
    const struct memory_node *file = memory_disk_find(disk, place->path.text);
    file->bytes[place->offset + at] ^= 0x10;
    file->durable[place->offset + at] ^= 0x10;
}

Test(snapshot, damage_anywhere_is_refused_with_words)
{
    enum { TOPICS = 60, CHUNKS = 4 };
    opened(2048);
    struct stage_lane *lane = stage_lane_open(&stage);
    for (unsigned i = 0; i < TOPICS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        topic_write(lane, name, 1);
    }
    stage_close(&stage);
    stage_open(&stage);
    const uint64_t end = stage.store.superblock.snapshot.end;
    const uint64_t small = STAGE_CHUNK / SMALL_CHUNKS;
    cr_assert(end > small && end < CHUNKS * small, "it has several chunks");
    struct place places[CHUNKS];
    for (uint64_t chunk_no = 0; chunk_no <= (end - 1) / small; chunk_no++) {
        places[chunk_no] = place_of(chunk_no);
    }
    stage_close(&stage);
    struct memory_disk *intact = stage.disk;
    unsigned refused = 0;
    unsigned tried = 0;
    for (uint64_t position = 0; position < end; position += 37) {
        stage.disk = memory_disk_clone(intact, position);
        damage(stage.disk, &places[position / small], position % small);
        const int error = stage_try_open(&stage);
        tried++;
        refused += error != 0;
        if (error == 0) {
            /* Some bytes, of paddings, say nothing. */
            cr_assert_eq(stage.store.topics.present, TOPICS);
            stage_close(&stage);
        } else {
            cr_assert_eq(error, -EBADMSG, "position %zu: %d", (size_t)position, error);
            cr_assert_not_null(strstr(stage.fault.text, "is damaged at offset"), "%s",
                               stage.fault.text);
            cr_assert_not_null(strstr(stage.fault.text, places[position / small].path.text));
        }
        memory_disk_free(stage.disk);
    }
    cr_assert_gt(refused, tried * 8 / 10);
    stage.disk = intact;
    stage_deinit(&stage);
}

/* Not of snapshots alone: how much a start reads. */
static uint64_t operations_of_a_start(void)
{
    const uint64_t before = stage.disk->operations;
    stage_open(&stage);
    return stage.disk->operations - before;
}

Test(snapshot, a_store_closed_in_order_is_opened_without_looking_at_topics)
{
    enum { TOPICS = 200 };
    opened(0);
    struct stage_lane *lane = stage_lane_open(&stage);
    for (unsigned i = 0; i < TOPICS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        topic_write(lane, name, 3);
    }
    stage_power_off(&stage, LOSE_UNSYNCED);
    cr_assert_gt(operations_of_a_start(), TOPICS);
    stage_close(&stage);
    cr_assert_lt(operations_of_a_start(), TOPICS / 2);
    lane = stage_lane_open(&stage);
    cr_assert_eq(next_seq_of(lane, "t7"), 3);
    cr_assert_gt(stage_topic_of(&stage, stage_topic_open(lane, "t7"))->last_time_ns, 0);
    /* Not the second time: that it was closed holds only until it is opened. */
    topic_write(lane, "t7", 1);
    stage_power_off(&stage, LOSE_UNSYNCED);
    cr_assert_gt(operations_of_a_start(), TOPICS);
    lane = stage_lane_open(&stage);
    cr_assert_eq(next_seq_of(lane, "t7"), 4);
    stage_deinit(&stage);
}

Test(snapshot, records_that_it_reaches_may_not_be_missing)
{
    opened(2048);
    struct stage_lane *lane = stage_lane_open(&stage);
    for (unsigned i = 0; snapshots_of(&stage) == 0; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        topic_write(lane, name, 1);
    }
    const uint64_t position = stage.store.superblock.snapshot.until - FRAME_ALIGNMENT;
    const struct chunk *chunk =
        topic_chunk(stage.store.system, chunk_number(position, STAGE_CHUNK));
    const struct place place = {.path = slot_path(&stage.store.segments, chunk->slot),
                                .offset = slot_offset(&stage.store.segments, chunk->slot)};
    const uint64_t at = position - chunk_start(chunk->number, STAGE_CHUNK);
    stage_close(&stage);
    damage(stage.disk, &place, at - FRAME_HEADER_BYTES);
    cr_assert_eq(stage_try_open(&stage), -EBADMSG);
    cr_assert_not_null(strstr(stage.fault.text, "(the system topic)"), "%s", stage.fault.text);
    stage_deinit(&stage);
}

/* A disk that is full keeps room for what frees it, snapshots included. */
Test(snapshot, a_full_disk_is_emptied_by_consuming)
{
    opened(1024);
    stage.disk->capacity = UINT64_C(6) << 20;
    struct stage_lane *lane = stage_lane_open(&stage);
    const struct stage_topic topic = stage_topic_open(lane, "t");
    uint64_t written[3] = {0};
    for (unsigned round = 0; round < 3; round++) {
        int error = 0;
        while (error == 0) {
            const uint64_t ask = stage_append(lane, topic, 3000, 0, 0);
            error = stage_answered(lane, ask)->error;
            written[round] += error == 0;
        }
        cr_assert_eq(error, -ENOSPC);
        const struct stage_answer *answer;
        do {
            answer = stage_answered(lane, stage_claim(lane, topic, 100000, 20, 1, SUBMIT_STRICT));
            cr_assert_geq(answer->error, 0, "a claim fails: %d", answer->error);
        } while (answer->error > 0);
        stage_settle(&stage);
    }
    cr_assert_gt(written[0], 500);
    cr_assert_gt(written[2], written[0] * 8 / 10, "%zu, then %zu", (size_t)written[0],
                 (size_t)written[2]);
    cr_assert_gt(snapshots_of(&stage), 0);
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    stage_deinit(&stage);
}

/* Segments of which nothing is in use but a piece of the system topic's log, which a snapshot frees. */
Test(snapshot, the_log_keeps_no_segments_that_are_not_needed)
{
    enum { ROUNDS = 6, ENTRIES = 400, ENTRY_BYTES = 7000, NAMES = 500 };
    opened(0);
    stage.reaping = true;
    stage.store.segments.window_ns = 1000;
    struct stage_lane *lane = stage_lane_open(&stage);
    const struct stage_topic topic = stage_topic_open(lane, "backlog");
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < ENTRIES; i++) {
            (void)stage_append(lane, topic, ENTRY_BYTES, i, 0);
            stage_settle(&stage);
        }
        for (unsigned i = 0; i < NAMES; i++) {
            char name[200];
            snprintf(name, sizeof name, "%0150u", i);
            const struct stage_topic named = stage_topic_open(lane, name);
            (void)stage_append(lane, named, 1, i, 0);
            stage_settle(&stage);
            (void)stage_ask(lane, SUBMIT_TOPIC_DELETE, named, 0, 0);
            (void)stage_ask(lane, SUBMIT_TOPIC_CLOSE, named, 0, 0);
            stage_settle(&stage);
        }
    }
    cr_assert_eq(snapshots_of(&stage), 0);
    cr_assert_gt(stage.store.segments.present, ROUNDS * ENTRIES * ENTRY_BYTES / (16 * STAGE_CHUNK));
    const uint64_t written = ROUNDS * ENTRIES;
    cr_assert_eq(stage_answered(lane, stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, written, 0))->error,
                 0);
    for (unsigned i = 0; i < 1000; i++) {
        (void)stage_pass(&stage);
    }
    /* The header's and what begins small; the topic's last chunk; the log's, and what comes next. */
    cr_assert_leq(stage.store.segments.present, 4, "%u are kept", stage.store.segments.present);
    cr_assert_eq(stage.store.counters.values[COUNTER_SNAPSHOTS], 1);
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    cr_assert_eq(next_seq_of(lane, "backlog"), written);
    stage_deinit(&stage);
}

/* What is recorded below a topic's as_of is in its snapshot; applied again it would contradict it. */
Test(snapshot, a_replay_skips_what_a_topic_s_record_holds)
{
    struct recovery recovery = {.next_generation = 1, .next_topic_id = 1};
    const struct record_place begin = {.position = chunk_first_frame(0, STAGE_CHUNK)};
    const struct record_place durable = {.position = begin.position + 4096, .seq = 20};
    const struct record topic = {.kind = RECORD_TOPIC,
                                 .topic_id = 7,
                                 .topic = {.name = {"t", 1},
                                           .as_of = 1000,
                                           .first = begin,
                                           .durable = durable,
                                           .floor_position = begin.position,
                                           .floor_salt = 3}};
    const struct record verdict = {
        .kind = RECORD_VERDICT,
        .topic_id = 7,
        .verdict = {
            .tail = begin, .durable = begin, .void_from = RECORD_NOTHING_VOID, .salt_floor = 2}};
    const struct record gone = {.kind = RECORD_TOPIC_DELETE, .topic_id = 7};
    cr_assert_eq(replay_apply_snapshot(&recovery, &topic, STAGE_CHUNK), 0);
    cr_assert_eq(replay_apply(&recovery, &verdict, 984, STAGE_CHUNK), 0);
    cr_assert_eq(recovery.topics[0].durable.position, durable.position);
    cr_assert_eq(recovery.topics[0].floors_count, 1);
    cr_assert_eq(replay_apply(&recovery, &verdict, 1000, STAGE_CHUNK), -EBADMSG);
    cr_assert_eq(replay_apply(&recovery, &gone, 1000, STAGE_CHUNK), 0);
    cr_assert(recovery.topics[0].deleted);
    recovery_free(&recovery);
}

Test(snapshot, a_snapshot_that_contradicts_itself_is_refused)
{
    struct recovery recovery = {.next_generation = 1, .next_topic_id = 1};
    const struct record_place begin = {.position = chunk_first_frame(0, STAGE_CHUNK)};
    const struct record topic = {.kind = RECORD_TOPIC,
                                 .topic_id = 7,
                                 .topic = {.name = {"t", 1}, .first = begin, .durable = begin}};
    uint8_t items[RECORD_CHUNK_ITEM_BYTES] = {0};
    const struct record chunks = {
        .kind = RECORD_CHUNKS, .topic_id = 7, .chunks = {.chunk_no = 3, .items = {items, 1}}};
    const struct record mark = {.kind = RECORD_MARK, .topic_id = 7, .mark = {.durable = begin}};
    cr_assert_eq(replay_apply_snapshot(&recovery, &chunks, STAGE_CHUNK), -EBADMSG,
                 "chunks before their topic");
    cr_assert_eq(replay_apply_snapshot(&recovery, &topic, STAGE_CHUNK), 0);
    cr_assert_eq(replay_apply_snapshot(&recovery, &topic, STAGE_CHUNK), -EBADMSG, "twice");
    cr_assert_eq(replay_apply_snapshot(&recovery, &chunks, STAGE_CHUNK), 0);
    cr_assert_eq(replay_apply_snapshot(&recovery, &chunks, STAGE_CHUNK), -EBADMSG, "twice");
    cr_assert_eq(replay_apply_snapshot(&recovery, &mark, STAGE_CHUNK), -EBADMSG, "no such record");
    recovery_free(&recovery);
}
