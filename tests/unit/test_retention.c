/*
 * What a topic gives up, and when its places may be used again: consumed chunks, exact trims, slots
 * that are free only after the sync of the record, holds and pins, disks and arenas that are full.
 *
 * Seen to fail with: a slot that is free when its trim is recorded; chunks that somebody holds given
 * up; pins not looked at; a trim that begins one entry late; a full arena or disk that nothing frees
 * under `none`; chunks kept by lanes that still need more; a topic that a trim waits on freed under
 * it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/pins.h"
#include "tests/unit/store_reader.h"

static struct stage stage;
static struct stage_lane *lane;
static struct stage_topic topic;

static void open_stage(enum fsync_schedule fsync, uint64_t arena_chunks, uint64_t topics_max)
{
    stage_init(&stage, 11);
    stage.config.fsync = fsync;
    stage.config.fsync_interval_ns = UINT64_C(3600) * 1000000000;
    stage.config.arena_bytes = arena_chunks * STAGE_CHUNK;
    stage.config.topics_max = topics_max;
    stage_open(&stage);
    lane = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
}

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(retention, .fini = end, .timeout = 600);

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

static void append(uint32_t size)
{
    while (!stage_lane_has_room(lane, size)) {
        (void)stage_pass(&stage);
    }
    (void)stage_append(lane, topic, size, 1, 0);
}

static uint64_t claim(uint32_t entries)
{
    const uint64_t ask = stage_claim(lane, topic, UINT64_MAX, entries, 1000, 0);
    const struct stage_answer *answer = stage_answered(lane, ask);
    cr_assert_geq(answer->error, 0, "%d", answer->error);
    return (uint64_t)answer->error;
}

static uint64_t disk_bytes(void)
{
    return segment_set_bytes(&stage.store.segments);
}

/* The slot of a deleted topic's chunk that a client was told of, and has not reaped, is not another's. */
Test(retention, a_slot_is_not_free_while_its_chunk_is_held)
{
    open_stage(FSYNC_EACH, 16, 16);
    append(1000);
    stage_settle(&stage);
    stage.reaping = false;
    const uint64_t fetch = stage_ask(lane, SUBMIT_FETCH, topic, 0, SUBMIT_BY_CHUNK);
    stage_settle(&stage);
    struct stage_lane *other = stage_lane_open(&stage);
    (void)stage_ask(other, SUBMIT_TOPIC_DELETE, topic, 0, 0);
    stage_settle(&stage);
    cr_assert_eq(state()->state, TOPIC_DELETED);
    const struct list_node *node = list_first(&stage.store.frees);
    cr_assert_not_null(node, "its slot is free");
    const struct chunk *chunk = list_entry(node, struct chunk, frees);
    cr_assert_geq(stage.store.flush.durable_sync, chunk->free_after_sync, "it is not held");
    stage_reap(lane);
    cr_assert_eq(stage_answer(lane, fetch)->error, 0);
    stage.reaping = true;
    append(10); /* its lane has a turn */
    stage_settle(&stage);
    (void)stage_append(other, stage_topic_open(other, "next"), 10, 1, 0);
    stage_settle(&stage);
    cr_assert(list_empty(&stage.store.frees));
}

/* 150 times what the disk may have, through a store that is consumed as it goes. */
static void flat(enum fsync_schedule fsync)
{
    open_stage(fsync, 24, 16);
    const uint64_t budget = disk_bytes() + 2 * stage.config.segment_bytes;
    stage.disk->capacity = budget + (1 << 20);
    uint64_t bytes = 0;
    uint64_t claimed = 0;
    uint64_t appended = 0;
    uint64_t generation = 0;
    while (bytes < 150 * budget) {
        for (int i = 0; i < 12; i++) {
            append(60000);
            bytes += 60000;
            appended++;
        }
        stage_settle(&stage);
        const struct topic *t = state();
        claimed += claim(100);
        cr_assert_leq(disk_bytes(), budget, "the disk grew to %zu", (size_t)disk_bytes());
        cr_assert_geq(t->chunks[t->chunk_count - 1]->generation, generation);
        generation = t->chunks[t->chunk_count - 1]->generation;
    }
    while (claimed < appended) {
        const uint64_t more = claim(100);
        cr_assert_gt(more, 0);
        claimed += more;
    }
    cr_assert_eq(state()->next_seq, appended, "appends were refused");
}

