/*
 * Peer: see peer.h.
 */
#include "bench/peer.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define LOOKS_YIELDING 2000
#define LOOK_SLEEP_NS 50000

int peer_fail(const struct peer_end *end, int error, const char *what)
{
    fprintf(stderr, "sender or receiver %u of channel %u: %s: %s\n", end->number, end->channel,
            what, strerror(-error));
    return error;
}

int peer_fail_because(const struct peer_end *end, const char *what, const char *why)
{
    fprintf(stderr, "sender or receiver %u of channel %u: %s: %s\n", end->number, end->channel,
            what, why);
    return -EPROTO;
}

bool peer_program_missing(const char *program, const char *package, char *reason, size_t bytes)
{
    const char *path = getenv("PATH");
    char *folders = strdup(path ? path : "/usr/bin:/usr/sbin");
    char *rest = folders;
    bool found = false;

    for (char *folder = strsep(&rest, ":"); folder && !found; folder = strsep(&rest, ":")) {
        char file[PATH_MAX];
        found = snprintf(file, sizeof file, "%s/%s", folder, program) < (int)sizeof file &&
                access(file, X_OK) == 0;
    }
    free(folders);
    if (!found) {
        snprintf(reason, bytes, "%s is not in PATH (%s)", program, package);
    }
    return !found;
}

int peer_apart(struct peer_job *job, int (*verb)(struct peer_job *job))
{
    const pid_t parent = getpid();
    int status = 0;

    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(getppid() == parent && verb(job) == 0 ? EX_OK : EX_SOFTWARE);
    }
    if (pid < 0) {
        perror("making a process");
        return -errno;
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == EX_OK ? 0 : -ECHILD;
}

void peer_look_again(unsigned *looks)
{
    const struct timespec pause = {.tv_nsec = LOOK_SLEEP_NS};

    if (++*looks < LOOKS_YIELDING) {
        sched_yield();
    } else {
        nanosleep(&pause, NULL);
    }
}
