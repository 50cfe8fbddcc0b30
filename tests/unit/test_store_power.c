/*
 * Power loss under a whole store: random appends, batches, streams, entries of several chunks, claims,
 * trims, retention by consumption, bytes and age, deletions and new topics on several schedules, with
 * snapshots all the time; streams are committed, aborted, timed out, and lose their lane or topic. The
 * power goes at any moment and takes any subset of the sectors that no sync covered; the store is
 * opened again, sometimes while the disk fails, and again. What was durable is there, what else is there is a prefix that ends where an entry or batch
 * ends, byte for byte; acknowledged trims, deletions and cursors hold; no entry is handed out twice
 * in one life, and no more than a claim allows in two.
 *
 * TEST_POWER_SECONDS says how long to go on (10); TEST_POWER_SEED where to begin (1).
 *
 * Seen to fail with: the watermark moved to the tail instead of the captured position; one touched
 * segment synced instead of all; a slot freed before its trim is durable; strict claims, trims and
 * deletions that don't wait for their sync; a cursor called durable before its record is; no verdicts
 * after recovery.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/retention.h"
#include "tests/support/deadline.h"
#include "tests/unit/store_reader.h"
#include "tests/unit/store_stream.h"

enum { TOPICS = 6, WRITERS = 2, ENTRIES = 6000, ASKS = 4000, PERSIST_MAX = 8, STREAM_ENTRIES = 24 };

struct entry {
    uint32_t size;
    bool ends; /* an entry or batch ends with it */
};

struct topic_model {
    char name[16];
    struct stage_topic handle;
    struct entry entries[ENTRIES];
    bool handed[ENTRIES]; /* in this life of the broker */
    uint64_t next;        /* submitted */
    uint64_t durable;     /* acknowledged */
    uint64_t trim_asked;
    uint64_t trimmed; /* acknowledged */
    uint64_t handed_end;
    uint64_t cursor_durable; /* acknowledged by claims */
    uint64_t cursor_before;  /* at the last start */
    bool used;
    bool limited; /* retention may have taken what nobody read */
};

enum ask_kind { ASK_CLAIM, ASK_TRIM, ASK_DELETE, ASK_WAIT, ASK_STREAM, ASK_SET };

struct ask {
    enum ask_kind kind;
    struct stage_lane *lane;
    uint64_t user_data;
    struct topic_model *topic;
    uint64_t arg;               /* trim: its seq; claim: persist_every, 0: strict */
    uint64_t submitted[TOPICS]; /* wait: entries before it */
    bool committed;             /* stream */
};

/* A lane that appends to every WRITERS-th topic, and its stream, if one is under way. */
struct writer {
    struct stage_lane *lane;
    bool appended; /* through this lane, whose waits cover that and all before */
    bool streaming;
    int topic; /* of topics; -1: it was deleted since */
    struct stage_stream stream;
    uint32_t sizes[STREAM_ENTRIES];
    uint32_t count;
};

static struct stage stage;
static struct topic_model topics[TOPICS];
static struct ask asks[ASKS];
static unsigned asks_count;
static struct writer writers[WRITERS];
static struct stage_lane *reader;
static unsigned names;
static uint64_t seed;
static unsigned long states;
static unsigned long snapshots;  /* that a start began with */
static unsigned long streams[2]; /* that were given up, or committed */

static uint64_t random_below(uint64_t below)
{
    return stage_random(&stage, below);
}

static uint64_t stamp_of(const struct topic_model *topic, uint64_t seq)
{
    return seq + (uint64_t)atoi(topic->name + 1) * UINT64_C(1000003);
}

static void topic_new(struct topic_model *topic)
{
    memset(topic, 0, sizeof *topic);
    snprintf(topic->name, sizeof topic->name, "t%u", ++names);
    topic->used = true;
    topic->handle = stage_topic_open(reader, topic->name);
}

static struct writer *writer_of(const struct topic_model *topic)
{
    return &writers[(topic - topics) % WRITERS];
}

