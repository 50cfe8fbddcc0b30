/*
 * Proves that a broker starts where it can and says in words where it cannot, that it tells when it
 * fails by itself, and that nothing of it is left after.
 * How: broker_start() with real directories and sockets (broker_stage.h).
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/ledger.h"
#include "tests/support/process.h"
#include "tests/unit/broker_stage.h"
#include "tests/unit/maps.h"

TestSuite(broker, .init = stage_begin, .timeout = 600);

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
        const int silent = control_client_connect(config.socket_path);
        client_lane_open(client, lane);
        cr_assert_eq(broker_stop(broker), 0);
        union control_message none;
        char byte;
        cr_expect_eq(control_client_answer(client, &none, NULL, 0), -EPIPE);
        cr_expect_eq(control_client_answer(silent, &none, NULL, 0), -EPIPE);
        cr_expect_eq(recv(lane[1], &byte, 1, 0), 0);
        cr_expect_eq(control_client_connect(config.socket_path), -ENOENT);
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

Test(broker, directories_that_were_there_stay_and_no_others)
{
    char sub[CONFIG_SOCKET_PATH_BYTES];
    snprintf(sub, sizeof sub, "%.80s/sub", scratch);
    snprintf(config.socket_path, sizeof config.socket_path, "%.90s/a.sock", sub);
    snprintf(config.run_dir, sizeof config.run_dir, "%.90s/a-run", sub);
    start();
    cr_assert_eq(broker_stop(broker), 0);
    cr_assert_eq(access(sub, F_OK), -1, "the socket's directory is left behind");
    cr_assert_eq(mkdir(sub, 0755), 0);
    cr_assert_eq(mkdir(config.run_dir, 0700), 0);
    start();
    cr_assert_eq(broker_stop(broker), 0);
    cr_assert_eq(rmdir(config.run_dir), 0, "it was there before, and is empty again");
    cr_assert_eq(rmdir(sub), 0);
    cr_assert_eq(files_in(scratch), 0);
}

Test(broker, a_start_that_fails_leaves_no_directory_either)
{
    char small[SCRATCH_PATH_BYTES];
    if (!scratch_mount(small, UINT64_C(1) << 20)) {
        cr_skip_test("mounting a tmpfs is not allowed here");
    }
    /* Of its own root and the directory, but not of a lock in that. */
    cr_assert_eq(mount(NULL, small, NULL, MS_REMOUNT, "nr_inodes=2"), 0);
    snprintf(config.socket_path, sizeof config.socket_path, "%.80s/sub/a.sock", small);
    start_fails(-ENOSPC, "cannot lock");
    cr_assert_eq(files_in(small), 0);
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
    cr_expect_eq(control_client_connect(config.socket_path), -ENOENT);
    cr_expect_eq(broker_stop(broker), -EIO);
    union control_message none;
    cr_expect_eq(control_client_answer(client, &none, NULL, 0), -EPIPE);
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
    sigset_t own;
    sigemptyset(&own);
    pthread_sigmask(SIG_SETMASK, &own, NULL);
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
    snprintf(path, sizeof path, "%s/default/pins-1", config.run_dir);
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
    const int client = control_client_connect(config.socket_path);
    cr_assert_eq(control_client_hello(client, &answer, fds), 0);
    const uint64_t others = answer.welcome.directory_bytes + ledger_bytes(config.lanes_max);
    cr_expect_eq(answer.welcome.arena_bytes,
                 align_down(((UINT64_C(64) << 20) - others) / 4, config.chunk_bytes));
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

/* What the directory takes is not there for the arena. */
Test(broker, arena_fits_beside_a_directory_that_takes_most_of_a_tmpfs)
{
    char small[SCRATCH_PATH_BYTES];
    if (!scratch_mount(small, UINT64_C(21) << 20)) {
        cr_skip_test("mounting a tmpfs is not allowed here");
    }
    snprintf(config.run_dir, sizeof config.run_dir, "%s/run", small);
    config.arena_bytes = UINT64_C(128) << 20;
    config.arena_given = false;
    config.topics_max = 16384;
    config.lanes_max = 8192;
    start();
    cr_assert_eq(broker_stop(broker), 0);
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
    cr_expect_eq(access(dir, F_OK), -1);
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
