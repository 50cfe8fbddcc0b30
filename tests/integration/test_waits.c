/*
 * Waits: tusk_fd, tusk_arm, tusk_wait and tusk_wakeup, from poll and epoll, one lane for many
 * threads.
 * How:        one real broker per test; what wakes comes from another process or thread.
 * Not here:   waits inside tusk_reader_next (test_readers.c).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

TestSuite(waits, .init = session_begin, .fini = session_end);
TestSuite(waits_processes);

static bool readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    const int result = poll(&poll_fd, 1, timeout_ms);
    check(result >= 0);
    return result == 1;
}

Test(waits, the_fd_is_the_same_each_time)
{
    const int fd = tusk_fd(tusk);
    check(fd >= 0);
    check_is(tusk_fd(tusk), fd);
    check_ok(tusk_arm(tusk));
    check_is(tusk_fd(tusk), fd);
}

Test(waits, arm_is_1_while_something_may_succeed)
{
    struct tusk_entry entry;
    struct tusk_completion completion;
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_of(topic);
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    append_text(topic, "x");
    check_is(tusk_arm(tusk), 1);
    expect_text(reader, 0, "x");
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    check_is(tusk_reap(tusk, &completion, 1), 0);
    check_is(tusk_arm(tusk), 0);
    check(!readable(tusk_fd(tusk), 0));
}

Test(waits, a_time_out_of_0_never_arms)
{
    struct tusk_entry entry;
    struct tusk *other = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_of(topic);
    const int fd = tusk_fd(tusk);
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    append_text(topic_of(other, "t"), "x");
    check(!readable(fd, 50));
    expect_text(reader, 0, "x");
    tusk_disconnect(other);
}

Test(waits, the_fd_turns_and_stays_readable_for_an_entry)
{
    struct tusk_entry entry;
    struct tusk *other = attach(broker);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    const int fd = tusk_fd(tusk);
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    check_is(tusk_arm(tusk), 0);
    check(!readable(fd, 50));
    append_text(topic_of(other, "t"), "x");
    check(readable(fd, TEST_LONG_MS));
    check(readable(fd, 0));
    expect_text(reader, 0, "x");
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    check_is(tusk_arm(tusk), 0);
    check(!readable(fd, 20));
    tusk_disconnect(other);
}

Test(waits, the_fd_turns_readable_for_a_completion)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion completion;
    session_restart("--fsync 100ms");
    topic = topic_of(tusk, "t");
    const int fd = tusk_fd(tusk);
    for (uint64_t i = 1; i <= 200; i++) {
        check_ok(tusk_submit(topic, "x", 1, i));
        while (tusk_reap(tusk, &completion, 1) == 0) {
            const int armed = tusk_arm(tusk);
            check(armed == 0 || armed == 1);
            check(armed == 1 || readable(fd, TEST_LONG_MS));
        }
        check_is(completion.user_data, i);
    }
}

Test(waits, the_fd_turns_readable_for_a_flush)
{
    session_restart("--fsync none");
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_ok(tusk_submit(topic, "x", 1, 0));
    int result = tusk_flush(tusk, TUSK_DURABLE, 0);
    while (result == -EAGAIN) {
        const int armed = tusk_arm(tusk);
        check(armed == 1 || readable(tusk_fd(tusk), TEST_LONG_MS));
        result = tusk_flush(tusk, TUSK_DURABLE, 0);
    }
    check_ok(result);
    check_is(info_of(topic).durable_seq, 1);
}

Test(waits, one_arm_covers_many_topics)
{
    enum { TOPICS = 20 };
    char name[8];
    struct tusk_reader *readers[TOPICS];
    struct tusk *other = attach(broker);
    struct tusk_entry entry;
    for (int i = 0; i < TOPICS; i++) {
        (void)snprintf(name, sizeof name, "t%d", i);
        readers[i] = reader_of(topic_of(tusk, name));
    }
    for (int round = 0; round < 3 * TOPICS; round++) {
        int found = -1;
        for (int i = 0; i < TOPICS; i++) {
            check_is(tusk_reader_next(readers[i], &entry, 0), 0);
        }
        check_is(tusk_arm(tusk), 0);
        (void)snprintf(name, sizeof name, "t%d", round % TOPICS);
        append_text(topic_of(other, name), name);
        check(readable(tusk_fd(tusk), TEST_LONG_MS));
        for (int i = 0; i < TOPICS; i++) {
            if (tusk_reader_next(readers[i], &entry, 0) == 1) {
                check_is(found, -1);
                found = i;
            }
        }
        check_is(found, round % TOPICS);
    }
    tusk_disconnect(other);
}

/* As tusk.h says; what is too much is refused, and gone with the readers that were too many. */
Test(waits, one_lane_waits_for_a_thousand_readers_at_once)
{
    enum { READERS = 1000, TOO_MANY = 1100 };
    static struct tusk_reader *readers[TOO_MANY];
    struct tusk *other = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_entry entry;
    for (int i = 0; i < TOO_MANY; i++) {
        readers[i] = reader_of(topic);
        check_is(tusk_reader_next(readers[i], &entry, 0), 0);
        if (i == READERS - 1) {
            check_is(tusk_arm(tusk), 0);
            append_text(topic_of(tusk, "elsewhere"), "what asks the broker goes on meanwhile");
        }
    }
    check_is(tusk_arm(tusk), -ENOMEM);
    for (int i = READERS; i < TOO_MANY; i++) {
        tusk_reader_close(readers[i]);
    }
    check_is(tusk_wait(tusk, 0), 0);
    append_text(topic_of(other, "t"), "x");
    check_is(tusk_wait(tusk, TEST_LONG_MS), 1);
    for (int i = 0; i < READERS; i++) {
        expect_text(readers[i], 0, "x");
    }
    tusk_disconnect(other);
}

