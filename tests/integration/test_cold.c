/*
 * Cold reads: a log that is many times larger than the arena is read back byte for byte: by one reader
 * beside producers, by several at different places, by seeks, by the default cursor, by a reader that
 * has fallen far behind a producer and catches up; and so is an entry larger than the arena.
 * How:        one real broker per test, written with a large arena and read with a small one.
 * Not here:   how many reads that takes (tests/unit/test_read_ahead.c), how fast it is (soak_cold.c).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/clients.h"
#include "tests/support/deadline.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

#define LARGE_ARENA "--arena 64M"
#define SMALL_ARENA "--arena 8M"

enum {
    BACKLOG_ENTRIES = 20000,
    BACKLOG_SIZE_MAX = 40000, /* 20 KB on average: 400 MB */
    PRODUCER = 7,
    BESIDE = 8,
    BATCH = 64,
};

TestSuite(cold, .timeout = 600);

static size_t backlog_size(uint32_t n)
{
    return payload_size(PRODUCER, n, PAYLOAD_BYTES_MIN, BACKLOG_SIZE_MAX);
}

static void submit_all(struct tusk *connection, struct tusk_topic *topic, const void *data,
                       size_t size)
{
    int result;
    while ((result = tusk_submit(topic, data, size, 0)) == -EAGAIN) {
        check_is(tusk_wait(connection, TEST_LONG_MS), 1);
    }
    check_ok(result);
}

static void backlog_write(uint32_t entries)
{
    unsigned char *data = malloc(BACKLOG_SIZE_MAX);
    struct tusk_topic *topic = topic_of(tusk, "t");
    check(data != NULL);
    for (uint32_t n = 0; n < entries; n++) {
        payload_fill(data, backlog_size(n), PRODUCER, n);
        submit_all(tusk, topic, data, backlog_size(n));
    }
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    free(data);
}

/* A broker with a small arena over a backlog; no connection, so that processes can be started. */
static void cold_begin(uint32_t entries)
{
    session_begin_with(LARGE_ARENA);
    backlog_write(entries);
    tusk_disconnect(tusk);
    tuskd_stop(broker);
    tuskd_restart(broker, SMALL_ARENA);
}

static void entries_expect(const struct tusk_entry *entries, int count, uint64_t *next)
{
    for (int i = 0; i < count; i++) {
        check_is(entries[i].seq, *next);
        expect_numbered(&entries[i], PRODUCER, (uint32_t)*next, backlog_size((uint32_t)*next));
        ++*next;
    }
}

/* Reads entries [from, until). */
static void backlog_read(struct tusk_topic *topic, uint64_t from, uint64_t until)
{
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, from);
    struct tusk_entry entries[BATCH];
    uint64_t next = from;
    while (next < until) {
        const size_t most = until - next < BATCH ? (size_t)(until - next) : BATCH;
        const int count = tusk_reader_batch(reader, SIZE_MAX, entries, most, TEST_LONG_MS);
        check_say(count > 0, "%d at %zu", count, (size_t)next);
        entries_expect(entries, count, &next);
    }
    tusk_reader_close(reader);
}

struct beside {
    uint64_t stop;
    uint64_t appended;
};

/* Appends to a topic of its own until it is told to stop. */
static void beside_run(size_t index, void *arg)
{
    (void)index;
    struct beside *beside = arg;
    unsigned char data[1000];
    struct tusk *connection = attach(broker);
    struct tusk_topic *topic = topic_of(connection, "beside");
    uint32_t n = 0;
    while (shared_get(&beside->stop) == 0) {
        payload_fill(data, sizeof data, BESIDE, n++);
        submit_all(connection, topic, data, sizeof data);
        if (n % 1024 == 0) {
            pause_briefly();
        }
    }
    check_ok(tusk_flush(connection, TUSK_COMMITTED, -1));
    shared_set(&beside->appended, n);
    tusk_disconnect(connection);
}

Test(cold, a_backlog_is_read_back_beside_producers)
{
    cold_begin(BACKLOG_ENTRIES);
    struct beside *beside = shared_memory(sizeof *beside);
    struct clients *clients = clients_start(1, beside_run, beside);
    tusk = attach(broker);
    backlog_read(topic_of(tusk, "t"), 0, BACKLOG_ENTRIES);
    shared_set(&beside->stop, 1);
    clients_join(clients);
    wait_until(counter_of(tusk, "read_ahead_hits_total") > 100, 5000);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "beside"));
    for (uint32_t n = 0; n < beside->appended; n++) {
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, BESIDE, n, 1000);
    }
    expect_end(reader);
    tusk_reader_close(reader);
    session_end();
}

static void third_read(size_t index, void *arg)
{
    (void)arg;
    struct tusk *connection = attach(broker);
    const uint64_t third = BACKLOG_ENTRIES / 9;
    struct tusk_topic *topic = topic_of(connection, "t");
    /* The first two go together, the others are elsewhere. */
    backlog_read(topic, index < 2 ? 0 : index * third, (index < 2 ? 3 : index + 3) * third);
    tusk_disconnect(connection);
}

