/*
 * Histogram: how often which value occurred, within 1/64 of the value, with all that a plot of
 * latency by percentile needs.
 * Runs on:    one writer; read by others once it has finished. Plain memory, so it may be shared.
 * Invariants: all-zero memory is an empty histogram; every uint64_t has a bucket, so nothing is
 *             clipped; values below 128 have one each. A quantile is never less than the true one,
 *             and at most 1/64 more.
 * Not here:   what is done with it in files (report.h).
 */
#ifndef TUSK_BENCH_HISTOGRAM_H
#define TUSK_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6 /* 64 buckets for each doubling */
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* One step of the distribution: `count` values in a bucket, `below` of all up to its end. */
struct histogram_step {
    uint64_t value; /* the bucket's largest, or the histogram's if that is less */
    uint64_t count;
    uint64_t below;
};

static inline unsigned histogram_bucket(uint64_t value)
{
    if (value < (UINT64_C(1) << HISTOGRAM_SUB_BITS)) {
        return (unsigned)value;
    }
    const unsigned top = 63U - (unsigned)__builtin_clzll(value);
    const unsigned shift = top - HISTOGRAM_SUB_BITS;
    const unsigned sub = (unsigned)(value >> shift) & ((1U << HISTOGRAM_SUB_BITS) - 1);

    return ((shift + 1) << HISTOGRAM_SUB_BITS) + sub;
}

static inline void histogram_add_many(struct histogram *histogram, uint64_t value, uint64_t count)
{
    histogram->count += count;
    histogram->max = value > histogram->max ? value : histogram->max;
    histogram->buckets[histogram_bucket(value)] += count;
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram_add_many(histogram, value, 1);
}

/* The smallest and the largest value of a bucket. */
uint64_t histogram_bucket_bottom(unsigned bucket);
uint64_t histogram_bucket_top(unsigned bucket);

/* Add what another one counted. */
void histogram_merge(struct histogram *histogram, const struct histogram *other);

/* The value that the fraction (0.5, 0.999) of all values does not exceed; 0 if there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, double fraction);

/* The steps, from the smallest value on: *bucket is 0 at first, and where to go on afterwards.
 * 1 and the step, or 0 after the last one. */
int histogram_next(const struct histogram *histogram, unsigned *bucket,
                   struct histogram_step *step);

#endif