static struct topic *state_of(const struct topic_model *topic)
{
    return stage_topic_of(&stage, topic->handle);
}

static struct ask *ask_new(enum ask_kind kind, struct stage_lane *lane, uint64_t user_data,
                           struct topic_model *topic)
{
    cr_assert_lt(asks_count, (unsigned)ASKS);
    struct ask *ask = &asks[asks_count++];
    *ask = (struct ask){.kind = kind, .lane = lane, .user_data = user_data, .topic = topic};
    return ask;
}

static void append(struct topic_model *topic)
{
    const uint64_t kind = random_below(60);
    const uint64_t most = kind == 0 ? 100000 : kind < 6 ? 12000 : 900;
    const uint32_t size = (uint32_t)random_below(most);
    struct writer *writer = writer_of(topic);
    if (writer->streaming || topic->next + 1 >= ENTRIES ||
        !stage_lane_has_room(writer->lane, size)) {
        return;
    }
    writer->appended = true;
    (void)stage_append(writer->lane, topic->handle, size, stamp_of(topic, topic->next), 0);
    topic->entries[topic->next++] = (struct entry){.size = size, .ends = true};
}

static void batch(struct topic_model *topic)
{
    uint32_t sizes[12];
    const uint32_t count = 1 + (uint32_t)random_below(12);
    struct writer *writer = writer_of(topic);
    if (writer->streaming || topic->next + count >= ENTRIES ||
        !stage_lane_has_room(writer->lane, 12 * 6000)) {
        return;
    }
    const uint64_t stamp = stamp_of(topic, topic->next);
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = (uint32_t)random_below(random_below(8) == 0 ? 6000 : 500);
        topic->entries[topic->next++] = (struct entry){.size = sizes[i], .ends = i + 1 == count};
    }
    writer->appended = true;
    (void)stage_batch(writer->lane, topic->handle, sizes, count, stamp, 0);
}

/* Streams. */

static void stream_open(struct topic_model *topic)
{
    struct writer *writer = writer_of(topic);
    if (writer->streaming || topic->next + STREAM_ENTRIES >= ENTRIES ||
        !stage_lane_has_room(writer->lane, sizeof(struct stream_open_shm))) {
        return;
    }
    writer->streaming = true;
    writer->topic = (int)(topic - topics);
    writer->count = 1 + (uint32_t)random_below(STREAM_ENTRIES);
    const uint64_t most = random_below(3) == 0 ? 60000 : 900;
    for (uint32_t i = 0; i < writer->count; i++) {
        writer->sizes[i] = (uint32_t)random_below(most);
    }
    stage_stream_open(&writer->stream, writer->lane, topic->handle, writer->sizes, writer->count,
                      stamp_of(topic, topic->next));
}

static void stream_finish(struct writer *writer, bool commit)
{
    if (!stage_lane_has_room(writer->lane, 0)) {
        return;
    }
    (void)stage_ask(writer->lane, commit ? SUBMIT_STREAM_COMMIT : SUBMIT_STREAM_ABORT,
                    writer->stream.topic, 0, 0);
    struct topic_model *topic = writer->topic < 0 ? NULL : &topics[writer->topic];
    struct ask *ask = ask_new(ASK_STREAM, writer->lane, writer->stream.ask, topic);
    ask->committed = commit;
    ask->arg = topic == NULL ? 0 : topic->next;
    for (uint32_t i = 0; commit && topic != NULL && i < writer->count; i++) {
        topic->entries[topic->next++] =
            (struct entry){.size = writer->sizes[i], .ends = i + 1 == writer->count};
    }
    writer->streaming = false;
    streams[commit]++;
}

static void writer_open(struct writer *writer)
{
    writer->lane = stage_lane_open(&stage);
    writer->appended = false;
    writer->streaming = false;
}

