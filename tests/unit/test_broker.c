/*
 * Proves that a broker starts where it can and says in words where it cannot, that it serves clients
 * of other processes through their deaths and their floods, and that nothing of it is left after.
 * How: broker_start() with real directories and sockets; the engine only answers mail
 * (fake_engine.h); clients speak the control protocol by themselves.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/counters.h"
#include "broker/fault.h"
#include "broker/quantity.h"
#include "broker/session_set.h"
#include "shm/control.h"
#include "shm/directory.h"
#include "tests/support/deadline.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/maps.h"

enum {
    ANSWER_MS = 20000,
    STORM_THREADS = 4,
    STORM_CONNECTS = 4000,
    SESSIONS = 1000,
    FDS_PER_SESSION = 8, /* of both sides, with room to spare */
};

static char scratch[SCRATCH_PATH_BYTES];
static struct config config;
static struct log quiet_log;
static struct fault fault;
static struct broker *broker;

static void config_init(struct config *fresh, const char *name)
{
    *fresh = (struct config){
        .socket_mode = 0660,
        .socket_group = CONFIG_GROUP_UNCHANGED,
        .chunk_bytes = CHUNK_BYTES_MIN,
        .arena_bytes = CONFIG_ARENA_BYTES_MIN,
        .arena_given = true,
        .topics_max = 8,
        .lanes_max = 2048,
        .quiet = true,
    };
    snprintf(fresh->data_dir, sizeof fresh->data_dir, "%s/%s-data", scratch, name);
    snprintf(fresh->run_dir, sizeof fresh->run_dir, "%s/%s-run", scratch, name);
    snprintf(fresh->socket_path, sizeof fresh->socket_path, "%.80s/%.8s.sock", scratch, name);
}

static void suite_begin(void)
{
    scratch_on_tmpfs(scratch);
    config_init(&config, "a");
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_init(&quiet_log, null, false);
    fault = (struct fault){0};
    fake_script = (struct fake_script){0};
}

TestSuite(broker, .init = suite_begin, .timeout = 120);

static void start(void)
{
    const int error = broker_start(&broker, &config, &quiet_log, &fault);
    cr_assert_eq(error, 0, "%s", fault.text);
}

/* The start fails so, and its words contain that part; nothing is left of it. */
static void start_fails(int error, const char *part)
{
    const struct process_counts before = process_count(getpid());
    const int answer = broker_start(&broker, &config, &quiet_log, &fault);
    cr_expect_eq(answer, error, "got %s: %s", strerror(-answer), fault.text);
    cr_expect_eq(fault.error, error);
    cr_expect_not_null(strstr(fault.text, part), "got: %s", fault.text);
    const struct process_counts after = process_count(getpid());
    cr_expect_eq(after.fds, before.fds);
    cr_expect_eq(after.threads, before.threads);
    cr_expect_eq(maps_of(scratch), 0);
}

static unsigned files_in(const char *path)
{
    unsigned count = 0;
    DIR *listing = opendir(path);
    cr_assert_not_null(listing);
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(listing);
    return count;
}

/* A client that waits for answers, in this process or another. */

static int client_try_connect(const struct config *to)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, to->socket_path, sizeof address.sun_path);
    const int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (client >= 0 && connect(client, (const struct sockaddr *)&address, sizeof address) != 0) {
        const int error = errno;
        close(client);
        return -error;
    }
    return client >= 0 ? client : -errno;
}

static int answer_wait(int client, union control_message *answer, int *fds, size_t fd_count)
{
    struct pollfd look = {.fd = client, .events = POLLIN};
    if (poll(&look, 1, ANSWER_MS) != 1) {
        return -ETIMEDOUT;
    }
    return control_receive(client, answer, fds, fd_count);
}

static int say_hello(int client, union control_message *answer, int fds[2])
{
    union control_message hello;
    control_begin(&hello, CONTROL_HELLO, sizeof hello.hello, 1);
    hello.hello.digest = layout_digest();
    const int error = control_send(client, &hello, NULL, 0);
    return error != 0 ? error : answer_wait(client, answer, fds, 2);
}

