/*
 * Pressure: an arena that is full holds producers back and loses nothing; what the cursor has
 * passed is given back, and the store does not grow.
 * How:        one real broker per test with a small arena and small segments.
 * Not here:   a full disk (test_seed_faults.c).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

#define SMALL "--arena 4M --chunk 64K --segment 4M"

TestSuite(pressure);

enum { FAST_COUNT = 3000, FAST_SIZE = 20000 };

/* 60 MB through an arena of 4 MiB as fast as it goes. */
static uint64_t submit_fast(struct tusk *connection, struct tusk_topic *topic, uint32_t producer)
{
    uint64_t held_back = 0;
    unsigned char *data = malloc(FAST_SIZE);
    check(data != NULL);
    for (uint32_t n = 0; n < FAST_COUNT; n++) {
        payload_fill(data, FAST_SIZE, producer, n);
        int result = tusk_submit(topic, data, FAST_SIZE, 0);
        while (result == -EAGAIN) {
            held_back++;
            check_is(tusk_wait(connection, TEST_LONG_MS), 1);
            result = tusk_submit(topic, data, FAST_SIZE, 0);
        }
        check_ok(result);
    }
    free(data);
    check_ok(tusk_flush(connection, TUSK_COMMITTED, -1));
    return held_back;
}

static void expect_fast(struct tusk_topic *topic, uint32_t producer)
{
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < FAST_COUNT; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, producer, n, FAST_SIZE);
    }
    expect_end(reader);
    tusk_reader_close(reader);
}

static void fast_producer(const char *options)
{
    broker = tuskd_start(options);
    tusk = attach(broker);
    check(submit_fast(tusk, topic_of(tusk, "t"), 1) > 0);
    expect_fast(topic_of(tusk, "t"), 1);
    session_end();
}

Test(pressure, a_fast_producer_is_held_back_and_loses_nothing)
{
    fast_producer(SMALL);
}

Test(pressure, a_fast_producer_is_held_back_under_none)
{
    fast_producer(SMALL " --fsync none");
}

Test(pressure, a_fast_producer_is_held_back_under_each)
{
    fast_producer(SMALL " --fsync each");
}

static void produce_fast(size_t index, void *arg)
{
    char name[16];
    struct tusk *connection = attach(broker);
    (void)arg;
    (void)snprintf(name, sizeof name, "t%zu", index);
    (void)submit_fast(connection, topic_of(connection, name), (uint32_t)index);
}

Test(pressure, several_fast_producers_and_a_slow_reader_lose_nothing)
{
    broker = tuskd_start(SMALL);
    clients_run(3, produce_fast, NULL);
    tusk = attach(broker);
    for (uint32_t i = 0; i < 3; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%u", i);
        expect_fast(topic_of(tusk, name), i);
    }
    session_end();
}

/* Every chunk of the arena wanted by a topic of its own. */
Test(pressure, many_topics_share_a_small_arena)
{
    enum { TOPICS = 150, ROUNDS = 4 };
    char name[16];
    broker = tuskd_start(SMALL);
    tusk = attach(broker);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < TOPICS; i++) {
            (void)snprintf(name, sizeof name, "t%u", i);
            struct tusk_topic *topic = topic_of(tusk, name);
            append_numbered(topic, i, round, 1, 3000);
            tusk_topic_close(topic);
        }
    }
    for (uint32_t i = 0; i < TOPICS; i++) {
        (void)snprintf(name, sizeof name, "t%u", i);
        struct tusk_reader *reader = reader_of(topic_of(tusk, name));
        for (uint32_t round = 0; round < ROUNDS; round++) {
            const struct tusk_entry entry = reader_take(reader);
            expect_numbered(&entry, i, round, 3000);
        }
        tusk_reader_close(reader);
    }
    session_end();
}