Test(retention, disk_stays_flat_each)
{
    flat(FSYNC_EACH);
}

Test(retention, disk_stays_flat_none)
{
    flat(FSYNC_NONE);
}

/* Between the record of a trim and its sync nobody gets the slot; afterwards it has a new
 * generation. */
Test(retention, slots_wait_for_the_sync)
{
    open_stage(FSYNC_EACH, 64, 128);
    for (int i = 0; i < 200; i++) {
        append(3000);
    }
    stage_settle(&stage);
    const uint32_t slot = topic_chunk(state(), 0)->slot;
    const uint64_t generation = topic_chunk(state(), 0)->generation;
    (void)stage_claim(lane, topic, UINT64_MAX, 100, 1000, 0);
    while (list_empty(&stage.store.frees)) {
        (void)io_poll(stage.io);
        (void)stage_take(&stage);
        stage_look(&stage);
    }
    while (!list_empty(&stage.store.frees)) {
        uint32_t taken;
        cr_assert_eq(slot_allocate(&stage.store.segments, SLOT_SMALL, &taken), 0);
        cr_assert_neq(taken, slot, "the slot is free before the trim is durable");
        slot_release(&stage.store.segments, taken, true);
        flush_tick(&stage.store);
        (void)io_poll(stage.io);
        stage_look(&stage);
    }
    bool again = false;
    for (unsigned i = 0; i < 100 && !again; i++) {
        char name[16];
        snprintf(name, sizeof name, "o%u", i);
        const struct stage_topic other = stage_topic_open(lane, name);
        const uint64_t ask = stage_append(lane, other, 2000, 1, 0);
        cr_assert_eq(stage_answered(lane, ask)->error, 0);
        const struct topic *t = stage_topic_of(&stage, other);
        const struct chunk *chunk = t->chunks[t->chunk_count - 1];
        again = chunk->slot == slot;
        cr_assert_neq(chunk->generation, generation);
    }
    cr_assert(again, "the slot is never used again");
}

/* A claim that is not reaped keeps its chunks, and only those. */
Test(retention, holds_are_respected)
{
    open_stage(FSYNC_EACH, 64, 16);
    for (int i = 0; i < 300; i++) {
        append(1000);
    }
    stage_settle(&stage);
    stage.reaping = false;
    const uint64_t first = stage_claim(lane, topic, UINT64_MAX, 5, 1000, 0);
    struct stage_lane *other = stage_lane_open(&stage);
    (void)stage_claim(other, topic, UINT64_MAX, 290, 1000, 0);
    stage_settle(&stage);
    stage_reap(other);
    stage_settle(&stage);
    cr_assert_eq(state()->first_chunk, 0, "a chunk that is held is given up");
    cr_assert_gt(topic_chunk(state(), 0)->holds, 0);
    stage.reaping = true;
    cr_assert_eq(stage_answered(lane, first)->error, 5);
    stage_settle(&stage);
    append(10);
    stage_settle(&stage);
    cr_assert_gt(state()->first_chunk, 10);
    cr_assert_eq(stage_holds(&stage), 0);
}

