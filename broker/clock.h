/*
 * Clock: the kernel's clocks as one number.
 * Runs on:    any thread.
 * Not here:   a store's own time (store.h: now_ns, time_ns), which stands still during a pass.
 */
#ifndef TUSK_BROKER_CLOCK_H
#define TUSK_BROKER_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Of CLOCK_MONOTONIC or CLOCK_REALTIME, which cannot fail. */
static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

#endif
