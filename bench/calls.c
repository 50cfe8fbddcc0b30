/*
 * Calls: see calls.h. Two counters of raw_syscalls:sys_enter for each thread, told apart by
 * filters.
 */
#include "bench/calls.h"

#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILTER_BYTES 32

static const char *const id_paths[] = {"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
                                       "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/"
                                       "id"};

/* The tracepoint's number: 0 or -errno. */
static int tracepoint_find(uint64_t *id)
{
    unsigned long long number = 0;
    FILE *file = NULL;

    for (size_t i = 0; i < sizeof id_paths / sizeof *id_paths && !file; i++) {
        file = fopen(id_paths[i], "re");
    }
    if (!file) {
        return -errno;
    }
    const int found = fscanf(file, "%llu", &number);
    fclose(file);
    *id = number;
    return found == 1 ? 0 : -ENODATA;
}

/* A counter of a thread's calls that pass the filter: its fd or -errno. */
static int counter_open(uint64_t id, pid_t task, bool inherit, const char *filter)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT, .size = sizeof attr, .config = id, .inherit = inherit};

    const int fd = (int)syscall(SYS_perf_event_open, &attr, task, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (ioctl(fd, PERF_EVENT_IOC_SET_FILTER, filter) < 0) {
        const int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static int task_open(struct calls *calls, uint64_t id, pid_t task, bool inherit)
{
    char filter[FILTER_BYTES];

    if (calls->tasks_count == CALLS_TASKS_MAX) {
        return -E2BIG;
    }
    snprintf(filter, sizeof filter, "id != %d", SYS_sched_yield);
    const int calls_fd = counter_open(id, task, inherit, filter);
    if (calls_fd < 0) {
        return calls_fd;
    }
    snprintf(filter, sizeof filter, "id == %d", SYS_sched_yield);
    const int yields_fd = counter_open(id, task, inherit, filter);
    if (yields_fd < 0) {
        close(calls_fd);
        return yields_fd;
    }
    calls->tasks[calls->tasks_count].calls_fd = calls_fd;
    calls->tasks[calls->tasks_count++].yields_fd = yields_fd;
    return 0;
}

int calls_open_self(struct calls *calls)
{
    uint64_t id = 0;

    *calls = (struct calls){0};
    const int result = tracepoint_find(&id);
    return result < 0 ? result : task_open(calls, id, 0, false);
}

int calls_open_process(struct calls *calls, pid_t pid)
{
    char path[64];
    uint64_t id = 0;

    *calls = (struct calls){0};
    int result = tracepoint_find(&id);
    if (result < 0) {
        return result;
    }
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks) {
        return -errno;
    }
    for (struct dirent *entry = readdir(tasks); entry && result == 0; entry = readdir(tasks)) {
        const pid_t task = (pid_t)strtol(entry->d_name, NULL, 10);
        result = task > 0 ? task_open(calls, id, task, true) : 0;
    }
    closedir(tasks);
    return result;
}

bool calls_possible(const char **why)
{
    struct calls calls;

    const int result = calls_open_self(&calls);
    calls_close(&calls);
    *why = strerror(-result);
    return result == 0;
}

static uint64_t counter_read(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

struct calls_count calls_read(const struct calls *calls)
{
    struct calls_count sum = {0};

    for (unsigned i = 0; i < calls->tasks_count; i++) {
        sum.calls += counter_read(calls->tasks[i].calls_fd);
        sum.yields += counter_read(calls->tasks[i].yields_fd);
    }
    return sum;
}

struct calls_count calls_since(const struct calls *calls, const struct calls_count *before)
{
    struct calls_count sum = calls_read(calls);

    sum.calls -= before->calls;
    sum.yields -= before->yields;
    return sum;
}

void calls_close(struct calls *calls)
{
    for (unsigned i = 0; i < calls->tasks_count; i++) {
        close(calls->tasks[i].calls_fd);
        close(calls->tasks[i].yields_fd);
    }
    calls->tasks_count = 0;
}
