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

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;

    return clock_gettime(clock, &time) == 0
               ? (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec
               : 0;
}

uint64_t clock_thread_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_process_cpu_ns(pid_t pid)
{
    clockid_t clock;

    return pid != 0 && clock_getcpuclockid(pid, &clock) == 0 ? clock_ns(clock) : 0;
}
