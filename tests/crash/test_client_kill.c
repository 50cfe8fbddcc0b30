/*
 * Client kill: clients that are killed at random moments under load lose nothing that was
 * acknowledged, disturb nobody, and leave nothing behind in the broker.
 * How:        writers and readers as processes, SIGKILL at moments that a seed decides; diaries
 *             that survive the kill are held against the log; what the broker holds is counted
 *             before and after.
 * Not here:   the broker's own death (test_broker_kill.c).
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/oracle.h"
#include "tests/support/process.h"
#include "tests/support/session.h"

enum {
    VICTIMS = 60,         /* processes killed in one test */
    ENTRIES_MAX = 200000, /* of one writer */
    RESIDENTS = 2,        /* clients that live through it all */
    LIFE_US_MAX = 30000,  /* of a victim after it got going */
    RESIDENT_ROUNDS = 40  /* at least, beside each, so that there was load */
};

TestSuite(client_kill);

struct load {
    struct gate gate;
    uint64_t stop;
    uint64_t going[VICTIMS + RESIDENTS];
    struct diary *diaries[VICTIMS + RESIDENTS];
};

static uint64_t seed = 20240731;

static uint64_t next_random(uint64_t limit)
{
    seed = payload_mix(seed);
    return seed % limit;
}

static void sleep_us(uint64_t us)
{
    const struct timespec time = {.tv_nsec = (long)(us * 1000)};
    (void)nanosleep(&time, NULL);
}

/* Take what is there; the diary learns of acknowledgements in submission order. */
static void note_completions(struct tusk *connection, struct diary *diary)
{
    struct tusk_completion completions[64];
    const int count = tusk_reap(connection, completions, 64);
    check(count >= 0);
    for (int i = 0; i < count; i++) {
        check_ok(completions[i].error);
        diary_committed(diary, (uint32_t)completions[i].user_data - 1, completions[i].seq);
    }
}

/* One append of each kind in turn: blocking, batch, submitted, reserved. */
static void append_somehow(struct tusk *connection, struct tusk_topic *topic, struct diary *diary,
                           uint32_t round)
{
    unsigned char data[4][2048];
    struct iovec entries[4];
    uint64_t seq = 0;
    const uint32_t kind = round % 4;
    const uint32_t count = kind == 1 ? 4 : 1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t coming = diary_intents(diary);
        const size_t size = payload_size(diary->producer, coming, PAYLOAD_BYTES_MIN, 2048);
        n = diary_intend(diary, size);
        payload_fill(data[i], size, diary->producer, n);
        entries[i] = (struct iovec){data[i], size};
    }
    if (kind == 0) {
        check_ok(tusk_append(topic, data[0], entries[0].iov_len, &seq));
        diary_committed(diary, n, seq);
    } else if (kind == 1) {
        check_ok(tusk_batch_append(topic, entries, count, &seq));
        for (uint32_t i = 0; i < count; i++) {
            diary_committed(diary, n - (count - 1) + i, seq + i);
        }
    } else {
        int result = -EAGAIN;
        while (result == -EAGAIN) {
            void *buffer = NULL;
            result = kind == 2 ? tusk_submit(topic, data[0], entries[0].iov_len, n + 1)
                               : tusk_reserve(topic, entries[0].iov_len, &buffer);
            if (kind == 3 && result == 0) {
                payload_fill(buffer, entries[0].iov_len, diary->producer, n);
                result = tusk_commit(topic, entries[0].iov_len, n + 1);
            }
            note_completions(connection, diary);
        }
        check_ok(result);
    }
}

static void write_until_stopped(size_t index, void *arg)
{
    struct load *load = arg;
    struct diary *diary = load->diaries[index];
    struct tusk *connection = attach(broker);
    struct tusk_topic *topic = topic_of(connection, "t");
    for (uint32_t round = 0; shared_get(&load->stop) == 0; round++) {
        if (diary_intents(diary) + 8 < diary->capacity) {
            append_somehow(connection, topic, diary, round);
        }
        shared_set(&load->going[index], round + 1);
    }
    check_ok(tusk_flush(connection, TUSK_COMMITTED, -1));
    note_completions(connection, diary);
    tusk_disconnect(connection);
}

