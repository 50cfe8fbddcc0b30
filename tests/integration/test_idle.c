/*
 * Idle: each way of waiting of the broker works with each way of waiting of clients, and one that
 * sleeps uses no processor time.
 * How:        two processes play ping-pong, a third follows, for each pair of strategies.
 * Not here:   the waits themselves (test_waits.c), latency (bench).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/process.h"
#include "tests/support/session.h"

enum { ROUNDS = 400 };

TestSuite(idle);

static struct tusk *attach_idle(uint32_t strategy)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.idle = strategy;
    return attach_with(broker, options);
}

static void play(size_t index, void *arg)
{
    struct tusk *connection = attach_idle(*(const uint32_t *)arg);
    struct tusk_topic *mine = topic_of(connection, index == 0 ? "ping" : "pong");
    struct tusk_reader *reader = reader_of(topic_of(connection, index == 0 ? "pong" : "ping"));
    for (uint32_t n = 0; n < ROUNDS; n++) {
        if (index == 0) {
            append_numbered(mine, 1, n, 1, 32);
        }
        check_is(reader_take(reader).seq, n);
        if (index == 1) {
            append_numbered(mine, 1, n, 1, 32);
        }
    }
    check_ok(tusk_flush(connection, TUSK_DURABLE, -1));
    tusk_disconnect(connection);
}

static void play_all(const char *options)
{
    static const uint32_t strategies[] = {TUSK_IDLE_ADAPTIVE, TUSK_IDLE_SPIN, TUSK_IDLE_BLOCK};
    deadline_set(60);
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++) {
        uint32_t strategy = strategies[i];
        broker = tuskd_start(options);
        clients_run(2, play, &strategy);
        tuskd_stop(broker);
    }
}

Test(idle, an_adaptive_broker_serves_every_client)
{
    play_all("--idle adaptive");
}

Test(idle, a_blocking_broker_serves_every_client)
{
    play_all("--idle block");
}

Test(idle, a_spinning_broker_serves_every_client)
{
    play_all("--idle spin");
}

Test(idle, a_sleeping_broker_and_a_sleeping_client_use_no_processor_time)
{
    enum { WATCHED_MS = 1000, USED_MS_MAX = 30, WATCHES = 10 };
    struct tusk_entry entry;
    broker = tuskd_start("");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_LATEST, 0);
    check_is(tusk_reader_next(reader, &entry, 100), -ETIMEDOUT);
    uint64_t theirs_ms = UINT64_MAX;
    uint64_t own_ms = UINT64_MAX;
    /* What a busy machine charges to who happens to run is not always theirs. */
    for (int i = 0; i < WATCHES && (theirs_ms > USED_MS_MAX || own_ms > USED_MS_MAX); i++) {
        const uint64_t theirs_before_ms = process_count(broker->pid).cpu_ms;
        const uint64_t own_before_ms = process_count(getpid()).cpu_ms;
        check_is(tusk_reader_next(reader, &entry, WATCHED_MS), -ETIMEDOUT);
        theirs_ms = process_count(broker->pid).cpu_ms - theirs_before_ms;
        own_ms = process_count(getpid()).cpu_ms - own_before_ms;
    }
    check_say(theirs_ms <= USED_MS_MAX, "the broker used %llu ms", (unsigned long long)theirs_ms);
    check_say(own_ms <= USED_MS_MAX, "the client used %llu ms", (unsigned long long)own_ms);
    append_text(topic, "awake");
    expect_text(reader, 1, "awake");
    session_end();
}
