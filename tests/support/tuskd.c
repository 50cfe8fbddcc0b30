/*
 * Tuskd: see tuskd.h.
 * Runs on:    the test's main thread.
 * Invariants: the pipe behind --ready-fd is the only thing a start waits for: a byte means ready,
 *             end of file means that it ended.
 * Not here:   see tuskd.h.
 */
#include "tests/support/tuskd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/deadline.h"
#include "tests/support/forbid.h"
#include "tests/support/program.h"

enum { TUSKD_MAX = 16, ARGUMENTS_MAX = 64, LOG_TAIL_BYTES = 6000, READY_FD = 3 };

static struct tuskd brokers[TUSKD_MAX];
static size_t brokers_count;

/* Brokers and tools are to see what the test says and nothing of the caller's. */
static void environment_clear(void)
{
    static const char *const names[] = {
        "TUSK_SOCKET",  "TUSK_DATA_DIR",    "TUSK_RUN_DIR",  "TUSK_CONFIG",
        "TUSK_FSYNC",   "TUSK_NAMESPACE",   "TUSK_ARENA",    "TUSK_CHUNK",
        "TUSK_SEGMENT", "TUSK_IDLE",        "TUSK_QUIET",    "TUSK_BACKEND",
        "TUSK_DIRECT",  "TUSK_CONSISTENCY", "NOTIFY_SOCKET", "XDG_RUNTIME_DIR"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)unsetenv(names[i]);
    }
}

struct tuskd *tuskd_new(void)
{
    if (brokers_count == 0) {
        environment_clear();
    }
    check(brokers_count < TUSKD_MAX);
    deadline_default();
    check_explain_with(tuskd_print_logs);
    struct tuskd *tuskd = &brokers[brokers_count];
    char dir[SCRATCH_PATH_BYTES];
    scratch_on_disk(dir);
    scratch_on_tmpfs(tuskd->run_dir);
    memcpy(tuskd->dir, dir, sizeof dir);
    (void)snprintf(tuskd->data, sizeof tuskd->data, "%s/data", dir);
    (void)snprintf(tuskd->socket, sizeof tuskd->socket, "%s/tusk.sock", dir);
    (void)snprintf(tuskd->log, sizeof tuskd->log, "%s/log", dir);
    brokers_count++;
    return tuskd;
}

static size_t split(char *text, const char *words[], size_t count)
{
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        check(count + 1 < ARGUMENTS_MAX);
        words[count++] = word;
    }
    words[count] = NULL;
    return count;
}

/* An option that the caller of all tests chose for every broker, unless this test chooses it. */
static size_t add_from_environment(const char *words[], size_t count, const char *options,
                                   const char *option, const char *variable)
{
    const char *value = getenv(variable);
    if (value == NULL || strstr(options, option) != NULL) {
        return count;
    }
    words[count++] = option;
    words[count++] = value;
    return count;
}

