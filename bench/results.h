/*
 * Results: the files that a benchmark leaves: CSV with a row per sample, and JSON with one line for
 * each result, which says all that it was measured with and on. bench/README.md describes both.
 * Runs on:    the benchmark's main thread, between measurements.
 * Invariants: what has been written is complete lines, so a program that is ended keeps them.
 */
#ifndef TUSK_BENCH_RESULTS_H
#define TUSK_BENCH_RESULTS_H

#include "bench/histogram.h"
#include "bench/load.h"
#include "bench/machine.h"
#include "bench/settings.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define RESULT_METRICS_MAX 24
#define RESULT_HISTOGRAMS_MAX 4

/* What was measured: NULL or 0 where it means nothing. Texts stay the caller's. */
struct result_shape {
    const char *system; /* whose entries: NULL is "tusk" */
    const char *mode;   /* how: "submit", "batch append" */
    const char *series; /* of which curve this is a point: the name of what is varied, "size" */
    unsigned processes; /* that produce */
    unsigned threads;   /* of each */
    unsigned topics;
    unsigned consumers; /* processes that read */
    unsigned batch;     /* entries */
    uint64_t size_min;  /* bytes of an entry */
    uint64_t size_max;
    const char *fsync;
    const char *idle;
};

struct result_metric {
    const char *name;
    const char *unit;
    double value;
};

/* One run of one shape. */
struct result {
    const char *bench;
    const char *name; /* of the shape */
    const struct result_shape *shape;
    unsigned run; /* from 1 */
    unsigned metrics_count;
    struct result_metric metrics[RESULT_METRICS_MAX];
    unsigned histograms_count;
    const char *histogram_names[RESULT_HISTOGRAMS_MAX];
    struct histogram histograms[RESULT_HISTOGRAMS_MAX]; /* of ns */
    double round_trip_ns; /* of a cache line, when it had been measured */
    double round_trip_best_ns;
    struct load load;
};

struct results {
    FILE *csv; /* NULL: no files */
    FILE *json;
    char csv_path[PATH_MAX];
    char json_path[PATH_MAX];
};

/* Create both in the directory, which is made if need be; none if it is NULL. 0 or an exit
 * status. */
int results_open(struct results *results, const char *directory, const char *bench);

/* A sample: the metric of that number. */
void results_add(struct results *results, const struct result *result, unsigned metric,
                 const struct settings *settings);

/* A result with all its samples. */
void results_end(struct results *results, const struct result *result,
                 const struct settings *settings, const struct machine *machine);

/* 0 or an exit status, which has been explained. */
int results_close(struct results *results);

#endif