/* Its lane goes, when nothing but its stream is in it. */
static void stream_orphan(struct writer *writer)
{
    if (writer->lane->lane->head != writer->lane->tail) {
        return;
    }
    for (unsigned i = 0; i < asks_count;) {
        if (asks[i].lane == writer->lane) {
            asks[i] = asks[--asks_count];
        } else {
            i++;
        }
    }
    stage_lane_close(writer->lane);
    writer_open(writer);
    streams[0]++;
}

static void streams_end(void)
{
    for (int i = 0; i < WRITERS; i++) {
        while (writers[i].streaming) {
            stream_finish(&writers[i], false);
            (void)stage_pass(&stage);
        }
    }
}

static void stream_step(struct writer *writer)
{
    const uint64_t kind = random_below(60);
    if (writer->stream.sent == writer->stream.bytes && kind > 20) {
        stream_finish(writer, true);
    } else if (kind == 0) {
        stream_finish(writer, false);
    } else if (kind == 1) {
        stream_orphan(writer);
    } else if (kind == 2) {
        stage_clock(&stage, stage.config.stream_timeout_ns); /* for all of them */
        (void)stage_pass(&stage);
        streams_end();
    } else {
        (void)stage_stream_send(&writer->stream, 1 + random_below(UNIT_BYTES_MAX));
    }
}

static void claim(struct topic_model *topic)
{
    const bool strict = random_below(3) == 0;
    const uint32_t every = 1 + (uint32_t)random_below(PERSIST_MAX);
    const uint64_t user_data =
        stage_claim(reader, topic->handle, 1 + random_below(4000), 1 + (uint32_t)random_below(10),
                    every, strict ? SUBMIT_STRICT : 0);
    ask_new(ASK_CLAIM, reader, user_data, topic)->arg = strict ? 0 : every;
}

static void trim(struct topic_model *topic)
{
    const uint64_t seq = random_below(state_of(topic)->next_seq + 1);
    const uint64_t user_data = stage_ask(reader, SUBMIT_TOPIC_TRIM, topic->handle, seq, 0);
    ask_new(ASK_TRIM, reader, user_data, topic)->arg = seq;
    topic->trim_asked = seq > topic->trim_asked ? seq : topic->trim_asked;
}

static void retention(struct topic_model *topic)
{
    static const char *const policies[] = {
        "consumed", "none",   "bytes=20000", "bytes=200000", "consumed,bytes=60000",
        "age=20s",  "default"};
    const char *policy = policies[random_below(sizeof policies / sizeof policies[0])];
    char body[64];
    const int bytes = snprintf(body, sizeof body, "retention%c%s", 0, policy) + 1;
    topic->limited |= strstr(policy, "=") != NULL;
    const struct stage_request request = {
        .kind = SUBMIT_TOPIC_SET, .topic = topic->handle, .body = body, .bytes = (uint32_t)bytes};
    const uint64_t user_data = stage_submit(reader, &request);
    (void)ask_new(ASK_SET, reader, user_data, topic);
}

static void wait_durable(const struct writer *writer)
{
    if (writer->streaming || !writer->appended) {
        return;
    }
    const uint64_t user_data =
        stage_ask(writer->lane, SUBMIT_WAIT, topics[0].handle, 0, SUBMIT_DURABLE);
    struct ask *ask = ask_new(ASK_WAIT, writer->lane, user_data, NULL);
    for (int i = (int)(writer - writers); i < TOPICS; i += WRITERS) {
        ask->submitted[i] = topics[i].next;
    }
}

/* The name is not used again: after its deletion is acknowledged it must be gone. */
static char gone[ASKS][16];
static unsigned gone_count;

static void delete (struct topic_model *topic)
{
    const uint64_t user_data = stage_ask(reader, SUBMIT_TOPIC_DELETE, topic->handle, 0, 0);
    struct ask *ask = ask_new(ASK_DELETE, reader, user_data, NULL);
    ask->arg = (uint64_t)atoi(topic->name + 1);
    struct writer *writer = writer_of(topic);
    if (writer->streaming && writer->topic == topic - topics) {
        writer->topic = -1;
    }
    for (unsigned i = 0; i < asks_count; i++) {
        asks[i].topic = asks[i].topic == topic ? NULL : asks[i].topic;
        asks[i].submitted[topic - topics] = 0;
    }
    topic_new(topic);
}

