/*
 * Producer: a process that appends tagged lines to one topic: first as fast as it can, then, as
 * producer 0, one by one for a second to time the round trip.
 * Runs on:    a process of its own.
 * Invariants: line n carries the tag "producer:n"; n has no gaps.
 */
#ifndef TUSK_DEMO_PRODUCER_H
#define TUSK_DEMO_PRODUCER_H

#include "clientlib/demo/board.h"

/* Everything that producer `index` does; returns the exit status of its process. */
int producer_run(const struct plan *plan, struct board *board, unsigned index);

#endif
