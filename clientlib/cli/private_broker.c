/*
 * Private broker: see private_broker.h.
 */
#include "clientlib/cli/private_broker.h"

#include "clientlib/cli/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define SHARED_MEMORY_DIRECTORY "/dev/shm"
#define NAME_TEMPLATE "tusk-run-XXXXXX"
#define STOP_SECONDS 10 /* until SIGTERM becomes SIGKILL */
#define REMOVE_FDS 16   /* that nftw may hold open */

/* ---- Finding tuskd --------------------------------------------------------------------------- */

/* tuskd beside this program, if there is one. */
static bool tuskd_beside(char *path, size_t bytes)
{
    const ssize_t length = readlink("/proc/self/exe", path, bytes - 1);
    if (length <= 0) {
        return false;
    }
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    const size_t room = bytes - (size_t)(slash + 1 - path);
    return (size_t)snprintf(slash + 1, room, "tuskd") < room && access(path, X_OK) == 0;
}

/* What to run: $TUSKD, the one beside this program, or the one in PATH. */
static void tuskd_find(char *path, size_t bytes)
{
    const char *named = getenv("TUSKD");

    if (named && *named) {
        snprintf(path, bytes, "%s", named);
    } else if (!tuskd_beside(path, bytes)) {
        snprintf(path, bytes, "tuskd");
    }
}

/* ---- Directories ----------------------------------------------------------------------------- */

static int directory_make(const char *parent, char *path)
{
    if (snprintf(path, PATH_MAX, "%s/" NAME_TEMPLATE, parent) >= PATH_MAX) {
        path[0] = '\0';
        return fail(EX_CANTCREAT, "%s: too long for a directory's name", parent);
    }
    if (!mkdtemp(path)) {
        const int error = errno;
        path[0] = '\0';
        return fail_system(EX_CANTCREAT, error, "making a temporary directory in %s", parent);
    }
    return EX_OK;
}

static int directories_make(struct private_broker *broker)
{
    const char *temporary = getenv("TMPDIR");
    const size_t socket_max = sizeof((struct sockaddr_un *)NULL)->sun_path;

    int status = directory_make(temporary && *temporary ? temporary : "/tmp", broker->directory);
    if (status == EX_OK) {
        status = directory_make(SHARED_MEMORY_DIRECTORY, broker->run_directory);
    }
    if (status != EX_OK) {
        return status;
    }
    const int length =
        snprintf(broker->socket, sizeof broker->socket, "%s/tusk.sock", broker->directory);
    if (length < 0 || (size_t)length >= socket_max) {
        return fail(EX_CANTCREAT,
                    "%s is too long for a socket's name (%zu bytes at most); set TMPDIR to a "
                    "shorter path",
                    broker->socket, socket_max - 1);
    }
    return EX_OK;
}

static int entry_remove(const char *path, const struct stat *stat, int kind, struct FTW *at)
{
    (void)stat;
    (void)kind;
    (void)at;
    return remove(path);
}

/* The broker may have removed it itself. */
static void directory_remove(char *path)
{
    if (*path && nftw(path, entry_remove, REMOVE_FDS, FTW_DEPTH | FTW_PHYS) != 0 &&
        errno != ENOENT) {
        fail_system(0, errno, "%s: could not be removed", path);
    }
    *path = '\0';
}

/* ---- The process ----------------------------------------------------------------------------- */

static _Noreturn void tuskd_exec(const struct private_broker *broker, const char *path,
                                 int ready_fd, pid_t parent)
{
    char data[PATH_MAX + sizeof "/data"];
    char ready_text[16];
    sigset_t none;

    snprintf(data, sizeof data, "%s/data", broker->directory);
    snprintf(ready_text, sizeof ready_text, "%d", ready_fd);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0); /* a Ctrl-C is for the command, not for the broker it is using */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(EX_UNAVAILABLE);
    }
    const int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
        fcntl(ready_fd, F_SETFD, 0) < 0) {
        _exit(EX_OSERR);
    }
    execlp(path, "tuskd", "--data", data, "--socket", broker->socket, "--run-dir",
           broker->run_directory, "--ready-fd", ready_text, "--quiet", (char *)NULL);
    _exit(fail_system(EX_UNAVAILABLE, errno,
                      "starting the broker '%s' (looked for in $TUSKD, beside tusk, in PATH)",
                      path));
}

int private_broker_start(struct private_broker *broker)
{
    char path[PATH_MAX];
    const pid_t parent = getpid();
    int ready[2];

    *broker = (struct private_broker){.ready_fd = -1};
    const int status = directories_make(broker);
    if (status != EX_OK) {
        return status;
    }
    if (pipe2(ready, O_CLOEXEC) < 0) {
        return fail_system(EX_OSERR, errno, "making a pipe");
    }
    tuskd_find(path, sizeof path);
    broker->ready_fd = ready[0];
    const pid_t pid = fork();
    if (pid == 0) {
        tuskd_exec(broker, path, ready[1], parent);
    }
    close(ready[1]);
    if (pid < 0) {
        return fail_system(EX_OSERR, errno, "making a process for the broker");
    }
    broker->pid = pid;
    return EX_OK;
}

int private_broker_ready(struct private_broker *broker)
{
    char byte = 0;
    const ssize_t got = read(broker->ready_fd, &byte, 1);

    close(broker->ready_fd);
    broker->ready_fd = -1;
    return got == 1 ? EX_OK : fail(EX_UNAVAILABLE, "the private broker did not start");
}

void private_broker_reap(struct private_broker *broker)
{
    if (broker->pid != 0 && waitpid(broker->pid, NULL, WNOHANG) == broker->pid) {
        broker->pid = 0;
    }
}

static void process_stop(struct private_broker *broker)
{
    const struct timespec deadline = {.tv_sec = STOP_SECONDS};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    private_broker_reap(broker);
    if (broker->pid == 0) {
        return;
    }
    kill(broker->pid, SIGTERM);
    while (broker->pid != 0 && sigtimedwait(&child, NULL, &deadline) == SIGCHLD) {
        private_broker_reap(broker);
    }
    private_broker_reap(broker);
    if (broker->pid != 0) {
        fail(0, "the private broker did not end within %d s; killing it", STOP_SECONDS);
        kill(broker->pid, SIGKILL);
        waitpid(broker->pid, NULL, 0);
        broker->pid = 0;
    }
}

void private_broker_stop(struct private_broker *broker)
{
    process_stop(broker);
    if (broker->ready_fd >= 0) {
        close(broker->ready_fd);
        broker->ready_fd = -1;
    }
    directory_remove(broker->directory);
    directory_remove(broker->run_directory);
}
