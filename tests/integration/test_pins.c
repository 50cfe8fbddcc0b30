/*
 * Pins: who holds entries in place while the arena is short loses them after --pin-timeout and is
 * told so; nobody else notices, and nobody is revoked while there is room.
 * How:        real brokers with an arena of 4 MiB; consumers are processes that stand still.
 * Not here:   which pins are overdue (tests/unit/test_pool_pins.c).
 */
#include <criterion/criterion.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

#define SMALL "--arena 4M --chunk 64K --segment 4M --fsync 10ms"

enum {
    HELD_COUNT = 1600, /* entries that are read */
    HELD_SIZE = 4000,  /* sixteen of them in a chunk, in one piece */
    HOLDERS = 3,       /* readers that hold up to 16 chunks each: the arena has 64 */
    HOLDER_STEP = 260, /* so that no two hold the same chunk */
    BATCH = 300,
    FLOOD_COUNT = 1000,
    FLOOD_SIZE = 30000,
    FLOOD_BATCH = 60, /* in one piece 28 chunks: more than there is room for beside the holders */
};

TestSuite(pins);

/* What a client process and the test tell each other. */
struct meeting {
    struct gate held;
    uint64_t revoked; /* entries that were */
};

/* Appends a batch, which needs more room at once than is left of the arena, so that it waits until
 * somebody has been revoked, however fast the disk is; and then more; returns how many entries. */
static uint32_t flood(void)
{
    static unsigned char data[FLOOD_BATCH][FLOOD_SIZE];
    struct iovec entries[FLOOD_BATCH];
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.lane_bytes = 8 << 20;
    struct tusk *connection = attach_with(broker, options);
    struct tusk_topic *topic = topic_of(connection, "flood");
    for (uint32_t n = 0; n < FLOOD_BATCH; n++) {
        payload_fill(data[n], FLOOD_SIZE, 7, n);
        entries[n] = (struct iovec){data[n], FLOOD_SIZE};
    }
    check_ok(tusk_batch_append(topic, entries, FLOOD_BATCH, NULL));
    append_numbered(topic, 7, FLOOD_BATCH, FLOOD_COUNT, FLOOD_SIZE);
    tusk_disconnect(connection);
    wait_until(counter_of(tusk, "pins_revoked_total") > 0, 5000);
    return FLOOD_BATCH + FLOOD_COUNT;
}

static void expect_flood(uint32_t count)
{
    struct tusk_topic *topic = topic_of(tusk, "flood");
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < count; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 7, n, FLOOD_SIZE);
    }
    tusk_reader_close(reader);
}

/* One of several readers of the same topic, and what it holds. */
struct holder {
    struct tusk_reader *reader;
    struct tusk_entry entries[BATCH];
    int count;
};

static void holder_fill(struct holder *holder, struct tusk_topic *topic, uint32_t first)
{
    holder->reader = reader_from(topic, TUSK_FROM_SEQ, first);
    holder->count =
        tusk_reader_batch(holder->reader, SIZE_MAX, holder->entries, BATCH, TEST_LONG_MS);
    check_say(holder->count > 0, "tusk_reader_batch: %d", holder->count);
}

/* Uses what it holds as a careful program does; returns how many entries were revoked. */
static uint64_t holder_check(struct holder *holder, struct tusk_topic *topic)
{
    uint64_t revoked = 0;
    for (int i = 0; i < holder->count; i++) {
        const struct tusk_entry *entry = &holder->entries[i];
        struct payload_id id;
        const bool good = payload_verify(entry->data, entry->size, &id);
        const int answer = tusk_entry_check(topic, entry);
        check_say(answer == 0 || answer == -ESTALE, "tusk_entry_check: %d", answer);
        check_say(good || answer == -ESTALE, "entry %llu has changed and is called intact",
                  (unsigned long long)entry->seq);
        revoked += answer == -ESTALE;
    }
    return revoked;
}

/* The next read says -ESTALE once if something was revoked, and then goes on behind the batch. */
static void holder_go_on(struct holder *holder, bool revoked)
{
    const uint64_t next = holder->entries[holder->count - 1].seq + 1;
    struct tusk_entry entry;
    if (revoked) {
        check_is(tusk_reader_next(holder->reader, &entry, 0), -ESTALE);
    }
    entry = reader_take(holder->reader);
    check_is(entry.seq, next);
    expect_numbered(&entry, 1, (uint32_t)next, HELD_SIZE);
}

/* Entries to hold, all of them on disk: then there is room for whoever reads them, whatever the disk
 * does meanwhile. */