Test(cold, readers_at_different_places)
{
    cold_begin(BACKLOG_ENTRIES);
    clients_run(5, third_read, NULL);
    tusk = attach(broker);
    session_end();
}

Test(cold, seeks)
{
    enum { SEEKS = 400 };
    cold_begin(BACKLOG_ENTRIES);
    tusk = attach(broker);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    for (uint64_t i = 0; i < SEEKS; i++) {
        const uint64_t seq = payload_mix(i) % BACKLOG_ENTRIES;
        uint64_t next = seq;
        check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, seq));
        const struct tusk_entry entry = reader_take(reader);
        entries_expect(&entry, 1, &next);
    }
    /* Each seek looks into a chunk or two, and no more is read than that. */
    check(counter_of(tusk, "fetches_total") < 3 * SEEKS);
    /* Few have to go on twice: where a chunk's beginning is known only roughly. */
    check(counter_of(tusk, "chunks_read_ahead_total") < SEEKS / 4);
    tusk_reader_close(reader);
    session_end();
}

Test(cold, the_default_cursor_goes_through_a_backlog)
{
    cold_begin(BACKLOG_ENTRIES / 2);
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.consistency = TUSK_AT_LEAST_ONCE;
    options.persist_every = 10000;
    tusk = attach_with(broker, options);
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_entry entries[BATCH];
    uint64_t next = 0;
    while (next < BACKLOG_ENTRIES / 2) {
        const int count = tusk_batch_read(topic, SIZE_MAX, true, entries, BATCH);
        check_say(count > 0, "%d at %zu", count, (size_t)next);
        entries_expect(entries, count, &next);
    }
    wait_until(counter_of(tusk, "read_ahead_hits_total") > 50, 5000);
    session_end();
}

/* Appends at a steady pace, to the topic that is read. */
static void behind_run(size_t index, void *arg)
{
    (void)index;
    struct beside *beside = arg;
    unsigned char *data = malloc(BACKLOG_SIZE_MAX);
    struct tusk *connection = attach(broker);
    struct tusk_topic *topic = topic_of(connection, "t");
    check(data != NULL);
    const uint64_t since_ms = now_ms();
    uint32_t n = BACKLOG_ENTRIES / 4;
    while (shared_get(&beside->stop) == 0) {
        while ((now_ms() - since_ms) / 4 < n - BACKLOG_ENTRIES / 4) { /* 5 MB/s */
            pause_briefly();
        }
        payload_fill(data, backlog_size(n), PRODUCER, n);
        submit_all(connection, topic, data, backlog_size(n));
        shared_set(&beside->appended, ++n);
    }
    check_ok(tusk_flush(connection, TUSK_COMMITTED, -1));
    free(data);
    tusk_disconnect(connection);
}

Test(cold, a_reader_far_behind_a_producer_catches_up)
{
    cold_begin(BACKLOG_ENTRIES / 4);
    struct beside *beside = shared_memory(sizeof *beside);
    struct clients *clients = clients_start(1, behind_run, beside);
    tusk = attach(broker);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    struct tusk_entry entries[BATCH];
    uint64_t next = 0;
    uint64_t ends = 0;
    while (ends < 20) { /* it has come to the tail again and again */
        const int count = tusk_reader_batch(reader, SIZE_MAX, entries, BATCH, TEST_LONG_MS);
        check_say(count > 0, "%d at %zu", count, (size_t)next);
        entries_expect(entries, count, &next);
        ends += next >= shared_get(&beside->appended) && next > BACKLOG_ENTRIES / 4;
    }
    shared_set(&beside->stop, 1);
    clients_join(clients);
    tusk_reader_close(reader);
    session_end();
}

enum { HUGE_BYTES = 30 * 1000 * 1000 };

/* Through a reader, a peek and a claim of the default cursor. */
Test(cold, an_entry_larger_than_the_arena)
{
    session_begin_with("--arena 256M");
    tusk_disconnect(tusk);
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.lane_bytes = 64 << 20;
    tusk = attach_with(broker, options);
    struct tusk_topic *topic = topic_of(tusk, "t");
    unsigned char *huge = malloc(HUGE_BYTES);
    uint64_t seq;
    check(huge != NULL);
    payload_fill(huge, HUGE_BYTES, PRODUCER, 1);
    (void)append_text(topic, "before");
    check_ok(tusk_append(topic, huge, HUGE_BYTES, &seq));
    (void)append_text(topic, "behind");
    session_restart(SMALL_ARENA);
    topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "before");
    struct tusk_entry entry = reader_take(reader);
    check_bytes(entry.data, entry.size, huge, HUGE_BYTES);
    expect_text(reader, 2, "behind");
    tusk_reader_close(reader);
    expect_next(topic, 0, "before");
    check_is(tusk_read_next(topic, false, &entry), 1);
    check_bytes(entry.data, entry.size, huge, HUGE_BYTES);
    struct tusk_entry entries[2];
    check_is(tusk_batch_read(topic, 1, true, entries, 2), 1);
    check_bytes(entries[0].data, entries[0].size, huge, HUGE_BYTES);
    expect_next(topic, 2, "behind");
    expect_caught_up(topic);
    free(huge);
    session_end();
}