static void claim_answered(const struct ask *ask, const struct stage_answer *answer)
{
    struct topic_model *topic = ask->topic;
    cr_assert_geq(answer->error, 0, "seed %zu: claim %d", (size_t)seed, answer->error);
    const uint64_t end = answer->seq + (uint64_t)answer->error;
    cr_assert(answer->error == 0 || end <= topic->next);
    for (uint64_t seq = answer->seq; seq < end; seq++) {
        cr_assert(!topic->handed[seq], "seed %zu: %s %zu is handed out twice", (size_t)seed,
                  topic->name, (size_t)seq);
        topic->handed[seq] = true;
    }
    if (answer->error == 0 || stage.config.fsync == FSYNC_NONE) {
        return;
    }
    topic->handed_end = end > topic->handed_end ? end : topic->handed_end;
    const uint64_t bound = end > ask->arg ? end - ask->arg : 0;
    topic->cursor_durable = bound > topic->cursor_durable ? bound : topic->cursor_durable;
}

static void stream_answered(const struct ask *ask, const struct stage_answer *answer)
{
    if (ask->topic == NULL) {
        return;
    }
    if (ask->committed) {
        cr_assert_eq(answer->error, 0, "seed %zu: stream %d", (size_t)seed, answer->error);
        cr_assert_eq(answer->seq, ask->arg);
    } else {
        cr_assert(answer->error == -ECANCELED || answer->error == -ETIMEDOUT, "seed %zu: stream %d",
                  (size_t)seed, answer->error);
    }
}

static void answered(const struct ask *ask, const struct stage_answer *answer)
{
    switch (ask->kind) {
    case ASK_STREAM:
        stream_answered(ask, answer);
        return;
    case ASK_SET:
        cr_assert(answer->error == 0 || answer->error == -ENOENT || answer->error == -ESTALE,
                  "seed %zu: retention %d", (size_t)seed, answer->error);
        return;
    case ASK_CLAIM:
        if (ask->topic != NULL) {
            claim_answered(ask, answer);
        }
        return;
    case ASK_TRIM:
        if (ask->topic != NULL && answer->error == 0 && stage.config.fsync != FSYNC_NONE &&
            ask->arg > ask->topic->trimmed) {
            ask->topic->trimmed = ask->arg;
        }
        return;
    case ASK_DELETE:
        if (answer->error == 0 && stage.config.fsync != FSYNC_NONE) {
            cr_assert_lt(gone_count, (unsigned)ASKS);
            snprintf(gone[gone_count++], sizeof gone[0], "t%u", (unsigned)ask->arg);
        }
        return;
    case ASK_WAIT:
        for (int i = 0; answer->error == 0 && i < TOPICS; i++) {
            const uint64_t must = ask->submitted[i];
            topics[i].durable = must > topics[i].durable ? must : topics[i].durable;
        }
        return;
    }
}

static void answers_look(void)
{
    for (unsigned i = 0; i < asks_count;) {
        const struct stage_answer *answer = stage_answer(asks[i].lane, asks[i].user_data);
        if (answer->given) {
            answered(&asks[i], answer);
            asks[i] = asks[--asks_count];
        } else {
            i++;
        }
    }
    for (int i = 0; i < TOPICS; i++) {
        const struct topic *state = state_of(&topics[i]);
        if (state != NULL && state->durable_seq > topics[i].durable) {
            topics[i].durable = state->durable_seq;
        }
    }
}

