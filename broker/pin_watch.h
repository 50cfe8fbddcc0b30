/*
 * Pin watch: while the arena is short, readers that hold chunks of it for longer than --pin-timeout
 * lose them: pins are revoked, and FETCHes and CLAIMs that nobody reaps hold no memory any more.
 * Runs on:    the engine of the store.
 * Invariants: nothing is revoked while there is room, and no more than is needed; what an unreaped
 *             CLAIM covers stays in its topic all the same (chunk.keeps). Others notice nothing.
 * Not here:   which pins are overdue (pool_pins.h); how a reader learns of it (the stamp changed:
 *             clientlib/chunk_view.h).
 */
#ifndef TUSK_BROKER_PIN_WATCH_H
#define TUSK_BROKER_PIN_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/lane_set.h"

/* Once per pass, behind the lanes; `wanted`: somebody waits for room. Sets store.freed when another
 * attempt may succeed, says in the log what was revoked, and expels who made its pins unreadable. */
void pin_watch_step(struct lane_set *lanes, bool wanted);

/* When the next look is due, CLOCK_MONOTONIC; UINT64_MAX: the arena is not short. */
uint64_t pin_watch_next_ns(const struct store *store);

#endif
