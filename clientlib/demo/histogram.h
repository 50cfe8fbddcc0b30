/*
 * Histogram: counts of durations, from a nanosecond to minutes, each in a bucket that is at most
 * an eighth wide.
 * Runs on:    one process adds, another reads at any time (counts are relaxed atomics in shared
 *             memory: a reader may miss the newest few, which a live view doesn't mind).
 * Invariants: counts only grow.
 */
#ifndef TUSK_DEMO_HISTOGRAM_H
#define TUSK_DEMO_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_STEPS = 8, HISTOGRAM_BUCKETS = 40 * HISTOGRAM_STEPS };

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t ns);

/* Adds the counts of `from` to plain numbers. */
void histogram_sum(uint64_t sum[HISTOGRAM_BUCKETS], const struct histogram *from);

/* The duration that `percent` of the counted ones don't exceed, rounded up to its bucket's end;
 * 0 when nothing was counted. */
uint64_t histogram_percentile(const uint64_t counts[HISTOGRAM_BUCKETS], double percent);

#endif
