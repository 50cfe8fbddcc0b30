/*
 * Histogram: see histogram.h. Bucket b < 64 holds the value b; from there each doubling of the
 * value has 64 buckets of equal width.
 */
#include "bench/histogram.h"

#include <string.h>

/* More than a product of a fraction and a count is off by: 0.07 * 100 is more than 7. */
#define FRACTION_SLACK 1e-12

uint64_t histogram_bucket_bottom(unsigned bucket)
{
    return bucket == 0 ? 0 : histogram_bucket_top(bucket - 1) + 1;
}

uint64_t histogram_bucket_top(unsigned bucket)
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
    const double wanted = fraction * (double)histogram->count * (1 - FRACTION_SLACK);
    struct histogram_step step;
    unsigned bucket = 0;

    while (histogram_next(histogram, &bucket, &step)) {
        if ((double)step.below >= wanted) {
            return step.value;
        }
    }
    return histogram->max;
}

int histogram_next(const struct histogram *histogram, unsigned *bucket, struct histogram_step *step)
{
    if (*bucket == 0) {
        memset(step, 0, sizeof *step);
    }
    for (; *bucket < HISTOGRAM_BUCKETS; ++*bucket) {
        if (histogram->buckets[*bucket] > 0) {
            const uint64_t top = histogram_bucket_top(*bucket);
            step->value = top < histogram->max ? top : histogram->max;
            step->count = histogram->buckets[*bucket];
            step->below += step->count;
            ++*bucket;
            return 1;
        }
    }
    return 0;
}
