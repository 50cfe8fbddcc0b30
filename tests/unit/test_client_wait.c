/*
 * Sleeping and being woken: tusk_fd, tusk_arm, tusk_wait, tusk_wakeup, the idle strategies; threads
 * and their lanes; one_lane handles; fork.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/deadline.h"
#include "tests/unit/client_stage.h"

static struct stage stage;
static struct tusk *tusk;
static struct tusk_topic *topic;

static void begin(void)
{
    stage_begin(&stage, false);
    tusk = stage_connect(&stage, NULL);
    cr_assert_eq(tusk_topic_open(tusk, "t", NULL, &topic), 0);
}

static void end(void)
{
    tusk_disconnect(tusk);
    stage_end(&stage);
}

TestSuite(wait, .init = begin, .fini = end, .timeout = 600);

static bool readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, timeout_ms) > 0;
}

static void *append_soon(void *arg)
{
    (void)arg;
    const struct timespec pause = {.tv_nsec = 30 * 1000 * 1000};
    nanosleep(&pause, NULL);
    cr_assert_eq(tusk_append(topic, "soon", 4, NULL), 0);
    return NULL;
}

Test(wait, fd_turns_and_stays_readable_until_armed_again)
{
    struct tusk_reader *reader;
    struct tusk_entry entry;
    const int fd = tusk_fd(tusk);
    cr_assert_geq(fd, 0);
    cr_assert_eq(tusk_fd(tusk), fd);
    cr_assert_eq(tusk_reader_open(topic, NULL, &reader), 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 0);
    cr_assert_eq(tusk_arm(tusk), 0);
    cr_assert(!readable(fd, 10));
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, append_soon, NULL), 0);
    cr_assert(readable(fd, TEST_LONG_MS));
    pthread_join(thread, NULL);
    cr_assert(readable(fd, 0));
    cr_assert_eq(tusk_arm(tusk), 1, "the reader may go on");
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 0);
    cr_assert_eq(tusk_arm(tusk), 0);
    cr_assert(!readable(fd, 10));
    tusk_reader_close(reader);
}

Test(wait, a_blocking_call_does_not_swallow_what_was_armed)
{
    struct tusk_reader *reader;
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_open(topic, NULL, &reader), 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 0);
    cr_assert_eq(tusk_arm(tusk), 0);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, append_soon, NULL), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(tusk_append(topic, "x", 1, NULL), 0);
    }
    cr_assert(readable(tusk_fd(tusk), TEST_LONG_MS));
    tusk_reader_close(reader);
}

Test(wait, completions_and_the_cursor_wake)
{
    struct tusk_entry entry;
    struct tusk_completion completion;
    cr_assert_eq(tusk_wait(tusk, 5), 0);
    stage_set(&stage.stalled, true);
    cr_assert_eq(tusk_submit(topic, "x", 1, 3), 0);
    cr_assert_eq(tusk_wait(tusk, 0), 0);
    cr_assert_eq(tusk_wait(tusk, 10), 0);
    atomic_store(&stage.stalled, false);
    cr_assert_eq(tusk_wait(tusk, TEST_LONG_MS), 1);
    cr_assert_eq(tusk_wait(tusk, 5), 0, "what nobody takes is told once");
    cr_assert_eq(tusk_reap(tusk, &completion, 1), 1);
    cr_assert_eq(tusk_read_next(topic, true, &entry), 1);
    cr_assert_eq(tusk_read_next(topic, true, &entry), 0);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, append_soon, NULL), 0);
    cr_assert_eq(tusk_wait(tusk, TEST_LONG_MS), 1);
    cr_assert_eq(tusk_read_next(topic, true, &entry), 1);
    pthread_join(thread, NULL);
}

static void *wakeup_soon(void *arg)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
    tusk_wakeup(arg);
    return NULL;
}

Test(wait, wakeup_ends_the_wait_or_the_next_one_of_every_thread)
{
    tusk_wakeup(tusk);
    cr_assert_eq(tusk_wait(tusk, TEST_LONG_MS), -EINTR);
    cr_assert_eq(tusk_wait(tusk, 5), 0);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, wakeup_soon, tusk), 0);
    struct tusk_reader *reader;
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_open(topic, NULL, &reader), 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, TEST_LONG_MS), -EINTR);
    pthread_join(thread, NULL);
    cr_assert_eq(tusk_arm(tusk), 0);
    tusk_wakeup(tusk);
    cr_assert(readable(tusk_fd(tusk), 0));
    cr_assert_eq(tusk_arm(tusk), 1);
    cr_assert_eq(tusk_arm(tusk), 0);
    cr_assert(!readable(tusk_fd(tusk), 5));
    tusk_reader_close(reader);
}

static void on_alarm(int number)
{
    (void)number;
    tusk_wakeup(tusk);
}

Test(wait, wakeup_from_a_signal_handler)
{
    const struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    ualarm(20000, 0);
    cr_assert_eq(tusk_wait(tusk, TEST_LONG_MS), -EINTR);
}

static void *thread_life(void *arg)
{
    (void)arg;
    for (uint64_t i = 1; i <= 100; i++) {
        cr_assert_eq(tusk_submit(topic, "x", 1, i), 0);
    }
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), 0);
    struct tusk_completion completions[100];
    cr_assert_eq(tusk_reap(tusk, completions, 100), 100);
    struct tusk_entry entry;
    cr_assert_eq(tusk_read_next(topic, false, &entry), 1);
    return NULL;
}

static int lanes_open(void)
{
    int open = 0;
    for (int i = 0; i < STAGE_LANES; i++) {
        open += stage.lanes[i].open;
    }
    return open;
}

Test(wait, threads_give_their_lanes_back)
{
    for (int round = 0; round < 20; round++) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) {
            cr_assert_eq(pthread_create(&threads[i], NULL, thread_life, NULL), 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
    }
    for (int i = 0; i < 1000 && lanes_open() != 1; i++) {
        const struct timespec pause = {.tv_nsec = 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    cr_assert_eq(lanes_open(), 1);
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    cr_assert_eq(tusk_topic_info(topic, &stat), 0);
    cr_assert_eq(stat.next_seq, 8000);
}

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void *pool_worker(void *arg)
{
    struct tusk_topic *shared = arg;
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&turn);
        cr_assert_eq(tusk_append(shared, "x", 1, NULL), 0);
        pthread_mutex_unlock(&turn);
    }
    return NULL;
}

Test(wait, one_lane_serves_a_pool_of_threads)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.one_lane = 1;
    struct tusk *single = stage_connect(&stage, &options);
    struct tusk_topic *shared;
    const int before = lanes_open();
    cr_assert_eq(tusk_topic_open(single, "pool", NULL, &shared), 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, pool_worker, shared), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_assert_eq(lanes_open(), before + 1);
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    cr_assert_eq(tusk_topic_info(shared, &stat), 0);
    cr_assert_eq(stat.next_seq, 800);
    tusk_disconnect(single);
}

static void *reader_moves(void *arg)
{
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_next(arg, &entry, TEST_LONG_MS), 1);
    cr_assert_eq(tusk_reader_next(arg, &entry, 0), 0);
    cr_assert_eq(tusk_arm(tusk), 0);
    return NULL;
}

Test(wait, a_reader_that_waits_can_move_between_threads)
{
    struct tusk_reader *reader;
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_open(topic, NULL, &reader), 0);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(tusk_reader_next(reader, &entry, 1), -ETIMEDOUT);
        cr_assert_eq(tusk_append(topic, "x", 1, NULL), 0);
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, reader_moves, reader), 0);
        pthread_join(thread, NULL);
    }
    tusk_reader_close(reader);
}

Test(wait, every_idle_strategy)
{
    for (uint32_t idle = TUSK_IDLE_ADAPTIVE; idle <= TUSK_IDLE_BLOCK; idle++) {
        struct tusk_options options = TUSK_OPTIONS_INIT;
        options.idle = idle;
        struct tusk *other = stage_connect(&stage, &options);
        struct tusk_topic *its;
        cr_assert_eq(tusk_topic_open(other, "idle", NULL, &its), 0);
        for (int i = 0; i < 100; i++) {
            cr_assert_eq(tusk_append(its, "x", 1, NULL), 0);
        }
        cr_assert_eq(tusk_wait(other, 10), 0);
        tusk_disconnect(other);
    }
}

Test(wait, a_forked_child_is_refused_and_harms_nothing)
{
    struct tusk_reader *reader;
    struct tusk_entry entry;
    cr_assert_eq(tusk_append(topic, "x", 1, NULL), 0);
    cr_assert_eq(tusk_reader_open(topic, NULL, &reader), 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, TEST_LONG_MS), 1);
    cr_assert_geq(tusk_fd(tusk), 0);
    const pid_t child = fork();
    if (child == 0) {
        struct tusk_completion completion;
        struct tusk_topic *another;
        bool refused = tusk_append(topic, "x", 1, NULL) == -EOWNERDEAD &&
                       tusk_submit(topic, "x", 1, 0) == -EOWNERDEAD &&
                       tusk_reap(tusk, &completion, 1) == -EOWNERDEAD &&
                       tusk_reader_next(reader, &entry, 10) == -EOWNERDEAD &&
                       tusk_read_next(topic, true, &entry) == -EOWNERDEAD &&
                       tusk_topic_open(tusk, "u", NULL, &another) == -EOWNERDEAD &&
                       tusk_wait(tusk, 10) == -EOWNERDEAD && tusk_fd(tusk) == -EOWNERDEAD;
        tusk_disconnect(tusk);
        struct tusk *own = stage_connect(&stage, NULL);
        refused = refused && tusk_topic_open(own, "t", NULL, &another) == 0 &&
                  tusk_append(another, "child", 5, NULL) == 0;
        tusk_disconnect(own);
        _exit(refused ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, TEST_LONG_MS), 1);
    cr_assert(entry.size == 5 && memcmp(entry.data, "child", 5) == 0);
    cr_assert_eq(tusk_append(topic, "x", 1, NULL), 0);
    tusk_reader_close(reader);
}

Test(wait, connecting_waits_for_a_broker_as_long_as_it_was_told)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *none = NULL;
    options.socket_path = "/dev/shm/tusk-no-broker-here.sock";
    options.timeout_ms = 30;
    cr_assert_eq(tusk_connect(&none, &options), -ENOTCONN);
    cr_assert_null(none);
    options.lane_bytes = 12345;
    cr_assert_eq(tusk_connect(&none, &options), -EINVAL);
    cr_assert_eq(tusk_connect(NULL, NULL), -EINVAL);
    options.size = 4;
    cr_assert_eq(tusk_connect(&none, &options), -EINVAL);
}
