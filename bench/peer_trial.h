/*
 * Peer trial: one measurement of one peer, the same for all of them.
 * Runs on:    the benchmark's main thread; the work is done by the processes of a crew.
 * Invariants: leaves neither process nor file. A receiver has looked at both ends of every entry;
 *             what it missed or found wrong is in the figures.
 */
#ifndef TUSK_BENCH_PEER_TRIAL_H
#define TUSK_BENCH_PEER_TRIAL_H

#include "bench/crew.h"
#include "bench/histogram.h"
#include "bench/peer.h"

struct peer_figures {
    double per_s; /* entries received, durable, or there and back */
    uint64_t entries;
    uint64_t lost;               /* sent, never received */
    struct histogram latency_ns; /* of a durable send, or there and back */
    struct crew_cost cost;       /* the server's is the broker's */
};

/* Measure; of the job, settings, shape, size, batch and senders are the caller's. With count_calls
 * the calls in the cost are what it is for, and nothing else in the figures is of use. 0; -EINTR
 * after a signal that asks to end; or another error, explained on stderr. */
int peer_trial_run(const struct peer *peer, struct peer_job *job, bool count_calls,
                   struct peer_figures *figures);

#endif