static void tuskd_exec(struct tuskd *tuskd, const char *options, int ready_fd, pid_t parent)
{
    char text[2][1024] = {"", ""};
    const char *arguments[ARGUMENTS_MAX] = {
        program_tuskd(), "--data",       tuskd->data,  "--socket", tuskd->socket,
        "--run-dir",     tuskd->run_dir, "--ready-fd", "3",
    };
    size_t count = 9;
    count = add_from_environment(arguments, count, options, "--backend", "TUSK_TEST_BACKEND");
    count = add_from_environment(arguments, count, options, "--direct", "TUSK_TEST_DIRECT");
    if (strstr(options, "--arena") == NULL) {
        (void)snprintf(text[0], sizeof text[0], "%s", TUSKD_OPTIONS_DEFAULT);
    }
    (void)snprintf(text[1], sizeof text[1], "%s", options);
    count = split(text[0], arguments, count);
    (void)split(text[1], arguments, count);
    const int log = open(tuskd->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)dup2(nothing, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)dup2(ready_fd, READY_FD);
    (void)close_range(READY_FD + 1, ~0U, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    if (tuskd->forbidden_error != 0 &&
        forbid_call(tuskd->forbidden_call, tuskd->forbidden_error) != 0) {
        (void)dprintf(STDERR_FILENO, "cannot forbid a system call: %m\n");
        _exit(127);
    }
    program_replace(arguments);
    (void)dprintf(STDERR_FILENO, "cannot run %s: %m\n", arguments[0]);
    _exit(127);
}

/* Start the process; returns the end of the pipe on which it says that it is ready. */
static int tuskd_spawn(struct tuskd *tuskd, const char *options)
{
    int ends[2];
    check(tuskd->pid == 0);
    check(pipe2(ends, O_CLOEXEC) == 0);
    const pid_t parent = getpid();
    tuskd->pid = fork();
    check(tuskd->pid >= 0);
    if (tuskd->pid == 0) {
        tuskd_exec(tuskd, options, ends[1], parent);
    }
    (void)close(ends[1]);
    return ends[0];
}

/* Returns whether the broker got ready; if it ended instead, its status is in *status. */
static bool tuskd_launch(struct tuskd *tuskd, const char *options, int *status)
{
    const int ready = tuskd_spawn(tuskd, options);
    char byte;
    deadline_doing("the broker to get ready");
    const ssize_t count = read(ready, &byte, 1);
    check(count != 1 || read(ready, &byte, 1) == 0); /* it says so once and closes its end */
    (void)close(ready);
    if (count != 1) {
        deadline_doing("the broker to end");
        check(waitpid(tuskd->pid, status, 0) == tuskd->pid);
        tuskd->pid = 0;
    }
    deadline_doing(NULL);
    return count == 1;
}

void tuskd_restart(struct tuskd *tuskd, const char *options)
{
    int status = 0;
    if (!tuskd_launch(tuskd, options, &status)) {
        check_failed(__FILE__, __LINE__, "tuskd did not get ready: %s", program_ending(status));
    }
}

struct tuskd *tuskd_start(const char *options)
{
    struct tuskd *tuskd = tuskd_new();
    tuskd_restart(tuskd, options);
    return tuskd;
}

int tuskd_try(struct tuskd *tuskd, const char *options)
{
    int status = 0;
    return tuskd_launch(tuskd, options, &status);
}

int tuskd_refusal(struct tuskd *tuskd, const char *options, const char **text)
{
    int status = 0;
    (void)truncate(tuskd->log, 0);
    if (tuskd_launch(tuskd, options, &status)) {
        check_failed(__FILE__, __LINE__, "tuskd got ready with %s", options);
    }
    *text = tuskd_log(tuskd);
    check_say(WIFEXITED(status), "tuskd %s instead of refusing", program_ending(status));
    return WEXITSTATUS(status);
}

const char *tuskd_log(struct tuskd *tuskd)
{
    static char *text;
    size_t bytes;
    free(text);
    text = scratch_read(tuskd->log, &bytes);
    return text;
}

static void tuskd_check_log(struct tuskd *tuskd)
{
    const char *text = tuskd_log(tuskd);
    check_say(strstr(text, "Sanitizer") == NULL && strstr(text, "runtime error:") == NULL,
              "a sanitizer has found something in the broker");
}

void tuskd_stop(struct tuskd *tuskd)
{
    int status = 0;
    check(tuskd->pid > 0);
    check(kill(tuskd->pid, SIGTERM) == 0);
    deadline_doing("the broker to end after SIGTERM");
    check(waitpid(tuskd->pid, &status, 0) == tuskd->pid);
    deadline_doing(NULL);
    tuskd->pid = 0;
    check_say(WIFEXITED(status) && WEXITSTATUS(status) == 0, "tuskd %s after SIGTERM",
              program_ending(status));
    tuskd_check_log(tuskd);
}

void tuskd_kill(struct tuskd *tuskd)
{
    int status = 0;
    check(tuskd->pid > 0);
    check(kill(tuskd->pid, SIGKILL) == 0);
    check(waitpid(tuskd->pid, &status, 0) == tuskd->pid);
    tuskd->pid = 0;
    check_say(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "tuskd %s before it was killed",
              program_ending(status));
    tuskd_check_log(tuskd);
}

void tuskd_restart_killed(struct tuskd *tuskd, const char *options, uint64_t life_us)
{
    const struct timespec life = {.tv_sec = (time_t)(life_us / 1000000U),
                                  .tv_nsec = (long)(life_us % 1000000U) * 1000};
    const int ready = tuskd_spawn(tuskd, options);
    (void)nanosleep(&life, NULL);
    (void)close(ready);
    tuskd_kill(tuskd);
}

int tuskd_alive(struct tuskd *tuskd)
{
    return tuskd->pid > 0 && waitpid(tuskd->pid, NULL, WNOHANG) == 0;
}

void tuskd_print_logs(void)
{
    static char tail[LOG_TAIL_BYTES];
    for (size_t i = 0; i < brokers_count; i++) {
        const int log = open(brokers[i].log, O_RDONLY | O_CLOEXEC);
        if (log < 0) {
            continue;
        }
        const off_t end = lseek(log, 0, SEEK_END);
        (void)lseek(log, end > LOG_TAIL_BYTES ? end - LOG_TAIL_BYTES : 0, SEEK_SET);
        const ssize_t bytes = read(log, tail, sizeof tail);
        (void)close(log);
        static const char title[] = "---- log of tuskd ----\n";
        if (bytes < 0 || write(STDERR_FILENO, title, sizeof title - 1) < 0 ||
            write(STDERR_FILENO, tail, (size_t)bytes) < 0) {
            return;
        }
    }
}
