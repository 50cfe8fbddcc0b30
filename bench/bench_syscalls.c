/*
 * bench-syscalls: how many system calls does a client process make for a million appends, and how
 * many for a million reads? Counted by strace, which runs this program again as the client.
 * Runs on:    one thread.
 * Invariants: the counts are of the whole life of the process, its start and end included;
 *             sched_yield, which waits without sleeping, is not counted.
 */
#include "bench/clock.h"
#include "bench/interrupt.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <tusk/tusk.h>
#include <unistd.h>

#define ENTRIES 1000000
#define ENTRY_SIZE 64
#define TOPIC "syscalls"
#define LINE_BYTES 512
#define LOOK_MS 20 /* between two looks whether strace has ended */

enum column { COLUMN_CALLS, COLUMNS };

static const struct report_column columns[COLUMNS] = {
    [COLUMN_CALLS] = {"system calls per million", REPORT_COUNT}};

/* ---- The client, run under strace ------------------------------------------------------------ */

static int submit_all(struct tusk *tusk, struct tusk_topic *topic)
{
    char payload[ENTRY_SIZE] = {0};

    for (int i = 0; i < ENTRIES;) {
        const int result = tusk_submit(topic, payload, sizeof payload, 0);
        if (result < 0 && result != -EAGAIN) {
            return result;
        }
        if (result == -EAGAIN) {
            const int waited = tusk_wait(tusk, -1);
            if (waited < 0) {
                return waited;
            }
        }
        i += result == 0;
    }
    return tusk_flush(tusk, TUSK_COMMITTED, -1);
}

static int append_all(struct tusk *tusk, struct tusk_topic *topic)
{
    char payload[ENTRY_SIZE] = {0};
    int result = 0;

    (void)tusk;
    for (int i = 0; i < ENTRIES && result == 0; i++) {
        result = tusk_append(topic, payload, sizeof payload, NULL);
    }
    return result;
}

static int read_all(struct tusk *tusk, struct tusk_topic *topic)
{
    struct tusk_reader *reader = NULL;
    struct tusk_entry entry;

    (void)tusk;
    int result = tusk_reader_open(topic, NULL, &reader);
    for (int i = 0; i < ENTRIES && result >= 0; i++) {
        result = tusk_reader_next(reader, &entry, -1);
    }
    tusk_reader_close(reader);
    return result < 0 ? result : 0;
}

struct shape {
    const char *name; /* and the argument that makes this program do it */
    int (*run)(struct tusk *tusk, struct tusk_topic *topic);
};

static const struct shape shapes[] = {
    {"submit", submit_all}, {"append", append_all}, {"read", read_all}};

#define SHAPES_COUNT (sizeof shapes / sizeof *shapes)

static int client_run(const char *name, const char *socket)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk_topic *topic = NULL;
    struct tusk *tusk = NULL;

    options.socket_path = socket;
    options.idle = TUSK_IDLE_SPIN;
    int result = tusk_connect(&tusk, &options);
    if (result == 0) {
        result = tusk_topic_open(tusk, TOPIC, NULL, &topic);
    }
    for (size_t i = 0; i < SHAPES_COUNT && result == 0; i++) {
        if (strcmp(name, shapes[i].name) == 0) {
            result = shapes[i].run(tusk, topic);
        }
    }
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", name, tusk_strerror(result));
    }
    tusk_disconnect(tusk);
    return result < 0 ? EX_SOFTWARE : EX_OK;
}

/* ---- strace ---------------------------------------------------------------------------------- */

static _Noreturn void strace_exec(const char *name, const char *socket, const char *output)
{
    char self[PATH_MAX] = {0};
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) {
        _exit(EX_OSERR);
    }
    /* sched_yield is left out in the kernel, so that a client that spins isn't slowed by it */
    execlp("strace", "strace", "-f", "--seccomp-bpf", "-c", "-e", "trace=!sched_yield", "-o",
           output, self, name, socket, (char *)NULL);
    fprintf(stderr, "strace: %s; it counts the calls: install the package strace\n",
            strerror(errno));
    _exit(EX_UNAVAILABLE);
}

/* The calls of strace's line "total". */
static int total_parse(const char *path, double *calls)
{
    FILE *file = fopen(path, "re");
    char line[LINE_BYTES];
    int result = -ENODATA;

    while (file && fgets(line, sizeof line, file)) {
        if (strstr(line, " total") && sscanf(line, "%*s %*s %*s %lf", calls) == 1) {
            result = 0;
        }
    }
    if (file) {
        fclose(file);
    }
    if (result < 0) {
        fprintf(stderr, "strace wrote no line with a total\n");
    }
    return result;
}

/* How the child ended; where this program is asked to end, so is the child: 0, -EINTR or -ECHILD. */
static int child_wait(pid_t pid, int *status)
{
    const struct timespec look = {.tv_nsec = (long)(LOOK_MS * NS_PER_MS)};
    pid_t ended;

    while ((ended = waitpid(pid, status, WNOHANG)) == 0) {
        if (interrupt_pending()) {
            kill(pid, SIGTERM); /* strace ends the client that it has started with it */
            waitpid(pid, status, 0);
            return -EINTR;
        }
        nanosleep(&look, NULL);
    }
    return ended == pid ? 0 : -ECHILD;
}

static int shape_count(const struct private_broker *broker, const char *name, double *calls)
{
    char output[PATH_MAX + sizeof "/strace"];
    int status = 0;

    snprintf(output, sizeof output, "%s/strace", broker->directory);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        strace_exec(name, broker->socket, output);
    }
    const int result = pid < 0 ? -ECHILD : child_wait(pid, &status);
    if (result < 0) {
        return result;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return -ECHILD;
    }
    return total_parse(output, calls);
}

static int run(struct report *report, const struct settings *settings)
{
    struct private_broker broker;

    int result = private_broker_start(&broker, settings, "none", settings->idle);
    for (size_t i = 0; i < SHAPES_COUNT && result == 0; i++) {
        double calls = 0;
        report_begin(report, shapes[i].name,
                     &(struct result_shape){.mode = shapes[i].name,
                                            .processes = 1,
                                            .size_min = ENTRY_SIZE,
                                            .size_max = ENTRY_SIZE,
                                            .fsync = "none",
                                            .idle = settings->idle});
        result = interrupt_pending() ? -EINTR : shape_count(&broker, shapes[i].name, &calls);
        if (result == 0) {
            report_add(report, shapes[i].name, COLUMN_CALLS, calls);
        }
    }
    private_broker_stop(&broker);
    return result;
}

int main(int argc, char **argv)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    if (argc == 3) {
        return client_run(argv[1], argv[2]);
    }
    strcpy(settings.idle, "spin");
    strcpy(settings.fsync, "none");
    settings.size_min = settings.size_max = ENTRY_SIZE;
    settings.runs = 1;
    settings_load(&settings);
    settings_used("BACKEND IDLE");
    settings_check_space(&settings);
    report_open(&report, "bench-syscalls",
                "how many system calls does a client make for a million appends or reads?",
                &settings, columns, COLUMNS);
    printf("%d entries of %d B; the client spins; sched_yield is not counted.\n", ENTRIES,
           ENTRY_SIZE);
    for (unsigned i = 0; i < settings.runs; i++) {
        const int result = run(&report, &settings);
        if (result < 0) {
            return report_close(&report, result);
        }
    }
    return report_close(&report, 0);
}
