/*
 * Pool pins: what the sessions that read have pinned, as the pool sees it, and which of them have
 * held on for too long while the arena was short.
 * Runs on:    the engine of the store.
 * Memory:     16 KiB for each session that reads, once the arena has been short.
 * Invariants: a pin is overdue when the very same one (its serial number tells) was seen at looks
 *             that are --pin-timeout apart, each time on an image that could go otherwise; a session
 *             whose pins cannot be read pins everything until its caller has closed it.
 * Trust:      a pins file is the session's to write: any index, any serial number, any size. What it
 *             writes can only keep images that could go, each hold for --pin-timeout.
 * Ordering:   [P4] pins_read() is a system call behind the caller's fence [P3].
 * Not here:   what is done to sessions (pin_watch.h); who pins (shm/pins.h).
 */
#ifndef TUSK_BROKER_POOL_PINS_H
#define TUSK_BROKER_POOL_PINS_H

#include <stdbool.h>
#include <stdint.h>

struct chunk_pool;
struct client;

/* What is remembered of one word of a session's pins. */
struct pin_note {
    uint64_t word;     /* what it was when last looked at; 0: nothing to remember */
    uint64_t since_ns; /* when that was seen first; PIN_OVERDUE: too long ago */
};
#define PIN_OVERDUE UINT64_MAX

/* Marks in pool->marks the first units of what is pinned, without pins that are overdue where
 * `revoking`. false: a session's pins cannot be read (client.pins_fault), nothing may be evicted. */
bool pool_pins_collect(struct chunk_pool *pool, bool revoking);

static inline bool unit_is_marked(const uint64_t *marks, uint32_t unit)
{
    return (marks[unit / 64] >> (unit % 64) & 1) != 0;
}

/* A look while the arena is short: which pins stand in the way, and since when. true: some are
 * overdue (pool.pins_overdue), and another pool_assign() may succeed. */
bool pool_pins_look(struct chunk_pool *pool, uint64_t now_ns, uint64_t timeout_ns);

/* The image in `unit` goes although it may be pinned: counts that for the sessions concerned, in
 * client.pins_revoked. */
void pool_pins_revoke(struct chunk_pool *pool, uint32_t unit);

#endif
