/*
 * tusk run: a command with a broker of its own.
 * Runs on:    the tool's one thread; signals are taken from a descriptor, never by a handler.
 * Invariants: the result is the command's status; when it has ended, broker and files are gone.
 * Not here:   the broker's process and directories (private_broker.h).
 */
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/private_broker.h"
#include "clientlib/cli/verbs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define START_TIMEOUT_MS 30000
#define STATUS_NOT_FOUND 127 /* what a shell gives for a command that it doesn't find */
#define STATUS_NOT_RUN 126   /* … that it cannot run */
#define STATUS_SIGNAL 128    /* + the signal that ended it */

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

struct run_job {
    struct private_broker broker;
    int signal_fd;
    pid_t command; /* 0: not running */
    int status;
};

static int signals_take(int *signal_fd)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) {
        sigaddset(&set, forwarded[i]);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    *signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return *signal_fd < 0 ? fail_system(EX_OSERR, errno, "taking signals") : EX_OK;
}

static bool signal_next(const struct run_job *job, struct signalfd_siginfo *info)
{
    return read(job->signal_fd, info, sizeof *info) == (ssize_t)sizeof *info;
}

/* Until the broker serves: 0, or the exit status with which to give up. */
static int ready_wait(struct run_job *job)
{
    struct pollfd fds[] = {{.fd = job->broker.ready_fd, .events = POLLIN},
                           {.fd = job->signal_fd, .events = POLLIN}};

    for (;;) {
        const int count = poll(fds, 2, START_TIMEOUT_MS);
        if (count < 0 && errno != EINTR) {
            return fail_system(EX_OSERR, errno, "waiting for the private broker");
        }
        if (count == 0) {
            return fail(EX_UNAVAILABLE, "the private broker did not start within %d s",
                        START_TIMEOUT_MS / 1000);
        }
        if (count > 0 && fds[0].revents) {
            return private_broker_ready(&job->broker);
        }
        struct signalfd_siginfo info;
        while (count > 0 && signal_next(job, &info)) {
            if (info.ssi_signo != SIGCHLD) {
                return STATUS_SIGNAL + (int)info.ssi_signo;
            }
        }
    }
}

static _Noreturn void command_exec(const struct run_job *job, char **command)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setenv("TUSK_SOCKET", job->broker.socket, 1);
    execvp(command[0], command);
    _exit(fail_system(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN, errno, "running '%s'",
                      command[0]));
}

static void children_reap(struct run_job *job)
{
    int status = 0;

    if (waitpid(job->command, &status, WNOHANG) == job->command) {
        job->command = 0;
        job->status = WIFSIGNALED(status) ? STATUS_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
    }
    const bool served = job->broker.pid != 0;
    private_broker_reap(&job->broker);
    if (served && job->broker.pid == 0) {
        fail(0, "the private broker ended before the command did");
    }
}

static void signal_handle(struct run_job *job, const struct signalfd_siginfo *info)
{
    if (info->ssi_signo == SIGCHLD) {
        children_reap(job);
    } else if (info->ssi_code != SI_KERNEL) {
        /* one from the terminal has reached the command already */
        kill(job->command, (int)info->ssi_signo);
    }
}

static int command_run(struct run_job *job, char **command)
{
    struct pollfd fds = {.fd = job->signal_fd, .events = POLLIN};

    job->command = fork();
    if (job->command == 0) {
        command_exec(job, command);
    }
    if (job->command < 0) {
        return fail_system(EX_OSERR, errno, "making a process for '%s'", command[0]);
    }
    while (job->command != 0) {
        struct signalfd_siginfo info;
        poll(&fds, 1, -1);
        while (job->command != 0 && signal_next(job, &info)) {
            signal_handle(job, &info);
        }
    }
    return job->status;
}

int verb_run(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "run",
        .operands = "-- COMMAND [ARGUMENT...]",
        .summary = "Run COMMAND with a private broker; TUSK_SOCKET tells it and its children.",
        .details = "The broker's data go with it. Its options can be given as environment "
                   "variables,\nas in TUSK_FSYNC=none; the tuskd that is run is $TUSKD, the one "
                   "beside tusk, or\nthe one in PATH. The exit status is COMMAND's, 128 + the "
                   "signal if one ended it.\n",
        .operands_min = 1,
        .operands_max = -1,
        .operands_end = true,
    };
    struct run_job job = {.signal_fd = -1};
    struct verb_call call;

    if (!verb_begin(&call, &page, NULL, 0, argc, argv)) {
        return call.status;
    }
    int status = signals_take(&job.signal_fd);
    if (status != EX_OK) {
        return status;
    }
    status = private_broker_start(&job.broker);
    if (status == EX_OK) {
        status = ready_wait(&job);
    }
    if (status == EX_OK) {
        status = command_run(&job, call.operands);
    }
    private_broker_stop(&job.broker);
    close(job.signal_fd);
    return status;
}
