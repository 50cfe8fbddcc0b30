/*
 * Proves that an assembled broker gets over its clients: their deaths, floods of connections, many
 * sessions at once and a lack of descriptors, and that it holds afterwards what it held before.
 * How: broker_start() with real sockets, clients in threads and in processes (broker_stage.h).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/session_set.h"
#include "tests/support/deadline.h"
#include "tests/support/process.h"
#include "tests/unit/broker_stage.h"
#include "tests/unit/maps.h"

enum {
    STORM_THREADS = 4,
    STORM_CONNECTS = 4000,
    SESSIONS = 1000,
    WATCHES = 10,        /* a busy machine charges to who happens to run */
    CHILD_SECONDS = 120, /* no child outlives a test that fails for longer */
    FDS_PER_SESSION = 8, /* of both sides, with room to spare */
};

TestSuite(broker_clients, .init = stage_begin, .timeout = 600);

Test(broker_clients, dead_client_is_noticed_although_its_child_holds_its_sockets)
{
    int said[2];
    start();
    struct mapping directory = directory_map();
    cr_assert_eq(pipe2(said, O_CLOEXEC), 0);
    const pid_t client = fork();
    cr_assert_geq(client, 0);
    if (client == 0) {
        union control_message answer;
        int fds[2];
        const int connection = control_client_connect(config.socket_path);
        if (control_client_hello(connection, &answer, fds) != 0 ||
            control_client_lane(connection, &answer, fds) != 0) {
            _exit(1);
        }
        const pid_t child = fork(); /* inherits everything */
        if (child == 0) {
            alarm(CHILD_SECONDS);
            pause();
        }
        if (write(said[1], &child, sizeof child) != sizeof child) {
            _exit(1);
        }
        alarm(CHILD_SECONDS);
        pause();
    }
    pid_t child;
    cr_assert_eq(read(said[0], &child, sizeof child), sizeof child);
    wait_until(counter_in(&directory, COUNTER_SESSIONS) == 1, ANSWER_MS);
    kill(client, SIGKILL);
    wait_until(counter_in(&directory, COUNTER_SESSIONS) == 0, ANSWER_MS);
    cr_expect_eq(kill(child, 0), 0); /* it lives */
    wait_until(maps_of(MAPS_LANE) == 0, ANSWER_MS);
    kill(child, SIGKILL);
    waitpid(client, NULL, 0);
    mapping_close(&directory);
    cr_assert_eq(broker_stop(broker), 0);
}

static void *storm(void *argument)
{
    unsigned seed = *(const unsigned *)argument;
    for (int i = 0; i < STORM_CONNECTS; i++) {
        const int error = control_client_visit(config.socket_path, &seed);
        if (error != 0) {
            return (void *)(intptr_t)error;
        }
    }
    return NULL;
}

Test(broker_clients, storm_of_connections_leaves_nothing)
{
    pthread_t threads[STORM_THREADS];
    unsigned seeds[STORM_THREADS];
    start();
    struct mapping directory = directory_map();
    const struct process_counts before = process_count(getpid());
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        seeds[i] = i + 1;
        cr_assert_eq(pthread_create(&threads[i], NULL, storm, &seeds[i]), 0);
    }
    for (int i = 0; i < STORM_THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        cr_expect_null(result, "a client got %s", strerror(-(int)(intptr_t)result));
    }
    wait_until(counter_in(&directory, COUNTER_SESSIONS) == 0, ANSWER_MS);
    wait_until(process_count(getpid()).fds <= before.fds, ANSWER_MS);
    wait_until(maps_of(MAPS_LANE) == 0, ANSWER_MS);
    cr_expect_gt(counter_in(&directory, COUNTER_SESSIONS_OPENED), STORM_CONNECTS);
    mapping_close(&directory);
    cr_assert_eq(broker_stop(broker), 0);
}

Test(broker_clients, thousand_sessions_live_side_by_side)
{
    static int clients[SESSIONS];
    static int lanes[SESSIONS][2];
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < (rlim_t)SESSIONS * FDS_PER_SESSION) {
        cr_skip_test("only %llu descriptors are allowed here", (unsigned long long)limit.rlim_cur);
    }
    start();
    struct mapping directory = directory_map();
    for (int i = 0; i < SESSIONS; i++) {
        clients[i] = client_open();
        client_lane_open(clients[i], lanes[i]);
    }
    cr_expect_eq(counter_in(&directory, COUNTER_SESSIONS), SESSIONS);
    uint64_t used_ms = UINT64_MAX;
    for (int i = 0; i < WATCHES && used_ms > 30; i++) { /* idle ones cost nothing */
        const uint64_t before_ms = process_count(getpid()).cpu_ms;
        usleep(300000);
        used_ms = process_count(getpid()).cpu_ms - before_ms;
    }
    cr_expect_leq(used_ms, 30);
    for (int i = 0; i < SESSIONS; i++) {
        close(clients[i]);
        close(lanes[i][0]);
        close(lanes[i][1]);
    }
    wait_until(counter_in(&directory, COUNTER_SESSIONS) == 0, ANSWER_MS);
    wait_until(maps_of(MAPS_LANE) == 0, ANSWER_MS);
    mapping_close(&directory);
    cr_assert_eq(broker_stop(broker), 0);
}

/* With no descriptors left clients are turned away, the control thread does not spin, and once there
 * are some again the next client is served. */
static void descriptors_run_out(rlim_t allowed, bool told)
{
    struct rlimit limit;
    int said[2];
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(pipe2(said, O_CLOEXEC), 0);
    const pid_t child = fork(); /* has descriptors of its own */
    cr_assert_geq(child, 0);
    if (child == 0) {
        char go;
        union control_message answer;
        while (read(said[0], &go, 1) != 1) {
        }
        for (int i = 0; i < 3; i++) {
            const int client = control_client_connect(config.socket_path);
            if (told && control_client_answer(client, &answer, NULL, 0) != -EPIPE) {
                _exit(1);
            }
        }
        usleep(500000); /* connections that nobody takes stay in the backlog */
        _exit(0);
    }
    const struct rlimit tight = {.rlim_cur = allowed, .rlim_max = limit.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    struct rusage began;
    struct rusage ended;
    getrusage(RUSAGE_SELF, &began);
    cr_assert_eq(write(said[1], "g", 1), 1);
    int status;
    waitpid(child, &status, 0);
    getrusage(RUSAGE_SELF, &ended);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_expect_eq(status, 0, "a client was not told");
    const long used_us = (ended.ru_utime.tv_sec + ended.ru_stime.tv_sec - began.ru_utime.tv_sec -
                          began.ru_stime.tv_sec) *
                             1000000 +
                         ended.ru_utime.tv_usec + ended.ru_stime.tv_usec - began.ru_utime.tv_usec -
                         began.ru_stime.tv_usec;
    cr_expect_leq(used_us, 100000, "the control thread spins: %ld us", used_us);
    close(said[0]);
    close(said[1]);
    const int client = client_open();
    close(client);
}

Test(broker_clients, connections_are_refused_on_the_reserve_when_descriptors_run_out)
{
    start();
    const int next = dup(0);
    close(next);
    descriptors_run_out((rlim_t)next + 2, true); /* the pipe takes them */
    cr_assert_eq(broker_stop(broker), 0);
}

Test(broker_clients, listener_pauses_when_not_even_the_reserve_helps)
{
    start();
    descriptors_run_out(3, false);
    cr_assert_eq(broker_stop(broker), 0);
}
