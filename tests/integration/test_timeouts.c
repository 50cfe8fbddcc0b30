/*
 * Timeouts: a broker that does not answer holds no caller longer than its time-out, and what was
 * said then stays true when it goes on; a client that stands still holds nobody up.
 * How:        SIGSTOP and SIGCONT of the real processes.
 * Not here:   a broker that is dead (test_lifecycle.c).
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

enum {
    TIMEOUT_MS = 1000, /* long enough for a broker that goes on, on a busy machine */
    LATE_MS = 20000,   /* on a busy machine; without a time-out it would take for ever, or 30 s */
};

static struct tusk_topic *topic;

static void begin(void)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.timeout_ms = TIMEOUT_MS;
    broker = tuskd_start("");
    tusk = attach_with(broker, options);
    topic = topic_of(tusk, "t");
    append_text(topic, "before");
}

TestSuite(timeouts, .init = begin, .fini = session_end);

static void broker_pause(void)
{
    int status = 0;
    check_ok(kill(broker->pid, SIGSTOP));
    check(waitpid(broker->pid, &status, WUNTRACED) == broker->pid); /* all its threads stand */
    check(WIFSTOPPED(status));
}

static void broker_continue(void)
{
    check_ok(kill(broker->pid, SIGCONT));
}

/* The call must answer this after about the time-out. */
#define expect_timeout(call)                                                                       \
    do {                                                                                           \
        const uint64_t begin_ms = now_ms();                                                        \
        check_is(call, -ETIMEDOUT);                                                                \
        const uint64_t took_ms = now_ms() - begin_ms;                                              \
        check_say(took_ms + 1 >= TIMEOUT_MS && took_ms < TIMEOUT_MS + LATE_MS, "it took %llu ms",  \
                  (unsigned long long)took_ms);                                                    \
    } while (0)

Test(timeouts, an_append_that_timed_out_is_appended_once)
{
    uint64_t seq = 0;
    broker_pause();
    expect_timeout(tusk_append(topic, "late", 4, &seq));
    expect_timeout(tusk_flush(tusk, TUSK_COMMITTED, TIMEOUT_MS));
    broker_continue();
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS));
    check_is(info_of(topic).next_seq, 2);
    check_is(append_text(topic, "after"), 2);
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "before");
    expect_text(reader, 1, "late");
    expect_text(reader, 2, "after");
    expect_end(reader);
}

Test(timeouts, a_batch_that_timed_out_is_appended_once)
{
    char text[] = "late";
    struct iovec entries[3] = {{text, 4}, {text, 4}, {text, 4}};
    broker_pause();
    expect_timeout(tusk_batch_append(topic, entries, 3, NULL));
    broker_continue();
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS));
    check_is(info_of(topic).next_seq, 4);
}

Test(timeouts, completions_of_calls_that_timed_out_are_not_mixed_up_with_others)
{
    struct tusk_completion completions[2];
    broker_pause();
    check_ok(tusk_submit(topic, "one", 3, 11));
    expect_timeout(tusk_append(topic, "late", 4, NULL));
    check_ok(tusk_submit(topic, "two", 3, 12));
    check_is(tusk_reap(tusk, completions, 2), 0);
    broker_continue();
    reap_all(tusk, completions, 2);
    check_is(completions[0].user_data, 11);
    check_is(completions[0].seq, 1);
    check_is(completions[1].user_data, 12);
    check_is(completions[1].seq, 3);
}

Test(timeouts, a_read_of_the_cursor_that_timed_out_takes_no_entry_away)
{
    struct tusk_entry entry;
    append_text(topic, "second");
    expect_next(topic, 0, "before");
    broker_pause();
    expect_timeout(tusk_read_next(topic, true, &entry));
    broker_continue();
    wait_until(tusk_read_next(topic, true, &entry) == 1, 10000);
    check_is(entry.seq, 1);
    check_bytes(entry.data, entry.size, "second", 6);
    expect_caught_up(topic);
}

