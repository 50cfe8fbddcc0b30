/*
 * Crew: processes and threads that work at the same time and leave their results in shared memory.
 * Runs on:    crew_run() on the benchmark's main thread; the verbs of a role in the processes.
 * Invariants: everybody has prepared before anybody begins; no process of a crew outlives
 *             crew_run(), and none outlives the benchmark.
 * Not here:   what they do (the bench_*.c), the broker (private_broker.h).
 */
#ifndef TUSK_BENCH_CREW_H
#define TUSK_BENCH_CREW_H

#include "bench/calls.h"
#include "bench/histogram.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <tusk/tusk.h>

#define CREW_ROLES_MAX 4

/* What one thread found out. */
struct worker_result {
    uint64_t operations;
    uint64_t entries;
    uint64_t bytes;           /* of payload */
    uint64_t begin_ns;        /* when it began to work */
    uint64_t end_ns;          /* when it had ended, its last flush included, if it did not say */
    uint64_t cpu_ns;          /* of its thread, while it worked; whole: of its process */
    pid_t process;            /* that it worked in */
    struct calls_count calls; /* meanwhile, if the crew counts them */
    struct histogram latency_ns;
    struct histogram late_ns; /* open loop: from when an entry was due until it was sent */
};

/* What all processes of a crew see. */
struct crew_shared {
    alignas(128) _Atomic uint32_t ready; /* threads that have prepared */
    alignas(128) _Atomic uint32_t go;
    alignas(128) _Atomic uint32_t stop;      /* the time is up */
    alignas(128) _Atomic uint32_t producing; /* threads that still produce */
    alignas(128) _Atomic uint64_t produced;  /* entries of those that have ended */
    alignas(128) _Atomic uint64_t followed;  /* entries that followers have seen so far, in sum */
    alignas(128) struct worker_result results[];
};

struct worker {
    unsigned number;   /* within its role: 0 to processes * threads - 1 */
    struct tusk *tusk; /* of its process; NULL if the role doesn't connect */
    struct crew_shared *shared;
    struct worker_result *result;
    const void *arg; /* of the role */
    void *state;     /* of the role's verbs */
};

/* What some of the processes do. Verbs return 0 or worker_fail(); prepare and finish may be
 * NULL. */
struct role {
    unsigned processes;
    unsigned threads;
    bool offline;                /* needs no broker */
    bool produces;               /* counts in crew_shared.producing */
    bool relays;                 /* does a broker's work: its cost is the broker's */
    bool whole;                  /* its cost is of all threads of its processes, libraries' too */
    struct tusk_options options; /* socket_path and idle are the crew's */
    int (*prepare)(struct worker *worker);
    int (*work)(struct worker *worker);
    void (*finish)(struct worker *worker);
    const void *arg;
};

struct crew {
    const struct role *roles;
    size_t roles_count;
    const char *socket;
    uint32_t idle;
    double duration_s;
    pid_t broker; /* whose cost is of interest; 0: nobody's */
    bool count_calls;
    uint64_t broker_cpu_ns; /* while the crew worked; set by crew_run() */
    struct calls_count broker_calls;
    struct crew_shared *shared; /* mapped by crew_run() */
    size_t shared_bytes;
    unsigned workers_count;
};

/* Fork, prepare, begin together, stop after duration_s, wait for all. 0; -EINTR after a signal that
 * asks to end; or another error, which has been explained on stderr. */
int crew_run(struct crew *crew);

/* The results of a role: the first of processes * threads. Until crew_deinit(). */
const struct worker_result *crew_results(const struct crew *crew, size_t role);

/* Sums over a role; the time from the first one's beginning to the last one's end. */
struct crew_sum {
    uint64_t operations;
    uint64_t entries;
    uint64_t bytes;
    uint64_t begin_ns;
    uint64_t end_ns;
};
struct crew_sum crew_sum(const struct crew *crew, size_t role);

/* What all producing roles, all others and the broker (or who does its work) used. */
struct crew_cost {
    bool brokered; /* there is one */
    struct crew_share {
        uint64_t entries; /* 0 for the broker */
        uint64_t cpu_ns;
        struct calls_count calls;
    } producers, consumers, broker;
};
struct crew_cost crew_cost(const struct crew *crew);

/* All latencies of a role in one histogram, and how late its entries were sent. */
void crew_latency(const struct crew *crew, size_t role, struct histogram *latency_ns);
void crew_late(const struct crew *crew, size_t role, struct histogram *late_ns);

void crew_deinit(struct crew *crew);

/* Say what failed, with the error of libtusk or the system (negative); returns error. */
int worker_fail(const struct worker *worker, int error, const char *what);

/* Sleep until the time is up. */
void worker_sleep(const struct worker *worker);

/* End the measurement before its time is up. */
void worker_stop_all(const struct worker *worker);

/* Work whose rate is asked for is done at least once: a worker may get a core only after the end. */
static inline bool worker_stopped(const struct worker *worker)
{
    return atomic_load_explicit(&worker->shared->stop, memory_order_relaxed) != 0;
}

#endif