static int ask_lane(int client, union control_message *answer, int fds[2])
{
    union control_message open;
    control_begin(&open, CONTROL_LANE_OPEN, sizeof open.lane, 2);
    open.lane.sq_bytes = SQ_BYTES_MIN;
    const int error = control_send(client, &open, NULL, 0);
    return error != 0 ? error : answer_wait(client, answer, fds, 2);
}

static int client_open_to(const struct config *to)
{
    union control_message answer;
    int fds[2];
    const int client = client_try_connect(to);
    cr_assert_geq(client, 0, "cannot connect: %s", strerror(-client));
    cr_assert_eq(say_hello(client, &answer, fds), 0);
    close(fds[0]);
    close(fds[1]);
    return client;
}

static int client_open(void)
{
    return client_open_to(&config);
}

static void client_lane_open(int client, int fds[2])
{
    union control_message answer;
    cr_assert_eq(ask_lane(client, &answer, fds), 0);
    cr_assert_eq(answer.header.kind, CONTROL_LANE_OPENED);
}

/* The broker's counters, as a client sees them. */
static struct mapping directory_map(void)
{
    union control_message answer;
    struct mapping mapping;
    int fds[2];
    const int client = client_try_connect(&config);
    cr_assert_eq(say_hello(client, &answer, fds), 0);
    cr_assert_eq(mapping_open(&mapping, fds[0], answer.welcome.directory_bytes, false), 0);
    close(fds[0]);
    close(fds[1]);
    close(client);
    return mapping;
}

static uint64_t counter_in(const struct mapping *directory, enum counter counter)
{
    return atom_load_relaxed(&directory_counter(directory->base, counter)->value);
}

/* Life and death. */

Test(broker, nothing_is_left_after_a_stop)
{
    start(); /* the first one makes what libraries keep, such as the C library's thread stacks */
    cr_assert_eq(broker_stop(broker), 0);
    const struct process_counts before = process_count(getpid());
    for (int round = 0; round < 20; round++) {
        int lane[2];
        start();
        cr_expect_eq(process_count(getpid()).threads, before.threads + 2);
        const int client = client_open();
        const int silent = client_try_connect(&config);
        client_lane_open(client, lane);
        cr_assert_eq(broker_stop(broker), 0);
        union control_message none;
        char byte;
        cr_expect_eq(answer_wait(client, &none, NULL, 0), -EPIPE);
        cr_expect_eq(answer_wait(silent, &none, NULL, 0), -EPIPE);
        cr_expect_eq(recv(lane[1], &byte, 1, 0), 0);
        cr_expect_eq(client_try_connect(&config), -ENOENT);
        close(lane[0]);
        close(lane[1]);
        close(client);
        close(silent);
        const struct process_counts after = process_count(getpid());
        cr_assert_eq(after.fds, before.fds);
        cr_assert_eq(after.threads, before.threads);
        cr_assert_eq(maps_of(scratch) + maps_of(MAPS_LANE), 0);
        cr_assert_eq(files_in(scratch), 0);
    }
}

Test(broker, two_of_them_live_in_one_process)
{
    static struct config other_config;
    struct broker *other;
    start();
    config_init(&other_config, "b");
    cr_assert_eq(broker_start(&other, &other_config, &quiet_log, &fault), 0, "%s", fault.text);
    int lane[2];
    const int client = client_open();
    const int other_client = client_open_to(&other_config);
    cr_assert_eq(broker_stop(broker), 0);
    client_lane_open(other_client, lane); /* the other one goes on */
    close(lane[0]);
    close(lane[1]);
    close(client);
    close(other_client);
    cr_assert_eq(broker_stop(other), 0);
    cr_expect_eq(files_in(scratch), 0);
}

Test(broker, engine_that_does_not_start_is_the_answer)
{
    fake_script.start_error = -EBADMSG;
    start_fails(-EBADMSG, "the fake engine does not start");
    cr_expect_eq(files_in(scratch), 0);
}

Test(broker, engine_that_ends_by_itself_is_told_and_nobody_is_served)
{
    fake_script.end_error = -EIO;
    start();
    struct pollfd look = {.fd = broker_wait_fd(broker), .events = POLLIN};
    const int client = client_open();
    cr_expect_eq(poll(&look, 1, 0), 0);
    fake_engine_fail();
    cr_expect_eq(poll(&look, 1, ANSWER_MS), 1);
    cr_expect_eq(client_try_connect(&config), -ENOENT);
    cr_expect_eq(broker_stop(broker), -EIO);
    union control_message none;
    cr_expect_eq(answer_wait(client, &none, NULL, 0), -EPIPE);
    close(client);
    cr_expect_eq(files_in(scratch), 0);
}