/* The image that a reader has pinned stays what it is, though topic and slot are long gone. */
Test(retention, pins_are_respected)
{
    open_stage(FSYNC_EACH, 16, 16);
    const int fd = memfd_create("pins", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(fd, sizeof(struct pins_shm)), 0);
    struct pins_shm *pins = mmap(NULL, sizeof *pins, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(pins, MAP_FAILED);
    lane->client.pins_fd = fd;
    list_push_back(&stage.store.pool.readers, &lane->client.readers);
    append(2000);
    stage_settle(&stage);
    const uint32_t unit = topic_chunk(state(), 0)->unit;
    uint64_t stamp;
    struct atom *stamp_word = directory_stamp(stage.directory, unit);
    cr_assert_eq(pin_take(&pins->pin[5], stamp_word, unit, &stamp), 1);
    unsigned char before[2000];
    const unsigned char *image =
        stage.store.pool.arena + (uint64_t)unit * small_chunk_bytes(STAGE_CHUNK);
    memcpy(before, image, sizeof before);
    for (int i = 0; i < 200; i++) {
        append(40000);
        (void)claim(10);
    }
    cr_assert_gt(stage.store.pool.evictions, 20);
    cr_assert(pin_intact(stamp_word, stamp), "a pinned image was evicted");
    cr_assert(memcmp(before, image, sizeof before) == 0);
    pin_release(&pins->pin[5]);
    for (int i = 0; i < 100; i++) {
        append(40000);
        (void)claim(10);
    }
    cr_assert(!pin_intact(stamp_word, stamp), "an image that nobody has pinned is never evicted");
    list_remove(&lane->client.readers);
    munmap(pins, sizeof *pins);
    close(fd);
}

static void first_is(void *context, const struct stage_entry *entry)
{
    uint64_t *first = context;
    *first = *first == UINT64_MAX ? entry->seq : *first;
}

Test(retention, trims_are_exact)
{
    open_stage(FSYNC_EACH, 64, 16);
    for (int i = 0; i < 400; i++) {
        append((uint32_t)stage_random(&stage, i % 50 == 0 ? 30000 : 1500));
    }
    stage_settle(&stage);
    uint64_t seq = 0;
    while (seq < 400) {
        seq += stage_random(&stage, 30);
        seq = seq > 400 ? 400 : seq;
        const uint64_t trim = stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, seq, 0);
        cr_assert_eq(stage_answered(lane, trim)->error, 0);
        cr_assert_eq(state()->first_seq, seq, "%zu, not %zu", (size_t)state()->first_seq,
                     (size_t)seq);
        uint64_t first = UINT64_MAX;
        stage_read(&stage, state(), first_is, &first);
        cr_assert(seq == 400 || first == seq);
        if (stage_random(&stage, 4) == 0) {
            stage_power_off(&stage, LOSE_UNSYNCED);
            stage_open(&stage);
            lane = stage_lane_open(&stage);
            topic = stage_topic_open(lane, "t");
            cr_assert_eq(state()->first_seq, seq, "%zu, not %zu", (size_t)state()->first_seq,
                         (size_t)seq);
        }
    }
    uint64_t ask = stage_ask(lane, SUBMIT_TOPIC_TRIM, topic, 401, 0);
    cr_assert_eq(stage_answered(lane, ask)->error, -EINVAL);
    ask = stage_append(lane, topic, 100, 1, 0);
    cr_assert_eq(stage_answered(lane, ask)->seq, 400);
}

/* A full disk refuses what needs room, keeps what it has, and takes appends again once it is given
 * some. */
Test(retention, full_disk)
{
    open_stage(FSYNC_EACH, 32, 16);
    stage.disk->capacity = 1;
    int error = 0;
    uint64_t taken = 0;
    while (error == 0) {
        const uint64_t ask = stage_append(lane, topic, 30000, 1, 0);
        error = stage_answered(lane, ask)->error;
        taken += error == 0;
    }
    cr_assert_eq(error, -ENOSPC);
    cr_assert_eq(stage.store.fenced, 0, "a full disk is no fence");
    cr_assert_gt(taken, 10);
    cr_assert_eq(state()->durable_seq, taken);
    uint64_t ask = stage_append(lane, topic, 100, 1, SUBMIT_QUIET);
    (void)ask;
    stage_read(&stage, state(), NULL, NULL);
    /* What is consumed makes room. */
    while (claim(100) > 0) {
    }
    stage_settle(&stage);
    ask = stage_append(lane, topic, 30000, 1, 0);
    cr_assert_eq(stage_answered(lane, ask)->error, 0, "%d", stage_answer(lane, ask)->error);
    /* And so does a larger disk. */
    do {
        ask = stage_append(lane, topic, 30000, 1, 0);
    } while (stage_answered(lane, ask)->error == 0);
    stage.disk->capacity = 0;
    for (int i = 0; i < 3; i++) {
        stage_clock(&stage, 2 * SEGMENT_RETRY_NS);
        segment_set_tick(&stage.store.segments, stage.now_ns);
        stage_settle(&stage);
    }
    ask = stage_append(lane, topic, 30000, 1, 0);
    cr_assert_eq(stage_answered(lane, ask)->error, 0, "space has returned");
}

/* Under `none` nothing is given up before a sync: a full disk asks for one. */
Test(retention, full_disk_none)
{
    open_stage(FSYNC_NONE, 32, 16);
    stage.disk->capacity = 1;
    unsigned refused = 0;
    for (int i = 0; i < 4000; i++) {
        const uint64_t ask = stage_append(lane, topic, 3000, 1, 0);
        const int error = stage_answered(lane, ask)->error;
        cr_assert(error == 0 || error == -ENOSPC, "%d", error);
        refused += error != 0;
        (void)claim(10);
    }
    cr_assert_lt(refused, 100, "%u of 4000 were refused", refused);
}