static void step(void)
{
    struct topic_model *topic = &topics[random_below(TOPICS)];
    struct writer *writer = &writers[random_below(WRITERS)];
    const bool full = !stage_lane_has_room(writer->lane, 64) || !stage_lane_has_room(reader, 64);
    const uint64_t kind = full ? 99 : random_below(100);
    if (kind < 50 && writer->streaming) {
        stream_step(writer);
    } else if (kind < 42) {
        append(topic);
    } else if (kind < 45) {
        stream_open(topic);
    } else if (kind < 55) {
        batch(topic);
    } else if (kind < 72) {
        claim(topic);
    } else if (kind < 75) {
        trim(topic);
    } else if (kind < 76) {
        delete (topic);
    } else if (kind < 79) {
        wait_durable(writer);
    } else if (kind < 80) {
        retention(topic);
    } else {
        (void)stage_pass(&stage);
        answers_look();
    }
    if (random_below(20) == 0) {
        stage_clock(&stage, 3000000);
    }
    if (random_below(50) == 0) {
        retention_tick(&stage.store);
    }
}

static void compare(void *context, const struct stage_entry *entry)
{
    const struct topic_model *topic = context;
    cr_assert_lt(entry->seq, topic->next);
    const struct entry *expected = &topic->entries[entry->seq];
    cr_assert_eq(entry->size, expected->size, "seed %zu: %s %zu", (size_t)seed, topic->name,
                 (size_t)entry->seq);
    static unsigned char bytes[100000];
    stage_fill(bytes, entry->size, stamp_of(topic, entry->seq));
    cr_assert(memcmp(bytes, entry->bytes, entry->size) == 0, "seed %zu: %s %zu differs",
              (size_t)seed, topic->name, (size_t)entry->seq);
}

static void topic_check(struct topic_model *topic, bool clean)
{
    topic->handle = stage_topic_open(reader, topic->name);
    const struct topic *state = state_of(topic);
    if (state->state != TOPIC_PRESENT) {
        cr_assert_eq(topic->durable, 0, "seed %zu: %s is gone", (size_t)seed, topic->name);
        topic->next = 0;
    }
    const uint64_t next = state->next_seq;
    cr_assert_geq(next, topic->durable, "seed %zu: %s lost durable entries", (size_t)seed,
                  topic->name);
    cr_assert_leq(next, topic->next);
    cr_assert(!clean || next == topic->next, "seed %zu: a clean stop lost entries", (size_t)seed);
    cr_assert(next == 0 || topic->entries[next - 1].ends, "seed %zu: %s ends inside a batch",
              (size_t)seed, topic->name);
    stage_read(&stage, stage_topic_of(&stage, topic->handle), compare, topic);
    const struct cursor *cursor = &state->cursor;
    const uint64_t lowest = topic->cursor_durable < next ? topic->cursor_durable : next;
    const uint64_t at = cursor->exists ? cursor->seq : state->first_seq;
    /* Where the cursor began behind a trim that the crash undid, it may begin before it again. */
    for (uint64_t seq_behind = at; seq_behind < lowest; seq_behind++) {
        cr_assert(!topic->handed[seq_behind], "seed %zu: cursor of %s at %zu, %zu was durable",
                  (size_t)seed, topic->name, (size_t)at, (size_t)lowest);
    }
    cr_assert_leq(at, next);
    cr_assert_geq(at, state->first_seq);
    const uint64_t trimmed = topic->trimmed < next ? topic->trimmed : next;
    cr_assert_geq(state->first_seq, trimmed, "seed %zu: %s has what was trimmed again",
                  (size_t)seed, topic->name);
    const uint64_t most = topic->trim_asked > at ? topic->trim_asked : at;
    cr_assert(topic->limited || state->first_seq <= most, "seed %zu: %s begins at %zu",
              (size_t)seed, topic->name, (size_t)state->first_seq);
    topic->next = topic->durable = next;
    topic->trimmed = topic->trim_asked = state->first_seq;
    topic->cursor_durable = 0;
    topic->handed_end = 0;
    memset(topic->handed, 0, sizeof topic->handed);
}

static void lanes_open(void)
{
    for (int i = 0; i < WRITERS; i++) {
        writer_open(&writers[i]);
    }
    reader = stage_lane_open(&stage);
    asks_count = 0;
}