Test(broker, error_of_the_last_flush_is_the_result_of_the_stop)
{
    fake_script.end_error = -ENOSPC;
    start();
    cr_expect_eq(broker_stop(broker), -ENOSPC);
}

Test(broker, its_threads_take_no_signals)
{
    start();
    DIR *tasks = opendir("/proc/self/task");
    unsigned blocking = 0;
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300];
        char line[256];
        char name[64] = "";
        unsigned long long blocked = 0;
        snprintf(path, sizeof path, "/proc/self/task/%.16s/status", task->d_name);
        FILE *status = fopen(path, "re");
        while (status != NULL && fgets(line, sizeof line, status) != NULL) {
            sscanf(line, "Name: %63s", name);
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        if (status != NULL) {
            fclose(status);
        }
        if (strcmp(name, "tusk-control") == 0) {
            blocking++;
            cr_expect_neq(blocked & (1ULL << (SIGTERM - 1)), 0);
            cr_expect_neq(blocked & (1ULL << (SIGUSR1 - 1)), 0);
        }
    }
    closedir(tasks);
    cr_expect_eq(blocking, 1);
    sigset_t own;
    pthread_sigmask(SIG_SETMASK, NULL, &own);
    cr_expect_not(sigismember(&own, SIGTERM));
    cr_assert_eq(broker_stop(broker), 0);
}

/* Where it runs. */

Test(broker, run_directory_must_be_on_tmpfs_and_its_own)
{
    char path[CONFIG_PATH_BYTES];
    memcpy(path, config.run_dir, sizeof path);

    snprintf(config.run_dir, sizeof config.run_dir, "/proc");
    start_fails(-EINVAL, "not on tmpfs");
    snprintf(config.run_dir, sizeof config.run_dir, "%.200s/no/such", scratch);
    start_fails(-ENOENT, "--run-dir");

    memcpy(config.run_dir, path, sizeof path);
    cr_assert_eq(mkdir(path, 0755), 0);
    cr_assert_eq(chmod(path, 0755), 0);
    start_fails(-EPERM, "mode 0755, expected 0700");
    cr_assert_eq(chmod(path, 0700), 0);
    if (geteuid() == 0) {
        cr_assert_eq(chown(path, 1, (gid_t)-1), 0);
        start_fails(-EPERM, "belongs to uid 1");
        cr_assert_eq(chown(path, 0, (gid_t)-1), 0);
    }
    cr_assert_eq(rmdir(path), 0);
    cr_assert_eq(symlink("/dev/shm", path), 0);
    start_fails(-ENOTDIR, path);
    cr_assert_eq(unlink(path), 0);
    start();
    struct stat status;
    cr_assert_eq(stat(path, &status), 0);
    cr_expect_eq(status.st_mode & 07777, 0700);
    cr_assert_eq(broker_stop(broker), 0);
}

