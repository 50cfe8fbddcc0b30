/*
 * Threads: every thread of a connection has a lane of its own, given back at its end.
 * How:        one real broker per test, many threads in this process.
 * Not here:   one lane for many threads (test_waits.c).
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/payload.h"
#include "tests/support/process.h"
#include "tests/support/session.h"

enum { THREADS = 8, PER_THREAD = 3000 };

TestSuite(threads, .init = session_begin, .fini = session_end);
TestSuite(threads_none);

static void run_threads(size_t count, void *(*run)(void *))
{
    pthread_t all[THREADS];
    static uint32_t numbers[THREADS] = {0, 1, 2, 3, 4, 5, 6, 7};
    check(count <= THREADS);
    for (size_t i = 0; i < count; i++) {
        check_ok(pthread_create(&all[i], NULL, run, &numbers[i]));
    }
    for (size_t i = 0; i < count; i++) {
        check_ok(pthread_join(all[i], NULL));
    }
}

static struct tusk_topic *shared_topic;

static void *append_many(void *arg)
{
    append_numbered(shared_topic, *(uint32_t *)arg, 0, PER_THREAD, 100);
    return NULL;
}

Test(threads, many_append_through_one_handle)
{
    shared_topic = topic_of(tusk, "t");
    run_threads(THREADS, append_many);
    check_is(info_of(shared_topic).next_seq, THREADS * PER_THREAD);
    uint32_t next[THREADS] = {0};
    struct tusk_reader *reader = reader_of(shared_topic);
    for (int i = 0; i < THREADS * PER_THREAD; i++) {
        struct payload_id id;
        const struct tusk_entry entry = reader_take(reader);
        check(payload_verify(entry.data, entry.size, &id));
        check(id.producer < THREADS);
        check_is(id.n, next[id.producer]);
        next[id.producer]++;
    }
    expect_end(reader);
}

static void *submit_and_reap(void *arg)
{
    const uint32_t number = *(uint32_t *)arg;
    struct tusk_completion completion;
    for (uint64_t i = 1; i <= PER_THREAD; i++) {
        const uint64_t user_data = (uint64_t)number << 32 | i;
        check_ok(tusk_submit(shared_topic, &user_data, sizeof user_data, user_data));
        if (i % 50 == 0) {
            for (uint64_t k = i - 49; k <= i; k++) {
                reap_all(tusk, &completion, 1);
                check_is(completion.user_data, (uint64_t)number << 32 | k);
            }
        }
    }
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(tusk_reap(tusk, &completion, 1), 0);
    return NULL;
}

Test(threads, each_reaps_its_own_completions)
{
    shared_topic = topic_of(tusk, "t");
    run_threads(THREADS, submit_and_reap);
    check_is(info_of(shared_topic).next_seq, THREADS * PER_THREAD);
}

static uint64_t cursor_given;
static unsigned char cursor_times[THREADS * PER_THREAD];

static void *read_cursor(void *arg)
{
    struct tusk_entry entry;
    (void)arg;
    while (__atomic_load_n(&cursor_given, __ATOMIC_ACQUIRE) < THREADS * PER_THREAD) {
        const int count = tusk_read_next(shared_topic, true, &entry);
        check(count == 0 || count == 1);
        if (count == 1) {
            check_is(entry.size, 100);
            (void)__atomic_add_fetch(&cursor_times[entry.seq], 1, __ATOMIC_RELAXED);
            (void)__atomic_add_fetch(&cursor_given, 1, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

Test(threads, the_cursor_gives_each_entry_to_one_of_them)
{
    session_restart("--fsync none");
    shared_topic = topic_of(tusk, "t");
    append_numbered(shared_topic, 1, 0, THREADS * PER_THREAD, 100);
    run_threads(4, read_cursor);
    for (int seq = 0; seq < THREADS * PER_THREAD; seq++) {
        check_is(cursor_times[seq], 1);
    }
}

static void *append_once(void *arg)
{
    append_text(shared_topic, "x");
    (void)tusk_fd(tusk);
    return arg;
}

Test(threads, an_ended_one_gives_its_lane_back)
{
    shared_topic = topic_of(tusk, "t");
    append_text(shared_topic, "x");
    run_threads(1, append_once);
    const struct process_counts own = process_count(getpid());
    const struct process_counts theirs = broker_counts(tusk);
    for (int i = 0; i < 300; i++) {
        run_threads(1, append_once);
    }
    wait_until(process_count(broker->pid).fds <= theirs.fds, 5000);
    wait_until(process_count(broker->pid).mappings <= theirs.mappings + 4, 5000);
    check(process_count(getpid()).fds <= own.fds);
    check(process_count(getpid()).mapped_bytes <= own.mapped_bytes + 16U * 1024 * 1024);
    check_is(info_of(shared_topic).next_seq, 302);
}

static void *submit_and_leave(void *arg)
{
    for (int i = 0; i < 200; i++) {
        check_ok(tusk_submit(shared_topic, "x", 1, 0));
    }
    return arg;
}

Test(threads, what_an_ended_one_submitted_is_appended)
{
    shared_topic = topic_of(tusk, "t");
    for (int i = 0; i < 20; i++) {
        run_threads(4, submit_and_leave);
    }
    wait_until(info_of(shared_topic).next_seq == 20 * 4 * 200, 10000);
}

static void *leave_with_reservation(void *arg)
{
    void *buffer = NULL;
    check_ok(tusk_reserve(shared_topic, 1000, &buffer));
    return arg;
}

Test(threads, one_that_ends_with_a_reservation_appends_nothing)
{
    shared_topic = topic_of(tusk, "t");
    run_threads(4, leave_with_reservation);
    check_is(append_text(shared_topic, "x"), 0);
}

static struct tusk_reader *moved_reader;

static void *read_on(void *arg)
{
    for (int i = 0; i < 100; i++) {
        const struct tusk_entry entry = reader_take(moved_reader);
        expect_numbered(&entry, 1, (uint32_t)entry.seq, 500);
    }
    return arg;
}

Test(threads, a_reader_may_move_from_one_to_another)
{
    shared_topic = topic_of(tusk, "t");
    append_numbered(shared_topic, 1, 0, 500, 500);
    moved_reader = reader_of(shared_topic);
    for (int i = 0; i < 4; i++) {
        run_threads(1, read_on);
    }
    check_is(reader_take(moved_reader).seq, 400);
}

static void *connect_and_use(void *arg)
{
    for (int i = 0; i < 10; i++) {
        struct tusk *mine = attach(broker);
        append_text(topic_of(mine, "t"), "x");
        tusk_disconnect(mine);
    }
    return arg;
}

Test(threads, each_may_have_connections_of_its_own)
{
    run_threads(THREADS, connect_and_use);
    check_is(info_of(topic_of(tusk, "t")).next_seq, THREADS * 10);
}

/* A thread that was cancelled before its calls goes on until it asks for it itself. */
static void *call_while_cancelled(void *arg)
{
    struct tusk_entry entry;
    struct tusk_reader *reader = reader_from(shared_topic, TUSK_FROM_LATEST, 0);
    check_ok(pthread_cancel(pthread_self()));
    append_text(shared_topic, "x");
    check_is(tusk_reader_next(reader, &entry, TEST_LONG_MS), 1);
    check_is(tusk_reader_next(reader, &entry, 20), -ETIMEDOUT);
    check_is(tusk_wait(tusk, 20), 0);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    check_is(tusk_read_next(shared_topic, true, &entry), 1);
    tusk_reader_close(reader);
    tusk_disconnect(attach(broker));
    __atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
    pthread_testcancel();
    return NULL;
}

Test(threads, no_call_is_a_cancellation_point)
{
    pthread_t thread;
    bool came_through = false;
    shared_topic = topic_of(tusk, "t");
    check_ok(pthread_create(&thread, NULL, call_while_cancelled, &came_through));
    void *result = NULL;
    check_ok(pthread_join(thread, &result));
    check(came_through);
    check(result == PTHREAD_CANCELED);
    append_text(shared_topic, "x");
}

Test(threads_none, the_library_starts_none_and_catches_no_signal)
{
    broker = tuskd_start("");
    const struct process_counts before = process_count(getpid());
    const uint64_t caught = process_signals_caught(getpid());
    tusk = attach(broker);
    struct tusk_entry entry;
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    check_is(tusk_reader_next(reader, &entry, 1), -ETIMEDOUT);
    append_text(topic_of(tusk, "t"), "x");
    expect_text(reader, 0, "x");
    check_is(process_count(getpid()).threads, before.threads);
    check(process_signals_caught(getpid()) == caught);
    session_end();
}