static void follow_until_stopped(size_t index, void *arg)
{
    struct load *load = arg;
    struct tusk *connection = attach(broker);
    struct tusk_reader *reader = reader_of(topic_of(connection, "t"));
    struct tusk_entry entries[32];
    uint64_t next = 0;
    while (shared_get(&load->stop) == 0) {
        const int count = tusk_reader_batch(reader, SIZE_MAX, entries, 32, 50);
        check_say(count > 0 || count == -ETIMEDOUT, "tusk_reader_batch: %d", count);
        for (int i = 0; i < count; i++) {
            struct payload_id id;
            check_is(entries[i].seq, next++);
            check(payload_verify(entries[i].data, entries[i].size, &id));
        }
        (void)shared_add(&load->going[index], 1);
    }
    tusk_disconnect(connection);
}

static void victim_run(size_t index, void *arg)
{
    struct load *load = arg;
    (void)index;
    /* which victim this is was noted by the test before it forked */
    const size_t victim = (size_t)shared_get(&load->going[VICTIMS]);
    if (victim % 3 == 2) {
        follow_until_stopped(victim, arg);
    } else {
        write_until_stopped(victim, arg);
    }
}

static struct load *load_new(void)
{
    struct load *load = shared_memory(sizeof *load);
    for (uint32_t i = 0; i < VICTIMS + RESIDENTS; i++) {
        load->diaries[i] = diary_new(broker->run_dir, i, i < VICTIMS ? 20000 : ENTRIES_MAX);
    }
    return load;
}

static void resident_run(size_t index, void *arg)
{
    if (index == 0) {
        write_until_stopped(VICTIMS + 1, arg);
    } else {
        follow_until_stopped(0, arg);
    }
}

Test(client_kill, writers_and_readers_killed_under_load_disturb_nobody)
{
    deadline_set(90);
    broker = tuskd_start("");
    struct load *load = load_new();
    struct clients *residents = clients_start(RESIDENTS, resident_run, load);
    wait_until(shared_get(&load->going[VICTIMS + 1]) > 0, 10000);
    wait_until(shared_get(&load->going[0]) > 0, 10000);
    tusk = attach(broker);
    const struct process_counts before = broker_counts(tusk);
    for (size_t i = 1; i < VICTIMS; i++) {
        shared_set(&load->going[VICTIMS], i);
        struct clients *victim = clients_start(1, victim_run, load);
        const uint64_t rounds = shared_get(&load->going[VICTIMS + 1]);
        if (i % 5 != 0) { /* every fifth is killed while it connects */
            wait_until(shared_get(&load->going[i]) > 0, 10000);
        }
        sleep_us(next_random(LIFE_US_MAX));
        clients_kill(victim, 0);
        /* Those who stay go on beside each. */
        wait_until(shared_get(&load->going[VICTIMS + 1]) > rounds + RESIDENT_ROUNDS, 10000);
    }
    wait_until(process_count(broker->pid).fds <= before.fds, 10000);
    wait_until(process_count(broker->pid).mappings <= before.mappings + 4, 10000);
    check_is(process_count(broker->pid).threads, before.threads);
    shared_set(&load->stop, 1);
    clients_join(residents);
    wait_until(counter_of(tusk, "sessions") == 1, 10000);
    append_text(topic_of(tusk, "other"), "a lane of one's own");
    wait_until(counter_of(tusk, "lanes") == 1, 10000);
    const struct oracle_report report =
        oracle_check(topic_of(tusk, "t"), load->diaries, VICTIMS + RESIDENTS, DIARY_COMMITTED);
    check(report.acked > 0);
    check_is(report.first_seq, 0);
    session_end();
}

/* What a killed client had published is appended all the same, acknowledged or not. */
static void publish_and_wait(size_t index, void *arg)
{
    struct tusk *connection = attach(broker);
    struct tusk_topic *topic = topic_of(connection, "t");
    (void)index;
    for (int i = 0; i < 1000; i++) {
        check_ok(tusk_submit(topic, "published", 9, 0));
    }
    shared_set(arg, 1);
    for (;;) {
        (void)pause();
    }
}

Test(client_kill, what_it_had_published_is_appended)
{
    broker = tuskd_start("");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint64_t round = 1; round <= 20; round++) {
        uint64_t *published = shared_memory(sizeof *published);
        struct clients *victim = clients_start(1, publish_and_wait, published);
        wait_until(shared_get(published) == 1, 10000);
        clients_kill(victim, 0);
        wait_until(info_of(topic).next_seq == round * 1000, 10000);
    }
    session_end();
}

