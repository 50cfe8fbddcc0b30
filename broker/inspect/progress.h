/*
 * Progress: says on stderr how far long work is, at most five times a second.
 * Runs on:    one thread.
 * Invariants: on a terminal it keeps to one line and takes that away at the end.
 */
#ifndef TUSK_BROKER_INSPECT_PROGRESS_H
#define TUSK_BROKER_INSPECT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on;
    bool terminal;
    bool said;
    uint64_t next_ns;
};

/* wanted: also where stderr is no terminal. */
void progress_begin(struct progress *progress, bool wanted);
/* Fits verify_progress_fn; the context is struct progress. */
void progress_tell(void *context, uint64_t bytes_done, uint64_t bytes_total);
void progress_end(struct progress *progress);

#endif
