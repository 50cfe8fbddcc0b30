/*
 * Private broker: a tuskd of the benchmark's own, with data and shared memory in temporary
 * directories.
 * Runs on:    the benchmark's main thread.
 * Invariants: private_broker_stop() leaves neither process nor file. A failure has been explained
 *             on stderr.
 */
#ifndef TUSK_BENCH_PRIVATE_BROKER_H
#define TUSK_BENCH_PRIVATE_BROKER_H

#include "bench/settings.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct private_broker {
    pid_t pid;                    /* 0: not running */
    char directory[PATH_MAX];     /* data and socket */
    char run_directory[PATH_MAX]; /* shared memory */
    char socket[PATH_MAX];
};

/* Start one with this schedule and idle strategy and wait until it serves. 0 or -errno; stop it
 * in both cases. */
int private_broker_start(struct private_broker *broker, const struct settings *settings,
                         const char *fsync, const char *idle);
void private_broker_stop(struct private_broker *broker);

/* End it and start it again on the same data: after a stop, or, if `killed`, after a SIGKILL. The time
 * that the start took, until it serves, is in *start_ns. */
int private_broker_restart(struct private_broker *broker, const struct settings *settings,
                           const char *fsync, const char *idle, bool killed, uint64_t *start_ns);

/* Memory of its own, not shared with clients. */
uint64_t private_broker_memory_bytes(const struct private_broker *broker);

/* The CPU time that all its threads have used. */
uint64_t private_broker_cpu_ns(const struct private_broker *broker);

#endif