/* The tails of many topics, none of them complete, fill the arena: they are written, whatever the
 * schedule. */
static void many_tails(enum fsync_schedule fsync)
{
    open_stage(fsync, 16, 600);
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        const struct stage_topic one = stage_topic_open(lane, name);
        const uint64_t ask = stage_append(lane, one, 100, 1, 0);
        while (!stage_answer(lane, ask)->given) {
            cr_assert(stage_pass(&stage) || stage_answer(lane, ask)->given,
                      "the arena is full and nobody writes it: topic %d", i);
        }
    }
}

Test(retention, arena_of_tails_none)
{
    many_tails(FSYNC_NONE);
}

Test(retention, arena_of_tails_hourly)
{
    many_tails(FSYNC_INTERVAL);
}

/* Lanes whose topics all need several chunks of an arena that has few wait for each other, not for
 * ever. */
static void crowd(enum fsync_schedule fsync, uint64_t arena_chunks, unsigned count, uint32_t size)
{
    enum { ROUNDS = 12 };
    open_stage(fsync, arena_chunks, 128);
    io_memory_shuffle(stage.io);
    struct stage_lane *lanes[STAGE_LANES_MAX];
    struct stage_topic topics[STAGE_LANES_MAX];
    unsigned sent[STAGE_LANES_MAX] = {0};
    for (unsigned i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%u", i);
        lanes[i] = stage_lane_open(&stage);
        topics[i] = stage_topic_open(lanes[i], name);
    }
    unsigned left = count * ROUNDS;
    for (unsigned passes = 0; left > 0; passes++) {
        cr_assert_lt(passes, 10000u, "%u entries are left", left);
        for (unsigned i = 0; i < count; i++) {
            if (sent[i] < ROUNDS && stage_lane_has_room(lanes[i], size)) {
                (void)stage_append(lanes[i], topics[i], size, sent[i]++, 0);
                left--;
            }
        }
        (void)stage_pass(&stage);
    }
    stage_settle(&stage);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(stage_topic_of(&stage, topics[i])->next_seq, ROUNDS, "topic %u stands", i);
        stage_read(&stage, stage_topic_of(&stage, topics[i]), NULL, NULL);
    }
}

Test(retention, crowd_each)
{
    crowd(FSYNC_EACH, 16, 40, 100000);
}

Test(retention, crowd_of_cold_tails)
{
    crowd(FSYNC_EACH, 17, 90, 60000);
}

Test(retention, crowd_none)
{
    crowd(FSYNC_NONE, 16, 40, 100000);
}

/* What waits on a topic keeps it, though its name, its entries and its last user are gone. */
Test(retention, deleted_while_trimmed)
{
    open_stage(FSYNC_EACH, 64, 8);
    for (int i = 0; i < 40; i++) {
        const struct stage_topic one = stage_topic_open(lane, "x");
        (void)stage_append(lane, one, 10, 1, 0);
        stage_settle(&stage);
        (void)stage_append(lane, one, 10, 1, 0);
        const uint64_t trim = stage_ask(lane, SUBMIT_TOPIC_TRIM, one, 1, 0);
        const uint64_t delete = stage_ask(lane, SUBMIT_TOPIC_DELETE, one, 0, 0);
        (void)stage_ask(lane, SUBMIT_TOPIC_CLOSE, one, 0, 0);
        cr_assert_eq(stage_answered(lane, delete)->error, 0);
        (void)stage_answered(lane, trim);
        cr_assert_null(stage_topic_of(&stage, one), "the descriptor is never free again");
    }
    for (int i = 0; i < 40; i++) {
        const struct stage_topic one = stage_topic_open(lane, "absent");
        const uint64_t wait = stage_ask(lane, SUBMIT_WAIT_TAIL, one, 5, 0);
        (void)stage_ask(lane, SUBMIT_TOPIC_CLOSE, one, 0, 0);
        (void)stage_ask(lane, SUBMIT_CANCEL, one, wait, SUBMIT_QUIET);
        cr_assert_eq(stage_answered(lane, wait)->error, -ECANCELED);
        cr_assert_null(stage_topic_of(&stage, one), "the descriptor is never free again");
    }
}
