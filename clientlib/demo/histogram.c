/* Histogram: see histogram.h. */
#include "clientlib/demo/histogram.h"

/* Eight steps per doubling: values below 8 have a bucket each. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS) {
        return (unsigned)ns;
    }
    const unsigned doubling = 63 - (unsigned)__builtin_clzll(ns) - 3;
    const unsigned step = (unsigned)(ns >> doubling) & (HISTOGRAM_STEPS - 1);
    const unsigned bucket = (doubling + 1) * HISTOGRAM_STEPS + step;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS) {
        return bucket;
    }
    const unsigned doubling = bucket / HISTOGRAM_STEPS - 1;
    return ((uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS + 1) << doubling) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    atomic_fetch_add_explicit(&histogram->counts[bucket_of(ns)], 1, memory_order_relaxed);
}

void histogram_sum(uint64_t sum[HISTOGRAM_BUCKETS], const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        sum[i] += atomic_load_explicit(&from->counts[i], memory_order_relaxed);
    }
}

uint64_t histogram_percentile(const uint64_t counts[HISTOGRAM_BUCKETS], double percent)
{
    uint64_t total = 0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        total += counts[i];
    }
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += counts[i];
        if (seen > 0 && (double)seen >= (double)total * percent / 100) {
            return bucket_end(i);
        }
    }
    return 0;
}