Test(broker, what_a_killed_one_left_is_taken_over)
{
    const pid_t killed = fork();
    cr_assert_geq(killed, 0);
    if (killed == 0) {
        _exit(broker_start(&broker, &config, &quiet_log, &fault) == 0 ? kill(getpid(), SIGKILL)
                                                                      : 1);
    }
    int status;
    cr_assert_eq(waitpid(killed, &status, 0), killed);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(access(config.socket_path, F_OK), 0);
    char path[CONFIG_PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/pins-1", config.run_dir);
    scratch_write(path, "old", 3);
    start();
    cr_expect_neq(access(path, F_OK), 0);
    const int client = client_open();
    close(client);
    cr_assert_eq(broker_stop(broker), 0);
    cr_expect_eq(files_in(scratch), 0);
}

Test(broker, second_one_is_refused_and_the_first_one_goes_on)
{
    static struct config first;
    struct broker *second;
    start();
    first = config;
    cr_expect_eq(broker_start(&second, &config, &quiet_log, &fault), -EADDRINUSE);
    cr_expect_not_null(strstr(fault.text, "another broker listens"), "got: %s", fault.text);

    snprintf(config.socket_path, sizeof config.socket_path, "%.80s/other.sock", scratch);
    cr_expect_eq(broker_start(&second, &config, &quiet_log, &fault), -EBUSY);
    cr_expect_not_null(strstr(fault.text, first.run_dir), "got: %s", fault.text);
    cr_expect_not_null(strstr(fault.text, "--data"), "got: %s", fault.text);
    cr_expect_neq(access(config.socket_path, F_OK), 0);

    int lane[2];
    const int client = client_open_to(&first);
    client_lane_open(client, lane);
    close(lane[0]);
    close(lane[1]);
    close(client);
    cr_assert_eq(broker_stop(broker), 0);
    cr_expect_eq(files_in(scratch), 0);
}

Test(broker, arena_fits_into_a_small_tmpfs_or_says_what_is_free)
{
    char small[SCRATCH_PATH_BYTES];
    if (!scratch_mount(small, UINT64_C(64) << 20)) {
        cr_skip_test("mounting a tmpfs is not allowed here");
    }
    snprintf(config.run_dir, sizeof config.run_dir, "%s/run", small);
    config.arena_bytes = UINT64_C(128) << 20;
    start_fails(-ENOSPC, "wants 128MiB");
    cr_expect_not_null(strstr(fault.text, "--arena"));
    cr_expect_not_null(strstr(fault.text, "KiB free"));
    cr_expect_eq(files_in(small), 0);

    config.arena_given = false;
    start();
    union control_message answer;
    int fds[2];
    const int client = client_try_connect(&config);
    cr_assert_eq(say_hello(client, &answer, fds), 0);
    cr_expect_eq(answer.welcome.arena_bytes, UINT64_C(16) << 20);
    close(fds[0]);
    close(fds[1]);
    close(client);
    cr_assert_eq(broker_stop(broker), 0);

    /* A tmpfs in which not even the least arena has room, and chunks that ask for more. */
    config.chunk_bytes = CHUNK_BYTES_MAX;
    char *filler = calloc(1, 8 << 20);
    char path[SCRATCH_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/filler", small);
    scratch_write(path, filler, 8 << 20);
    start_fails(-ENOSPC, "wants 64MiB");
    free(filler);
}

/* The socket. */

Test(broker, socket_has_the_mode_and_group_that_were_asked_for)
{
    struct stat status;
    const mode_t mask = umask(0077);
    char dir[CONFIG_SOCKET_PATH_BYTES];
    snprintf(dir, sizeof dir, "%.80s/sub", scratch);
    snprintf(config.socket_path, sizeof config.socket_path, "%.90s/t.sock", dir);
    config.socket_mode = 0606;
    config.socket_group = geteuid() == 0 ? 12 : getegid();
    start();
    umask(mask);
    cr_assert_eq(stat(config.socket_path, &status), 0);
    cr_expect(S_ISSOCK(status.st_mode));
    cr_expect_eq(status.st_mode & 07777, 0606);
    cr_expect_eq(status.st_gid, config.socket_group);
    cr_assert_eq(stat(dir, &status), 0);
    cr_expect_eq(status.st_mode & 07777, 0755);
    cr_assert_eq(broker_stop(broker), 0);
    cr_expect_eq(files_in(dir), 0);
}

Test(broker, socket_that_cannot_be_made_is_said)
{
    snprintf(config.socket_path, sizeof config.socket_path, "%.60s/no/such/t.sock", scratch);
    start_fails(-ENOENT, "--socket");
    config_init(&config, "a");
    scratch_write(config.socket_path, "precious", 8);
    start_fails(-EADDRINUSE, "is not a socket");
    size_t bytes;
    char *kept = scratch_read(config.socket_path, &bytes);
    cr_expect_eq(bytes, 8);
    free(kept);
}

Test(broker, socket_of_another_program_is_left_alone)
{
    static const int types[] = {SOCK_SEQPACKET, SOCK_STREAM};
    for (int i = 0; i < 2; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, config.socket_path, sizeof address.sun_path);
        const int live = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(live, (const struct sockaddr *)&address, sizeof address), 0);
        cr_assert_eq(listen(live, 1), 0);
        start_fails(-EADDRINUSE, "another program listens");
        cr_expect_eq(access(config.socket_path, F_OK), 0);
        close(live); /* now it is stale */
        start();
        const int client = client_open();
        close(client);
        cr_assert_eq(broker_stop(broker), 0);
    }
}

