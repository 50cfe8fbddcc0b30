/*
 * Schedule: when the entries of a fixed rate are due.
 * Runs on:    any thread; a value.
 * Invariants: times depend on nothing but the beginning and the rate, never on what was done.
 */
#ifndef TUSK_BENCH_SCHEDULE_H
#define TUSK_BENCH_SCHEDULE_H

#include <stdint.h>

struct schedule {
    uint64_t begin_ns;
    double offset_ns; /* of the first entry */
    double interval_ns;
};

/* That of one of several workers who share a rate and take turns. */
static inline struct schedule schedule_make(uint64_t begin_ns, double per_second, unsigned worker,
                                            unsigned workers)
{
    const double interval_ns = 1e9 / per_second;

    return (struct schedule){.begin_ns = begin_ns,
                             .offset_ns = interval_ns * worker,
                             .interval_ns = interval_ns * workers};
}

/* When entry 0, 1, 2 ... is due. */
static inline uint64_t schedule_due_ns(const struct schedule *schedule, uint64_t entry)
{
    return schedule->begin_ns +
           (uint64_t)(schedule->offset_ns + (double)entry * schedule->interval_ns);
}

/* How many entries are due up to and including that time. */
static inline uint64_t schedule_due_count(const struct schedule *schedule, uint64_t now_ns)
{
    const double since_ns =
        now_ns < schedule->begin_ns ? -1 : (double)(now_ns - schedule->begin_ns);
    uint64_t count = since_ns < schedule->offset_ns
                         ? 0
                         : (uint64_t)((since_ns - schedule->offset_ns) / schedule->interval_ns) + 1;

    while (count > 0 && schedule_due_ns(schedule, count - 1) > now_ns) {
        count--; /* rounding */
    }
    while (schedule_due_ns(schedule, count) <= now_ns) {
        count++;
    }
    return count;
}

#endif
