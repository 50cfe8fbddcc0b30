/*
 * Histogram: how often which value occurred, within 1/64 of the value.
 * Runs on:    one writer; read by others once it has finished. Plain memory, so it may be shared.
 * Invariants: all-zero memory is an empty histogram; no value is out of range.
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

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->max = value > histogram->max ? value : histogram->max;
    histogram->buckets[histogram_bucket(value)]++;
}

/* Add what another one counted. */
void histogram_merge(struct histogram *histogram, const struct histogram *other);

/* The value that the fraction (0.5, 0.999) of all values does not exceed; 0 if there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, double fraction);

#endif