/* All of a lane's waits are taken: what does not wait still goes through, and waiting is possible
 * again with fewer. */
Test(waits, readers_that_are_too_many_to_wait_with_stop_nothing_else)
{
    enum { READERS = 1100, FEWER = 900 };
    struct tusk_reader *readers[READERS];
    struct tusk_topic *topic = topic_of(tusk, "quiet");
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = reader_of(topic);
        expect_end(readers[i]);
    }
    check_is(tusk_arm(tusk), -ENOMEM);
    struct tusk_topic *other = topic_of(tusk, "other");
    append_numbered(other, 1, 0, 100, 100);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    struct tusk_reader *reader = reader_of(other);
    const struct tusk_entry entry = reader_take(reader);
    expect_numbered(&entry, 1, 0, 100);
    for (size_t i = FEWER; i < READERS; i++) {
        tusk_reader_close(readers[i]);
    }
    append_text(other, "behind the end of their waits");
    check_is(tusk_arm(tusk), 0);
    append_text(topic, "heard");
    check_is(tusk_wait(tusk, TEST_LONG_MS), 1);
    expect_text(readers[0], 0, "heard");
}

Test(waits, wait_ends_at_its_time_out)
{
    struct tusk_entry entry;
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    const uint64_t begin_ms = now_ms();
    check_is(tusk_wait(tusk, 100), 0);
    const uint64_t took_ms = now_ms() - begin_ms;
    check_say(took_ms >= 99 && took_ms < 20000, "it took %llu ms", (unsigned long long)took_ms);
    check_is(tusk_wait(tusk, 0), 0);
}

Test(waits, a_wakeup_ends_the_next_wait_once)
{
    tusk_wakeup(tusk);
    check_is(tusk_wait(tusk, TEST_LONG_MS), -EINTR);
    check_is(tusk_wait(tusk, 20), 0);
    struct tusk_entry entry;
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    tusk_wakeup(tusk);
    check_is(tusk_reader_next(reader, &entry, TEST_LONG_MS), -EINTR);
    check_is(tusk_reader_next(reader, &entry, 20), -ETIMEDOUT);
}

Test(waits, a_wakeup_turns_the_armed_fd_readable)
{
    check_ok(tusk_arm(tusk));
    tusk_wakeup(tusk);
    check(readable(tusk_fd(tusk), TEST_LONG_MS));
    check_is(tusk_wait(tusk, TEST_LONG_MS), -EINTR);
}

static void *wait_for_wakeup(void *arg)
{
    struct gate *gate = arg;
    struct tusk_entry entry;
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    expect_end(reader); /* from here on the thread uses the handle */
    gate_pass(gate);
    check_is(tusk_reader_next(reader, &entry, -1), -EINTR);
    tusk_reader_close(reader);
    return NULL;
}

Test(waits, a_wakeup_reaches_every_thread_of_the_handle)
{
    enum { THREADS = 4 };
    struct gate gate = {0};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        check_ok(pthread_create(&threads[i], NULL, wait_for_wakeup, &gate));
    }
    gate_await(&gate, THREADS);
    gate_open(&gate);
    tusk_wakeup(tusk); /* waits in progress and those about to begin */
    for (int i = 0; i < THREADS; i++) {
        check_ok(pthread_join(threads[i], NULL));
    }
}

static struct tusk *woken_by_signal;

static void wake_on_signal(int signal_number)
{
    (void)signal_number;
    tusk_wakeup(woken_by_signal);
}

static void *send_signal(void *arg)
{
    pause_briefly();
    check_ok(pthread_kill(*(pthread_t *)arg, SIGUSR1));
    return NULL;
}

Test(waits, a_signal_handler_may_wake)
{
    pthread_t sender;
    pthread_t self = pthread_self();
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = wake_on_signal;
    woken_by_signal = tusk;
    check_ok(sigaction(SIGUSR1, &action, NULL));
    check_ok(pthread_create(&sender, NULL, send_signal, &self));
    check_is(tusk_wait(tusk, -1), -EINTR);
    check_ok(pthread_join(sender, NULL));
}

static void ignore_signal(int signal_number)
{
    (void)signal_number;
}