static void start(void)
{
    static const enum fsync_schedule schedules[] = {FSYNC_EACH, FSYNC_EACH, FSYNC_INTERVAL,
                                                    FSYNC_NONE};
    stage.config.fsync = schedules[random_below(4)];
    stage.config.fsync_interval_ns = 2000000;
    if (random_below(3) == 0) {
        memory_disk_fail(stage.disk, random_below(60), -5, true);
        if (stage_try_open(&stage) != 0) {
            memory_disk_power_off(stage.disk, LOSE_RANDOM);
            states++;
        } else {
            stage.disk->fail_at = 0;
        }
    }
    if (!stage.open) {
        const int error = stage_try_open(&stage);
        cr_assert_eq(error, 0, "seed %zu: %d %s", (size_t)seed, error, stage.fault.text);
    }
    if (random_below(4) != 0) {
        io_memory_shuffle(stage.io);
    }
    if (random_below(3) == 0) {
        stage.store.segments.window_ns = 1; /* what is free goes at once */
    }
    snapshots += stage.store.superblock.snapshot.generation != 0;
    lanes_open();
}

static void restart(void)
{
    static const enum memory_loss losses[] = {LOSE_RANDOM, LOSE_RANDOM, LOSE_RANDOM, LOSE_UNSYNCED,
                                              LOSE_NOTHING};
    const bool clean = random_below(10) == 0;
    if (clean) {
        streams_end();
        stage_settle(&stage);
        answers_look();
        stage_close(&stage);
    } else {
        stage_power_off(&stage, losses[random_below(5)]);
    }
    states++;
    start();
    for (int i = 0; i < TOPICS; i++) {
        topic_check(&topics[i], clean && stage.fault.error == 0);
    }
    for (unsigned i = 0; i < gone_count; i++) {
        const struct stage_topic handle = stage_topic_open(reader, gone[i]);
        cr_assert_eq(stage_topic_of(&stage, handle)->state, TOPIC_ABSENT, "seed %zu: %s is back",
                     (size_t)seed, gone[i]);
        (void)stage_ask(reader, SUBMIT_TOPIC_CLOSE, handle, 0, 0);
        (void)stage_pass(&stage);
    }
    gone_count = 0;
}

static void life_of_a_store(void)
{
    stage_init(&stage, seed);
    names = 0;
    gone_count = 0;
    stage.snapshot_log_bytes = random_below(3) == 0 ? 0 : 100 + random_below(4000);
    stage.config.arena_bytes = (16 + random_below(3) * 24) * STAGE_CHUNK;
    start();
    for (int i = 0; i < TOPICS; i++) {
        topic_new(&topics[i]);
    }
    const unsigned rounds = 2 + (unsigned)random_below(4);
    for (unsigned round = 0; round < rounds; round++) {
        const unsigned steps = 1 + (unsigned)random_below(500);
        for (unsigned i = 0; i < steps; i++) {
            step();
        }
        restart();
    }
    streams_end();
    stage_settle(&stage);
    cr_assert_eq(stage_holds(&stage), 0);
    cr_assert(list_empty(&stage.store.streams));
    stage_deinit(&stage);
}

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

Test(store_power, any_moment, .timeout = 0)
{
    const uint64_t seconds = number_of("TEST_POWER_SECONDS", 10);
    seed = number_of("TEST_POWER_SEED", 1);
    const uint64_t end = now_ms() + seconds * 1000;
    do {
        life_of_a_store();
        seed++;
    } while (now_ms() < end);
    cr_log_info("%lu crash states, %lu snapshots, %lu streams (%lu given up), up to seed %zu",
                states, snapshots, streams[0] + streams[1], streams[0], (size_t)seed - 1);
    cr_assert_gt(states, 20);
    cr_assert_gt(snapshots, states / 10);
    cr_assert(streams[0] > 20 && streams[1] > 20);
    for (int i = 0; i < WRITERS; i++) {
        stage_stream_free(&writers[i].stream);
    }
}
