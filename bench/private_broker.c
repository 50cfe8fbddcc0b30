/*
 * Private broker: see private_broker.h.
 */
#include "bench/private_broker.h"

#include "bench/clock.h"
#include "bench/directory.h"
#include "bench/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define START_TIMEOUT_MS 60000
#define STOP_TIMEOUT_MS 60000

static int problem(int error, const char *what, const char *name)
{
    fprintf(stderr, "%s %s: %s\n", what, name, strerror(error));
    return -error;
}

/* $TUSKD, tuskd beside this program, or the one in PATH. */
static void tuskd_find(char *path, size_t bytes)
{
    const char *named = getenv("TUSKD");

    if (named && *named) {
        snprintf(path, bytes, "%s", named);
        return;
    }
    const ssize_t length = readlink("/proc/self/exe", path, bytes - sizeof "tuskd");
    if (length > 0) {
        path[length] = '\0';
        strcpy(strrchr(path, '/') + 1, "tuskd");
        if (access(path, X_OK) == 0) {
            return;
        }
    }
    snprintf(path, bytes, "tuskd");
}

static _Noreturn void tuskd_exec(const struct private_broker *broker,
                                 const struct settings *settings, const char *fsync,
                                 const char *idle, int ready_fd)
{
    char path[PATH_MAX];
    char data[PATH_MAX + sizeof "/data"];
    char ready_text[16];
    sigset_t none;
    const char *arguments[24] = {"tuskd",
                                 "--data",
                                 data,
                                 "--socket",
                                 broker->socket,
                                 "--run-dir",
                                 broker->run_directory,
                                 "--fsync",
                                 fsync,
                                 "--idle",
                                 idle,
                                 "--ready-fd",
                                 ready_text,
                                 "--quiet"};

    if (settings->backend) {
        size_t count = 0;
        while (arguments[count]) {
            count++;
        }
        arguments[count] = "--backend";
        arguments[count + 1] = settings->backend;
    }
    tuskd_find(path, sizeof path);
    snprintf(data, sizeof data, "%s/data", broker->directory);
    snprintf(ready_text, sizeof ready_text, "%d", ready_fd);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    fcntl(ready_fd, F_SETFD, 0);
    execvp(path, (char *const *)(uintptr_t)arguments);
    problem(errno, "starting the broker (from $TUSKD, beside this program, or in PATH)", path);
    _exit(EX_UNAVAILABLE);
}

/* Wait for the byte that says it serves. */
static int ready_wait(int ready_fd)
{
    char byte = 0;

    const int count = interrupt_wait(ready_fd, START_TIMEOUT_MS);
    if (count < 0 || (count > 0 && read(ready_fd, &byte, 1) == 1)) {
        return count < 0 ? count : 0;
    }
    fprintf(stderr, "the broker %s\n", count == 0 ? "did not start in a minute" : "did not start");
    return count == 0 ? -ETIMEDOUT : -ECHILD;
}

/* Starts the process in directories that are there. */
static int process_start(struct private_broker *broker, const struct settings *settings,
                         const char *fsync, const char *idle)
{
    int ready[2];
    int result;

    if (pipe2(ready, O_CLOEXEC) < 0) {
        return problem(errno, "making a pipe to", "the broker");
    }
    fflush(NULL);
    broker->pid = fork();
    if (broker->pid == 0) {
        tuskd_exec(broker, settings, fsync, idle, ready[1]);
    }
    close(ready[1]);
    if (broker->pid < 0) {
        broker->pid = 0;
        result = problem(errno, "making a process for", "the broker");
    } else {
        result = ready_wait(ready[0]);
    }
    close(ready[0]);
    return result;
}

int private_broker_start(struct private_broker *broker, const struct settings *settings,
                         const char *fsync, const char *idle)
{
    *broker = (struct private_broker){0};
    interrupt_block(); /* nothing may be left behind */
    int result = directory_make(settings->data_dir, broker->directory);
    if (result == 0) {
        result = directory_make("/dev/shm", broker->run_directory);
    }
    if (result < 0) {
        return result;
    }
    if (snprintf(broker->socket, sizeof broker->socket, "%s/tusk.sock", broker->run_directory) <
        0) {
        return problem(EINVAL, "naming a socket in", broker->run_directory);
    }
    return process_start(broker, settings, fsync, idle);
}

/* Wait for the process: 1 if it has ended, 0 after a minute, -EINTR if we are to end as well. */
static int end_wait(pid_t pid)
{
    const int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

    const int result = pidfd < 0 ? 1 : interrupt_wait(pidfd, STOP_TIMEOUT_MS);
    if (pidfd >= 0) {
        close(pidfd);
    }
    return result;
}

/* Who is asked to end doesn't wait for a broker that writes what is going to be deleted. */
static void process_end(struct private_broker *broker, int signal)
{
    if (broker->pid == 0) {
        return;
    }
    kill(broker->pid, signal);
    const int ended = end_wait(broker->pid);
    if (ended == 0) {
        fprintf(stderr, "the broker did not end within a minute; killing it\n");
    }
    if (ended != 1) {
        kill(broker->pid, SIGKILL);
    }
    waitpid(broker->pid, NULL, 0);
    broker->pid = 0;
}

void private_broker_stop(struct private_broker *broker)
{
    process_end(broker, SIGTERM);
    directory_remove(broker->directory);
    directory_remove(broker->run_directory);
}

int private_broker_restart(struct private_broker *broker, const struct settings *settings,
                           const char *fsync, const char *idle, bool killed, uint64_t *start_ns)
{
    process_end(broker, killed ? SIGKILL : SIGTERM);
    /* A stop takes the run directory away. */
    if (mkdir(broker->run_directory, 0700) != 0 && errno != EEXIST) {
        return problem(errno, "making", broker->run_directory);
    }
    unlink(broker->socket);
    const uint64_t begin_ns = clock_now_ns();
    const int result = process_start(broker, settings, fsync, idle);
    *start_ns = clock_now_ns() - begin_ns;
    return result;
}

uint64_t private_broker_memory_bytes(const struct private_broker *broker)
{
    char line[160];
    unsigned long kib = 0;

    snprintf(line, sizeof line, "/proc/%d/status", (int)broker->pid);
    FILE *file = fopen(line, "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "RssAnon: %lu", &kib) == 1) {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return (uint64_t)kib * 1024;
}

uint64_t private_broker_cpu_ns(const struct private_broker *broker)
{
    return clock_process_cpu_ns(broker->pid);
}
