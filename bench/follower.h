/*
 * Follower: a role that reads, with independent readers, all that producers append, as it comes.
 * Runs on:    the threads of a crew.
 * Invariants: sequence numbers are checked to be dense; it ends when it has seen every entry of
 *             producers that have ended.
 */
#ifndef TUSK_BENCH_FOLLOWER_H
#define TUSK_BENCH_FOLLOWER_H

#include "bench/crew.h"

struct follower_plan {
    unsigned topics; /* topics bench-0 to bench-(topics-1), all of them read by each follower */
    bool warm; /* maps the broker's memory before the start, by reading from a topic of its own */
    bool latency; /* each payload begins with a clock_now_ns(), from which its latency counts;
                      * entries with 0 there are read and not counted */
};

/* A role of followers; arg is the plan, which stays the caller's. */
struct role follower_role(unsigned processes, const struct follower_plan *plan);

#endif
