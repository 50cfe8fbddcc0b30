/*
 * Clock: nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
 * Runs on:    any thread.
 */
#ifndef TUSK_BENCH_CLOCK_H
#define TUSK_BENCH_CLOCK_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_US UINT64_C(1000)

static inline uint64_t clock_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* The CPU time that the calling thread, and all threads of a process, have used;
 * 0 for pid 0. */
uint64_t clock_thread_cpu_ns(void);
uint64_t clock_process_cpu_ns(pid_t pid);

/* What one clock_now_ns() costs: the median of many back to back. Every interval that is measured
 * from one reading to the next contains it once. */
double clock_cost_ns(void);

#endif
