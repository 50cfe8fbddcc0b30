/*
 * Consumer: a process that reads one topic from its beginning, as the lines come, and checks each:
 * it carries the next number of its producer and the text that belongs to that number.
 * Runs on:    a process of its own.
 * Invariants: what it counts has arrived once and in order.
 * Trust:      an entry may hold anything; what isn't the expected line ends the demo.
 */
#ifndef TUSK_DEMO_CONSUMER_H
#define TUSK_DEMO_CONSUMER_H

#include "clientlib/demo/board.h"

/* Everything that consumer `index` does; returns the exit status of its process. */
int consumer_run(const struct plan *plan, struct board *board, unsigned index);

#endif
