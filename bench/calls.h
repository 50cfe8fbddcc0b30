/*
 * Calls: counting the system calls of threads with the kernel's own tracepoint, which needs the
 * rights to it (root, or CAP_PERFMON and a readable /sys/kernel/tracing).
 * Runs on:    anywhere.
 * Invariants: counting makes every system call of the machine some 50 ns longer while it is on, so
 *             what is timed is never counted.
 */
#ifndef TUSK_BENCH_CALLS_H
#define TUSK_BENCH_CALLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CALLS_TASKS_MAX 256

struct calls_count {
    uint64_t calls;  /* all but sched_yield */
    uint64_t yields; /* sched_yield: waits without sleeping */
};

struct calls {
    unsigned tasks_count;
    struct {
        int calls_fd;
        int yields_fd;
    } tasks[CALLS_TASKS_MAX];
};

/* May this process count? If not, why: a text of errno's. */
bool calls_possible(const char **why);

/* Count, from now on, those of the calling thread; or of all threads that a process has and will
 * make. 0 or -errno; close in both cases. */
int calls_open_self(struct calls *calls);
int calls_open_process(struct calls *calls, pid_t pid);

struct calls_count calls_read(const struct calls *calls);
struct calls_count calls_since(const struct calls *calls, const struct calls_count *before);
void calls_close(struct calls *calls);

#endif
