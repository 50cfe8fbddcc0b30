/*
 * Store pass: the parts of a pass that concern one store and no lane.
 * Runs on:    the engine, once a pass for each store that is awake, in the order of engine_pass.c.
 * Not here:   lanes and their clients (lane_set.h); clocks and sleeping (engine_pass.c).
 */
#ifndef TUSK_BROKER_STORE_PASS_H
#define TUSK_BROKER_STORE_PASS_H

#include <stdbool.h>

struct store;

/* Something was freed: whatever waits inside the store looks again. Blocked lanes are the caller's. */
void store_retry(struct store *store);

/* Goes on with what the store does besides its lanes' submissions, up to the flush; true: it did
 * something. */
bool store_work(struct store *store);

/* Topics that moved in this pass: who sleeps at their tails, and what they may give up. */
void store_topics_look(struct store *store);

#endif