static void append_held(struct tusk *connection)
{
    append_numbered(topic_of(connection, "held"), 1, 0, HELD_COUNT, HELD_SIZE);
    check_ok(tusk_flush(connection, TUSK_DURABLE, -1));
}

static void stand_still(size_t index, void *arg)
{
    struct meeting *meeting = arg;
    static struct holder holders[HOLDERS];
    struct tusk *connection = attach(broker);
    struct tusk_topic *topic = topic_of(connection, "held");
    (void)index;
    for (uint32_t i = 0; i < HOLDERS; i++) {
        holder_fill(&holders[i], topic, 100 + i * HOLDER_STEP);
    }
    gate_pass(&meeting->held);
    check(raise(SIGSTOP) == 0);
    for (uint32_t i = 0; i < HOLDERS; i++) {
        const uint64_t revoked = holder_check(&holders[i], topic);
        holder_go_on(&holders[i], revoked > 0);
        (void)shared_add(&meeting->revoked, revoked);
    }
    tusk_disconnect(connection);
}

static struct clients *holder_start(struct meeting *meeting, client_function *run)
{
    struct clients *clients = clients_start(1, run, meeting);
    tusk = attach(broker);
    return clients;
}

static void await_stopped(struct clients *clients)
{
    siginfo_t info = {0};
    const id_t pid = (id_t)clients_pid(clients, 0);
    check(waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT) == 0);
    check_is(info.si_code, CLD_STOPPED);
}

Test(pins, a_process_that_stands_still_is_revoked_and_others_go_on)
{
    struct meeting *meeting = shared_memory(sizeof *meeting);
    broker = tuskd_start(SMALL " --pin-timeout 200ms");
    tusk = attach(broker);
    append_held(tusk);
    tusk_disconnect(tusk);
    struct clients *clients = holder_start(meeting, stand_still);
    gate_await(&meeting->held, 1);
    check_is(counter_of(tusk, "pins_revoked_total"), 0);
    gate_open(&meeting->held);
    await_stopped(clients);
    expect_flood(flood());
    wait_until(strstr(tuskd_log(broker), "pins.revoked") != NULL, 5000);
    check(kill(clients_pid(clients, 0), SIGCONT) == 0);
    clients_join(clients);
    check(shared_get(&meeting->revoked) > 0);
    session_end();
}

/* Holds most of the arena, for longer than the time-out, while nobody needs it. */
Test(pins, nobody_is_revoked_while_there_is_room)
{
    static struct holder holders[HOLDERS];
    broker = tuskd_start(SMALL " --pin-timeout 50ms");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "held");
    append_held(tusk);
    for (uint32_t i = 0; i < HOLDERS; i++) {
        holder_fill(&holders[i], topic, 100 + i * HOLDER_STEP);
    }
    const uint64_t end_ms = now_ms() + 300;
    while (now_ms() < end_ms) {
        append_text(topic_of(tusk, "small"), "there is room for this");
    }
    check_is(counter_of(tusk, "pins_revoked_total"), 0);
    for (uint32_t i = 0; i < HOLDERS; i++) {
        check_is(holder_check(&holders[i], topic), 0);
        holder_go_on(&holders[i], false);
    }
    session_end();
}

/* The same through the shared cursor: -ESTALE once, then the next entries, none lost or repeated. */
static void consume_slowly(size_t index, void *arg)
{
    struct meeting *meeting = arg;
    struct tusk_entry entries[BATCH];
    struct tusk_options options = TUSK_OPTIONS_INIT;
    (void)index;
    options.consistency = TUSK_AT_LEAST_ONCE;
    options.persist_every = 100;
    struct tusk *connection = attach_with(broker, options);
    struct tusk_topic *topic = topic_of(connection, "held");
    const int count = tusk_batch_read(topic, SIZE_MAX, true, entries, BATCH);
    check_say(count > 0, "tusk_batch_read: %d", count);
    gate_pass(&meeting->held);
    check(raise(SIGSTOP) == 0);
    uint64_t revoked = 0;
    for (int i = 0; i < count; i++) {
        revoked += tusk_entry_check(topic, &entries[i]) == -ESTALE;
    }
    if (revoked > 0) {
        struct tusk_entry entry;
        check_is(tusk_read_next(topic, true, &entry), -ESTALE);
    }
    (void)shared_add(&meeting->revoked, revoked);
    for (uint32_t n = (uint32_t)count; n < HELD_COUNT; n++) {
        struct tusk_entry entry;
        check_is(tusk_read_next(topic, true, &entry), 1);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, HELD_SIZE);
    }
    expect_caught_up(topic);
    tusk_disconnect(connection);
}

