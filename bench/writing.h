/*
 * Writing: one measurement of producers that append, and of followers that read it meanwhile, with
 * what it costs. What bench-writes, bench-scaling and bench-throughput are made of.
 * Runs on:    the benchmark's main thread.
 * Invariants: each measurement has a broker of its own; system calls are counted in a short run
 *             after the timed one.
 */
#ifndef TUSK_BENCH_WRITING_H
#define TUSK_BENCH_WRITING_H

#include "bench/cost.h"
#include "bench/producer.h"
#include "bench/report.h"

enum writing_column {
    WRITING_ENTRIES,
    WRITING_BYTES,
    WRITING_READ,
    WRITING_OF_FIRST,
    WRITING_P50,
    WRITING_P99,
    WRITING_COST,
    WRITING_COLUMNS = WRITING_COST + COST_COLUMNS
};

extern const struct report_column writing_columns[WRITING_COLUMNS];

struct writing {
    const char *name;
    enum producer_mode mode;
    bool latency; /* of each call */
    bool lead;    /* a single producer stays close to its followers */
};

/* Shapes, each measured with every combination of the settings' lists. */
struct writing_sweep {
    const struct settings *settings;
    const struct writing *shapes;
    size_t shapes_count;
};

/* How many measurements a run is. */
unsigned writing_sweep_count(const struct writing_sweep *sweep);

/* One run through all; the first one counts system calls as well. 0 or an error, which has been
 * explained. "of first" is held against the same shape's first combination in this run. */
int writing_sweep_run(struct report *report, const struct writing_sweep *sweep, unsigned run);

/* All runs of all sweeps of a program: its exit status. */
int writing_main(struct report *report, const struct writing_sweep *sweeps, size_t sweeps_count);

#endif
