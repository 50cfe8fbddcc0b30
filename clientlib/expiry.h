/*
 * Expiry: the moment at which a call gives up waiting.
 * Runs on:    any thread; pure but for the clock.
 * Invariants: at_ns is of CLOCK_MONOTONIC; EXPIRY_NEVER_NS means never.
 */
#ifndef TUSK_CLIENTLIB_EXPIRY_H
#define TUSK_CLIENTLIB_EXPIRY_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define EXPIRY_NEVER_NS UINT64_MAX

enum { NS_PER_MS = 1000000 };

struct expiry {
    uint64_t at_ns;
};

static inline uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* timeout_ms from now; a negative one is never. */
static inline struct expiry expiry_in(int timeout_ms)
{
    if (timeout_ms < 0) {
        return (struct expiry){.at_ns = EXPIRY_NEVER_NS};
    }
    return (struct expiry){.at_ns = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS};
}

static inline bool expiry_passed(struct expiry expiry, uint64_t now_ns)
{
    return now_ns >= expiry.at_ns;
}

/* What is left, for poll(): rounded up, so that a poll never ends early; -1 for never. */
static inline int expiry_left_ms(struct expiry expiry)
{
    if (expiry.at_ns == EXPIRY_NEVER_NS) {
        return -1;
    }
    const uint64_t now_ns = monotonic_ns();
    if (now_ns >= expiry.at_ns) {
        return 0;
    }
    const uint64_t left_ms = (expiry.at_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

/* The later of two. */
static inline struct expiry expiry_later(struct expiry one, struct expiry other)
{
    return one.at_ns > other.at_ns ? one : other;
}

#endif