Test(pressure, no_wait_answers_eagain_instead_of_waiting)
{
    struct tusk_topic *topic = NULL;
    struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
    options.no_wait = 1;
    broker = tuskd_start(SMALL);
    tusk = attach(broker);
    check_ok(tusk_topic_open(tusk, "t", &options, &topic));
    unsigned char *data = malloc(FAST_SIZE);
    uint32_t n = 0;
    for (uint32_t tries = 0; n < FAST_COUNT; tries++) {
        check(tries < 10000000);
        payload_fill(data, FAST_SIZE, 1, n);
        const int result = tusk_append(topic, data, FAST_SIZE, NULL);
        check_say(result == 0 || result == -EAGAIN, "tusk_append: %s", tusk_strerror(result));
        n += result == 0;
    }
    free(data);
    expect_fast(topic, 1);
    session_end();
}

/* Submit entries from `first` on until the lane is full; returns how many. */
static uint32_t submit_round(struct tusk_topic *topic, uint32_t first, unsigned char *data)
{
    uint32_t n = first;
    while (n < FAST_COUNT) {
        payload_fill(data, FAST_SIZE, 1, n);
        const int result = tusk_submit(topic, data, FAST_SIZE, n + 1);
        if (result != 0) {
            check_is(result, -EAGAIN);
            break;
        }
        n++;
    }
    return n - first;
}

/* Pin chunks of a topic: with entries of this size each has a chunk of its own. */
static void hold_chunks(struct tusk *connection, uint32_t count)
{
    struct tusk_topic *topic = topic_of(connection, "held");
    append_numbered(topic, 9, 0, count, 60000);
    for (uint32_t n = 0; n < count; n++) {
        const struct tusk_entry entry = reader_take(reader_from(topic, TUSK_FROM_SEQ, n));
        check_is(entry.seq, n);
    }
}

/* Once an entry was refused, the later ones of the lane are, until that is reaped: no gaps. */
Test(pressure, no_wait_refuses_all_that_follows_until_the_first_is_reaped)
{
    static struct tusk_completion completions[FAST_COUNT];
    struct tusk_topic *topic = NULL;
    struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
    struct tusk_options wide = TUSK_OPTIONS_INIT;
    options.no_wait = 1;
    wide.lane_bytes = 4 * 1024 * 1024;
    broker = tuskd_start(SMALL);
    tusk = attach_with(broker, wide);
    hold_chunks(tusk, 40); /* of 64 in the arena */
    check_ok(tusk_topic_open(tusk, "t", &options, &topic));
    unsigned char *data = malloc(FAST_SIZE);
    uint32_t appended = 0;
    uint32_t refused = 0;
    while (appended < FAST_COUNT) {
        const uint32_t submitted = submit_round(topic, appended, data);
        uint32_t taken = 0;
        reap_all(tusk, completions, submitted);
        for (uint32_t i = 0; i < submitted; i++) {
            check_is(completions[i].user_data, appended + i + 1);
            if (completions[i].error == 0) {
                check_is(taken, i); /* none was refused before it */
                check_is(completions[i].seq, appended + i);
                taken++;
            } else {
                check_is(completions[i].error, -EAGAIN);
                refused++;
            }
        }
        appended += taken;
    }
    free(data);
    check_say(refused > 0, "nothing was refused; lanes have waited for room %llu times",
              (unsigned long long)counter_of(tusk, "arena_waits_total"));
    expect_fast(topic, 1);
    session_end();
}

enum { CONSUMED_MIB = 64, CONSUMED_SIZE = 16000 };

