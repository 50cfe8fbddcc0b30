/*
 * Histogram: see histogram.h. Bucket b < 64 holds the value b; from there each doubling of the
 * value has 64 buckets of equal width.
 */
#include "bench/histogram.h"

/* The largest value of a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < (1U << HISTOGRAM_SUB_BITS)) {
        return bucket;
    }
    const unsigned shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    const uint64_t sub = bucket & ((1U << HISTOGRAM_SUB_BITS) - 1);

    return (((UINT64_C(1) << HISTOGRAM_SUB_BITS) + sub + 1) << shift) - 1;
}

void histogram_merge(struct histogram *histogram, const struct histogram *other)
{
    histogram->count += other->count;
    histogram->max = other->max > histogram->max ? other->max : histogram->max;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        histogram->buckets[i] += other->buckets[i];
    }
}

uint64_t histogram_quantile(const struct histogram *histogram, double fraction)
{
    const double wanted = fraction * (double)histogram->count;
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            const uint64_t top = bucket_top(i);
            return top < histogram->max ? top : histogram->max;
        }
    }
    return histogram->max;
}