Test(timeouts, administration_times_out_as_well)
{
    broker_pause();
    expect_timeout(tusk_topic_delete(tusk, "t"));
    expect_timeout(tusk_flush(tusk, TUSK_DURABLE, TIMEOUT_MS));
    broker_continue();
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS));
}

Test(timeouts, connecting_to_a_broker_that_does_not_answer_gives_up)
{
    struct tusk *other = NULL;
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.socket_path = broker->socket;
    options.timeout_ms = TIMEOUT_MS;
    broker_pause();
    const uint64_t begin_ms = now_ms();
    const int result = tusk_connect(&other, &options);
    check_say(result == -ENOTCONN || result == -ETIMEDOUT, "tusk_connect: %d", result);
    check(now_ms() - begin_ms < TIMEOUT_MS + LATE_MS);
    check(other == NULL);
    broker_continue();
    other = attach(broker);
    append_text(topic_of(other, "t"), "x");
    tusk_disconnect(other);
}

Test(timeouts, reading_what_is_in_memory_needs_no_answer)
{
    append_numbered(topic, 1, 0, 100, 64);
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "before");
    broker_pause();
    for (uint32_t n = 0; n < 100; n++) {
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, 1, n, 64);
    }
    check_is(info_of(topic).next_seq, 101);
    broker_continue();
}

Test(timeouts, disconnecting_from_a_broker_that_does_not_answer_ends_in_time)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.timeout_ms = TIMEOUT_MS;
    struct tusk *other = attach_with(broker, options);
    struct tusk_topic *there = topic_of(other, "t");
    check_ok(tusk_submit(there, "x", 1, 0));
    broker_pause();
    check_ok(tusk_submit(there, "y", 1, 0));
    const uint64_t begin_ms = now_ms();
    tusk_disconnect(other);
    check(now_ms() - begin_ms < TIMEOUT_MS * 3 + LATE_MS);
    broker_continue();
    append_text(topic, "x");
}

struct standing {
    uint64_t ready;
    uint64_t go_on;
};

/* Holds an entry, has submitted, holds a reservation, and then stands still. */
static void stand_still(size_t index, void *arg)
{
    struct standing *standing = arg;
    struct tusk *connection = attach(broker);
    struct tusk_topic *shared = topic_of(connection, "shared");
    struct tusk_reader *reader = reader_of(shared);
    void *buffer = NULL;
    (void)index;
    append_text(shared, "held");
    const struct tusk_entry entry = reader_take(reader);
    check_ok(tusk_submit(shared, "submitted", 9, 0));
    check_ok(tusk_reserve(shared, 100, &buffer));
    memcpy(buffer, "reserved", 8);
    shared_set(&standing->ready, 1);
    while (shared_get(&standing->go_on) == 0) {
        pause_briefly();
    }
    check_bytes(entry.data, entry.size, "held", 4);
    check_ok(tusk_entry_check(shared, &entry));
    check_ok(tusk_commit(shared, 8, 0));
    check_ok(tusk_flush(connection, TUSK_COMMITTED, -1));
    tusk_disconnect(connection);
}

Test(timeouts, a_client_that_stands_still_holds_nobody_up_and_may_go_on)
{
    struct standing *standing = shared_memory(sizeof *standing);
    struct clients *still = clients_start(1, stand_still, standing);
    wait_until(shared_get(&standing->ready) == 1, 10000);
    check_ok(kill(clients_pid(still, 0), SIGSTOP));
    struct tusk_topic *shared = topic_of(tusk, "shared");
    append_numbered(shared, 1, 0, 5000, 1000);
    struct tusk_reader *reader = reader_from(shared, TUSK_FROM_SEQ, 2);
    for (uint32_t n = 0; n < 5000; n++) {
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, 1, n, 1000);
    }
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    check_ok(kill(clients_pid(still, 0), SIGCONT));
    shared_set(&standing->go_on, 1);
    clients_join(still);
    expect_text(reader, 5002, "reserved");
}
