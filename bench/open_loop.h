/*
 * Open loop: a role that appends at a fixed rate, whatever becomes of what it has appended before.
 * Runs on:    the threads of a crew.
 * Invariants: each entry has a time at which it is due, from the schedule alone; latencies count
 *             from there, so that a stall is charged to every entry that was due in it. What was
 *             due before the end is sent and waited for, however late.
 * Not here:   reading what was appended (follower.h): each payload begins with the time at which it
 *             was due.
 */
#ifndef TUSK_BENCH_OPEN_LOOP_H
#define TUSK_BENCH_OPEN_LOOP_H

#include "bench/crew.h"
#include "bench/schedule.h"

struct open_loop_plan {
    double per_second; /* of all workers together */
    unsigned workers;
    uint64_t size;           /* of an entry, at least sizeof(uint64_t) */
    uint64_t operations_max; /* of each worker */
    uint32_t idle;           /* enum tusk_idle: what a worker does when nothing is due */
    bool completions;        /* ask for a completion of each: latency_ns is the time to COMMITTED */
};

/* A role of producers on one topic, bench-0; arg is the plan, which stays the caller's. latency_ns
 * stays empty without completions; late_ns is how late entries were sent. */
struct role open_loop_role(const struct open_loop_plan *plan);

#endif
