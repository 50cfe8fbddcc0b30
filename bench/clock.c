/*
 * Clock: see clock.h.
 */
#include "bench/clock.h"

#include <stdlib.h>

#define COST_SAMPLES 101
#define COST_CALLS 2000

static int doubles_compare(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;

    return (a > b) - (a < b);
}

double clock_cost_ns(void)
{
    double samples[COST_SAMPLES];

    for (int i = 0; i < COST_SAMPLES; i++) {
        const uint64_t begin = clock_now_ns();
        uint64_t end = begin;
        for (int call = 0; call < COST_CALLS; call++) {
            end = clock_now_ns();
        }
        samples[i] = (double)(end - begin) / COST_CALLS;
    }
    qsort(samples, COST_SAMPLES, sizeof *samples, doubles_compare);
    return samples[COST_SAMPLES / 2];
}