Test(pins, a_consumer_that_stands_still_is_revoked_and_goes_on_behind_its_batch)
{
    struct meeting *meeting = shared_memory(sizeof *meeting);
    broker = tuskd_start(SMALL " --pin-timeout 100ms");
    tusk = attach(broker);
    append_held(tusk);
    tusk_disconnect(tusk);
    struct clients *clients = holder_start(meeting, consume_slowly);
    gate_await(&meeting->held, 1);
    gate_open(&meeting->held);
    await_stopped(clients);
    /* With 16 chunks held the others still do: what is held must be wanted. */
    static struct holder others[HOLDERS];
    for (uint32_t i = 0; i < HOLDERS; i++) {
        holder_fill(&others[i], topic_of(tusk, "held"), 400 + i * HOLDER_STEP);
    }
    (void)flood();
    check(kill(clients_pid(clients, 0), SIGCONT) == 0);
    clients_join(clients);
    session_end();
}

/* Readers that hold as many chunks as they can, and producers, in an arena that is too small. */
enum { GREEDY_READERS = 2, GREEDY_PRODUCERS = 2, GREEDY_COUNT = 6000 };

static void read_greedily(uint32_t own)
{
    struct tusk_entry entries[BATCH];
    struct tusk *connection = attach(broker);
    struct tusk_topic *topic = topic_of(connection, own == 0 ? "p0" : "p1");
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < GREEDY_COUNT;) {
        const int count = tusk_reader_batch(reader, SIZE_MAX, entries, BATCH, TEST_LONG_MS);
        check_say(count > 0, "tusk_reader_batch at %u: %s", n, tusk_strerror(count));
        for (int i = 0; i < count; i++, n++) {
            check_is(entries[i].seq, n);
            expect_numbered(&entries[i], own, n, HELD_SIZE);
            check_ok(tusk_entry_check(topic, &entries[i]));
        }
    }
    tusk_disconnect(connection);
}

static void produce_greedily(uint32_t own)
{
    struct tusk *connection = attach(broker);
    append_numbered(topic_of(connection, own == 0 ? "p0" : "p1"), own, 0, GREEDY_COUNT, HELD_SIZE);
    tusk_disconnect(connection);
}

static void be_greedy(size_t index, void *arg)
{
    (void)arg;
    if (index < GREEDY_READERS) {
        read_greedily((uint32_t)index);
    } else {
        produce_greedily((uint32_t)index - GREEDY_READERS);
    }
}

Test(pins, readers_with_many_pins_and_producers_do_not_lock_each_other_out)
{
    broker = tuskd_start(SMALL " --pin-timeout 60s");
    clients_run(GREEDY_READERS + GREEDY_PRODUCERS, be_greedy, NULL);
    tusk = attach(broker);
    check_is(counter_of(tusk, "pins_revoked_total"), 0); /* which alone ends a lock-out */
    session_end();
}

/* A session that changes the size of its pins' file. */
static void read_and_wait(size_t index, void *arg)
{
    struct meeting *meeting = arg;
    struct tusk *connection = attach(broker);
    (void)index;
    struct tusk_reader *reader = reader_of(topic_of(connection, "held"));
    check_is(reader_take(reader).seq, 0);
    gate_pass(&meeting->held);
}

static off_t resize_bytes;

static int resize_pins(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    if (kind == FTW_F && strncmp(path + walk->base, "pins-", 5) == 0) {
        check(truncate(path, resize_bytes) == 0);
    }
    return 0;
}

static void expel(off_t bytes)
{
    struct meeting *meeting = shared_memory(sizeof *meeting);
    broker = tuskd_start(SMALL);
    tusk = attach(broker);
    append_numbered(topic_of(tusk, "held"), 1, 0, 10, HELD_SIZE);
    tusk_disconnect(tusk);
    struct clients *clients = clients_start(1, read_and_wait, meeting);
    gate_await(&meeting->held, 1);
    tusk = attach(broker);
    resize_bytes = bytes;
    check(nftw(broker->run_dir, resize_pins, 16, FTW_PHYS) == 0);
    append_numbered(topic_of(tusk, "flood"), 7, 0, FLOOD_COUNT, FLOOD_SIZE);
    wait_until(counter_of(tusk, "sessions_hostile_total") == 1, 5000);
    check_contains(tuskd_log(broker), "its pins cannot be read");
    expect_flood(FLOOD_COUNT);
    clients_kill(clients, 0);
    session_end();
}

Test(pins, a_session_that_cuts_the_file_of_its_pins_is_closed)
{
    expel(100);
}

Test(pins, a_session_that_grows_the_file_of_its_pins_is_closed)
{
    expel(1 << 20);
}