static void consume(size_t index, void *arg)
{
    struct tusk_entry entries[64];
    struct tusk_options options = TUSK_OPTIONS_INIT;
    (void)index;
    (void)arg;
    options.consistency = TUSK_AT_LEAST_ONCE;
    options.persist_every = 200;
    struct tusk *connection = attach_with(broker, options);
    struct tusk_topic *topic = topic_of(connection, "t");
    const uint32_t total = CONSUMED_MIB * 1024 * 1024 / CONSUMED_SIZE;
    for (uint32_t n = 0; n < total;) {
        const int count = tusk_batch_read(topic, SIZE_MAX, true, entries, 64);
        check_say(count >= 0, "tusk_batch_read: %s", tusk_strerror(count));
        for (int i = 0; i < count; i++, n++) {
            check_is(entries[i].seq, n);
            expect_numbered(&entries[i], 1, n, CONSUMED_SIZE);
        }
        if (count == 0) {
            check(tusk_wait(connection, TEST_LONG_MS) == 1);
        }
    }
    tusk_disconnect(connection);
}

Test(pressure, seed_row_16_consumed_chunks_give_their_slots_back)
{
    broker = tuskd_start(SMALL " --fsync 10ms");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_entry entries[64];
    uint64_t warm_bytes = 0;
    uint32_t next = 0;
    for (uint32_t round = 0; round < 40; round++) {
        append_numbered(topic, 1, round * 100, 100, CONSUMED_SIZE);
        for (uint32_t end = next + 100; next < end;) {
            const int count = tusk_batch_read(topic, SIZE_MAX, true, entries, 64);
            check_say(count > 0, "tusk_batch_read: %d", count);
            next += (uint32_t)count;
        }
        warm_bytes = round == 10 ? scratch_disk_bytes(broker->data) : warm_bytes;
    }
    const uint64_t bytes = scratch_disk_bytes(broker->data);
    check_say(bytes <= warm_bytes + 4U * 1024 * 1024, "the store has grown from %llu to %llu bytes",
              (unsigned long long)warm_bytes, (unsigned long long)bytes);
    check(info_of(topic).first_seq > 3500);
    check_is(info_of(topic).unread, 0);
    session_end();
}

Test(pressure, a_consumer_that_keeps_up_keeps_the_store_small)
{
    broker = tuskd_start(SMALL);
    struct clients *consumer = clients_start(1, consume, NULL);
    tusk = attach(broker);
    append_numbered(topic_of(tusk, "t"), 1, 0, CONSUMED_MIB * 1024 * 1024 / CONSUMED_SIZE,
                    CONSUMED_SIZE);
    clients_join(consumer);
    expect_caught_up(topic_of(tusk, "t"));
    session_restart(SMALL);
    expect_caught_up(topic_of(tusk, "t"));
    session_end();
}

Test(pressure, a_topic_that_nobody_consumes_keeps_everything)
{
    broker = tuskd_start(SMALL);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, FAST_COUNT, FAST_SIZE);
    expect_fast(topic, 1); /* readers don't consume */
    check_is(info_of(topic).first_seq, 0);
    session_restart(SMALL);
    expect_fast(topic_of(tusk, "t"), 1);
    check_is(info_of(topic_of(tusk, "t")).first_seq, 0);
    session_end();
}

Test(pressure, a_reader_behind_the_cursor_is_enodata_and_goes_on_from_the_first_kept)
{
    struct tusk_entry entry;
    struct tusk_entry entries[64];
    broker = tuskd_start(SMALL);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 1000, 2000);
    struct tusk_reader *reader = reader_of(topic);
    check_is(reader_take(reader).seq, 0);
    for (int left = 900; left > 0;) {
        const int count = tusk_batch_read(topic, SIZE_MAX, true, entries, left > 60 ? 60 : 1);
        check(count > 0);
        left -= count;
    }
    wait_until(info_of(topic).first_seq > 100, 5000);
    int result = 1;
    while (result == 1) { /* what it holds it may finish */
        result = tusk_reader_next(reader, &entry, TEST_LONG_MS);
    }
    check_is(result, -ENODATA);
    const uint64_t first_seq = info_of(topic).first_seq;
    check(first_seq <= 900);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, first_seq));
    entry = reader_take(reader);
    check_is(entry.seq, first_seq);
    expect_numbered(&entry, 1, (uint32_t)first_seq, 2000);
    session_end();
}