/* A reservation, a batch half written into the lane: nobody sees anything of it. */
static void reserve_and_wait(size_t index, void *arg)
{
    void *buffer = NULL;
    struct tusk_topic *topic = topic_of(attach(broker), "t");
    (void)index;
    append_text(topic, "before");
    check_ok(tusk_reserve(topic, 50000, &buffer));
    payload_fill(buffer, 50000, 1, 1);
    shared_set(arg, 1);
    for (;;) {
        (void)pause();
    }
}

Test(client_kill, one_in_the_middle_of_an_append_leaves_no_trace)
{
    broker = tuskd_start("");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint64_t round = 0; round < 20; round++) {
        uint64_t *reserved = shared_memory(sizeof *reserved);
        struct clients *victim = clients_start(1, reserve_and_wait, reserved);
        wait_until(shared_get(reserved) == 1, 10000);
        clients_kill(victim, 0);
        check_is(append_text(topic, "after"), round * 2 + 1);
    }
    session_end();
}

/* A reader that dies holding entries gives its pins back: the arena can be reused. */
static void hold_and_wait(size_t index, void *arg)
{
    struct tusk_entry entries[256];
    struct tusk *connection = attach(broker);
    (void)index;
    struct tusk_reader *reader = reader_of(topic_of(connection, "t"));
    check(tusk_reader_batch(reader, SIZE_MAX, entries, 256, TEST_LONG_MS) > 0);
    (void)shared_add(arg, 1);
    for (;;) {
        (void)pause();
    }
}

Test(client_kill, pins_of_dead_readers_are_given_back)
{
    enum { READERS = 6, SIZE = 30000, COUNT = 500 };
    broker = tuskd_start("--arena 4M --chunk 64K --segment 4M");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 20, SIZE);
    for (uint32_t round = 0; round < 3; round++) {
        uint64_t *holding = shared_memory(sizeof *holding);
        struct clients *readers = clients_start(READERS, hold_and_wait, holding);
        wait_until(shared_get(holding) == READERS, 10000);
        for (size_t i = 0; i < READERS; i++) {
            clients_kill(readers, i);
        }
        append_numbered(topic, 1, 20 + round * COUNT, COUNT, SIZE);
    }
    check_is(info_of(topic).next_seq, 20 + 3 * COUNT);
    session_end();
}

struct cursor_load {
    struct diary *diaries[24];
    uint64_t which;
    uint64_t going[24];
};

static void consume_until_killed(size_t index, void *arg)
{
    struct cursor_load *load = arg;
    const size_t which = (size_t)shared_get(&load->which);
    struct tusk_entry entries[8];
    struct tusk_topic *topic = topic_of(attach(broker), "t");
    (void)index;
    for (;;) {
        const int count = tusk_batch_read(topic, 400, true, entries, 8);
        check_say(count >= 0, "tusk_batch_read: %d", count);
        for (int i = 0; i < count; i++) {
            struct payload_id id;
            check(payload_verify(entries[i].data, entries[i].size, &id));
            diary_was_given(load->diaries[which], entries[i].seq, id);
        }
        (void)shared_add(&load->going[which], 1);
        if (count == 0) {
            return;
        }
    }
}

/* Strict: never given twice; a killed consumer takes at most one call's entries with it. */
Test(client_kill, consumers_killed_under_load_get_nothing_twice_and_lose_one_call_each)
{
    enum { CONSUMERS = 24, COUNT = 20000, CALL_MAX = 8 };
    deadline_set(60);
    broker = tuskd_start("--fsync none");
    struct cursor_load *load = shared_memory(sizeof *load);
    for (uint32_t i = 0; i < CONSUMERS; i++) {
        load->diaries[i] = diary_new(broker->run_dir, i, COUNT + 1);
    }
    tusk = attach(broker);
    append_numbered(topic_of(tusk, "t"), 77, 0, COUNT, 50);
    for (uint64_t i = 0; i + 1 < CONSUMERS; i++) {
        shared_set(&load->which, i);
        struct clients *victim = clients_start(1, consume_until_killed, load);
        wait_until(shared_get(&load->going[i]) > 0, 10000);
        sleep_us(next_random(2000));
        clients_kill(victim, 0);
    }
    shared_set(&load->which, CONSUMERS - 1);
    clients_run(1, consume_until_killed, load);
    const uint64_t given = oracle_check_cursor(load->diaries, CONSUMERS, 0);
    check_say(given <= COUNT && given + (uint64_t)(CONSUMERS - 1) * CALL_MAX >= COUNT,
              "%llu of %d entries were given", (unsigned long long)given, COUNT);
    expect_caught_up(topic_of(tusk, "t"));
    session_end();
}