Test(broker, socket_that_somebody_put_in_its_place_is_left_alone)
{
    start();
    cr_assert_eq(unlink(config.socket_path), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, config.socket_path, sizeof address.sun_path);
    const int other = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(other, (const struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(broker_stop(broker), 0);
    cr_expect_eq(access(config.socket_path, F_OK), 0);
    close(other);
}

/* Clients' deaths and floods. */

Test(broker, dead_client_is_noticed_although_its_child_holds_its_sockets)
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
        const int connection = client_try_connect(&config);
        if (say_hello(connection, &answer, fds) != 0 || ask_lane(connection, &answer, fds) != 0) {
            _exit(1);
        }
        const pid_t child = fork(); /* inherits everything */
        if (child == 0) {
            pause();
        }
        if (write(said[1], &child, sizeof child) != sizeof child) {
            _exit(1);
        }
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

/* Connects and goes away at some point of the conversation; returns what it has seen wrong. */
static int storm_visit(unsigned *seed)
{
    union control_message answer;
    int fds[2];
    int lane[2];
    const int client = client_try_connect(&config);
    if (client < 0) {
        return client;
    }
    const int until = rand_r(seed) % 8;
    int error = 0;
    if (until == 1) {
        error = send(client, &answer, 10, MSG_NOSIGNAL) == 10 ? 0 : -errno;
    } else if (until > 1) {
        error = say_hello(client, &answer, fds);
        if (error == 0 && answer.header.kind == CONTROL_WELCOME) {
            close(fds[0]);
            close(fds[1]);
        }
    }
    if (error == 0 && until > 6) {
        error = ask_lane(client, &answer, lane);
        if (error == 0) {
            close(lane[0]);
            close(lane[1]);
        }
    }
    close(client);
    return error;
}

static void *storm(void *argument)
{
    unsigned seed = *(const unsigned *)argument;
    for (int i = 0; i < STORM_CONNECTS; i++) {
        const int error = storm_visit(&seed);
        if (error != 0) {
            return (void *)(intptr_t)error;
        }
    }
    return NULL;
}

Test(broker, storm_of_connections_leaves_nothing)
{
    pthread_t threads[STORM_THREADS];
    unsigned seeds[STORM_THREADS];
    start();
    struct mapping directory = directory_map();
    wait_until(counter_in(&directory, COUNTER_SESSIONS) == 0, ANSWER_MS);
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
    wait_until(process_count(getpid()).fds == before.fds, ANSWER_MS);
    wait_until(maps_of(MAPS_LANE) == 0, ANSWER_MS);
    cr_expect_gt(counter_in(&directory, COUNTER_SESSIONS_OPENED), STORM_CONNECTS);
    mapping_close(&directory);
    cr_assert_eq(broker_stop(broker), 0);
}

Test(broker, thousand_sessions_live_side_by_side)
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
    wait_until(counter_in(&directory, COUNTER_SESSIONS) == 0, ANSWER_MS);
    for (int i = 0; i < SESSIONS; i++) {
        clients[i] = client_open();
        client_lane_open(clients[i], lanes[i]);
    }
    cr_expect_eq(counter_in(&directory, COUNTER_SESSIONS), SESSIONS);
    const uint64_t cpu_ms = process_count(getpid()).cpu_ms;
    usleep(300000); /* idle ones cost nothing */
    cr_expect_leq(process_count(getpid()).cpu_ms - cpu_ms, 30);
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
            const int client = client_try_connect(&config);
            if (told && answer_wait(client, &answer, NULL, 0) != -EPIPE) {
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

Test(broker, connections_are_refused_on_the_reserve_when_descriptors_run_out)
{
    start();
    const int next = dup(0);
    close(next);
    descriptors_run_out((rlim_t)next + 2, true); /* the pipe takes them */
    cr_assert_eq(broker_stop(broker), 0);
}

Test(broker, listener_pauses_when_not_even_the_reserve_helps)
{
    start();
    descriptors_run_out(3, false);
    cr_assert_eq(broker_stop(broker), 0);
}
