/*
 * Progress: on stderr, how far a benchmark is: one line that changes on a terminal, elsewhere a
 * line every ten seconds.
 * Runs on:    the benchmark's main thread, between measurements.
 */
#ifndef TUSK_BENCH_PROGRESS_H
#define TUSK_BENCH_PROGRESS_H

#include <stdint.h>

struct progress {
    const char *bench;
    unsigned expected; /* measurements in all; 0: not known */
    unsigned begun;
    uint64_t begin_ns;
    uint64_t shown_ns;
};

void progress_begin(struct progress *progress, const char *bench);

/* The next measurement begins. */
void progress_step(struct progress *progress, const char *what);

/* What comes next on stderr or stdout is not progress. */
void progress_end(struct progress *progress);

#endif