Test(waits, a_signal_alone_ends_no_wait)
{
    pthread_t sender;
    pthread_t self = pthread_self();
    struct tusk_entry entry;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = ignore_signal;
    check_ok(sigaction(SIGUSR1, &action, NULL));
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    check_ok(pthread_create(&sender, NULL, send_signal, &self));
    check_is(tusk_reader_next(reader, &entry, 200), -ETIMEDOUT);
    check_ok(pthread_join(sender, NULL));
    check_ok(pthread_create(&sender, NULL, send_signal, &self));
    check_is(tusk_wait(tusk, 200), 0);
    check_ok(pthread_join(sender, NULL));
}

enum { LOOPED = 5000, LOOP_TOPICS = 4 };

/* An event loop on epoll: four topics, thousands of entries, woken by other processes. */
static void loop_run(size_t index, void *arg)
{
    struct tusk *connection = attach(broker);
    struct tusk_reader *readers[LOOP_TOPICS];
    struct epoll_event event = {.events = EPOLLIN};
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    uint32_t next[LOOP_TOPICS] = {0};
    static const char *const names[LOOP_TOPICS] = {"a", "b", "c", "d"};
    (void)index;
    for (int i = 0; i < LOOP_TOPICS; i++) {
        readers[i] = reader_of(topic_of(connection, names[i]));
    }
    check(epoll >= 0);
    check_ok(epoll_ctl(epoll, EPOLL_CTL_ADD, tusk_fd(connection), &event));
    gate_pass(arg);
    for (uint32_t total = 0; total < LOOPED * LOOP_TOPICS;) {
        for (int i = 0; i < LOOP_TOPICS; i++) {
            struct tusk_entry entry;
            int result;
            while ((result = tusk_reader_next(readers[i], &entry, 0)) == 1) {
                check_is(entry.seq, next[i]);
                expect_numbered(&entry, (uint32_t)i, next[i], 50);
                next[i]++;
                total++;
            }
            check_ok(result);
        }
        const int armed = tusk_arm(connection);
        check(armed == 0 || armed == 1);
        if (armed == 0 && total < LOOPED * LOOP_TOPICS) {
            check_is(epoll_wait(epoll, &event, 1, TEST_LONG_MS), 1);
        }
    }
}

static void produce_for_loop(size_t index, void *arg)
{
    static const char *const names[LOOP_TOPICS] = {"a", "b", "c", "d"};
    (void)arg;
    append_numbered(topic_of(attach(broker), names[index]), (uint32_t)index, 0, LOOPED, 50);
}

Test(waits_processes, an_epoll_loop_misses_nothing)
{
    broker = tuskd_start("");
    struct gate *gate = shared_memory(sizeof *gate);
    struct clients *loops = clients_start(2, loop_run, gate);
    gate_await(gate, 2);
    gate_open(gate);
    clients_run(LOOP_TOPICS, produce_for_loop, NULL);
    clients_join(loops);
    tuskd_stop(broker);
}

/* One lane, handed from thread to thread: each takes the lock, appends, reads, waits. */
struct pool {
    pthread_mutex_t lock;
    struct tusk *connection;
    struct tusk_topic *topic;
    struct tusk_reader *reader;
    uint32_t next;
};

enum { POOLED = 4000, POOL_THREADS = 6 };

static void *pool_run(void *arg)
{
    struct pool *pool = arg;
    for (bool done = false; !done;) {
        check_ok(pthread_mutex_lock(&pool->lock));
        done = pool->next == POOLED;
        if (!done) {
            unsigned char data[64];
            struct tusk_completion completion;
            payload_fill(data, sizeof data, 1, pool->next);
            check_ok(tusk_submit(pool->topic, data, sizeof data, pool->next + 1));
            while (tusk_reap(pool->connection, &completion, 1) == 0) {
                check_is(tusk_wait(pool->connection, TEST_LONG_MS), 1);
            }
            check_is(completion.user_data, pool->next + 1);
            check_is(completion.seq, pool->next);
            const struct tusk_entry entry = reader_take(pool->reader);
            expect_numbered(&entry, 1, pool->next, sizeof data);
            pool->next++;
        }
        check_ok(pthread_mutex_unlock(&pool->lock));
    }
    return NULL;
}

Test(waits, a_pool_of_threads_shares_one_lane)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    pthread_t threads[POOL_THREADS];
    options.one_lane = 1;
    struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pool.connection = attach_with(broker, options);
    pool.topic = topic_of(pool.connection, "t");
    pool.reader = reader_of(pool.topic);
    const int fd = tusk_fd(pool.connection);
    for (int i = 0; i < POOL_THREADS; i++) {
        check_ok(pthread_create(&threads[i], NULL, pool_run, &pool));
    }
    for (int i = 0; i < POOL_THREADS; i++) {
        check_ok(pthread_join(threads[i], NULL));
    }
    check_is(pool.next, POOLED);
    check_is(tusk_fd(pool.connection), fd);
    check_is(info_of(pool.topic).next_seq, POOLED);
    tusk_disconnect(pool.connection);
}
