/*
 * Report: what a benchmark measured: progress on stderr meanwhile, a table on stdout with medians
 * and spread at the end, and, where RESULTS says, the files of results.h as the figures come.
 * Runs on:    the benchmark's main thread.
 * Invariants: a cell has at most one value per run; what was not measured is shown as such. A
 *             result is what is added to one row until something is added to another one, or to the
 *             same column again. An interrupted program ends with report_close() as well.
 */
#ifndef TUSK_BENCH_REPORT_H
#define TUSK_BENCH_REPORT_H

#include "bench/machine.h"
#include "bench/progress.h"
#include "bench/results.h"
#include "bench/settings.h"

#define REPORT_ROWS_MAX 512
#define REPORT_COLUMNS_MAX RESULT_METRICS_MAX
#define REPORT_RUNS_MAX 16
#define REPORT_NAME_BYTES 96 /* of a row */

enum report_unit {
    REPORT_RATE,  /* per second */
    REPORT_BYTES, /* per second */
    REPORT_TIME,  /* ns */
    REPORT_RATIO,
    REPORT_PERCENT,
    REPORT_COUNT,
    REPORT_FRACTION /* of a count, for each entry */
};

struct report_column {
    const char *name;
    enum report_unit unit;
    bool plain; /* the table shows its medians without the spread */
    bool block; /* a table that is too wide goes on below from here */
};

struct report_cell {
    unsigned count;
    double values[REPORT_RUNS_MAX];
};

struct report_row {
    char name[REPORT_NAME_BYTES];
    struct result_shape shape;
    unsigned runs;
    struct report_cell cells[REPORT_COLUMNS_MAX];
};

struct report {
    const char *bench;
    const struct settings *settings;
    struct machine machine;
    struct progress progress;
    struct results results;
    const struct report_column *columns;
    unsigned columns_count;
    unsigned rows_count;
    struct report_row rows[REPORT_ROWS_MAX];
    struct report_row *row; /* of the result that is being told; NULL: none is */
    struct result result;
    bool moved;              /* time has passed since the result before */
    struct load_mark begun;  /* when the result before had been told */
    struct load_mark marked; /* the last look */
    struct load load;        /* between the two */
    double round_trip_ns;    /* at the last look */
    double round_trip_best_ns;
};

/* Measure the machine, print what is going to be asked and where; from here on signals that ask to
 * end wait until somebody looks (interrupt.h). Ends the program if it can't write where RESULTS
 * says. */
void report_open(struct report *report, const char *bench, const char *question,
                 const struct settings *settings, const struct report_column *columns,
                 unsigned columns_count);

/* How many times report_begin() will be called, so that progress can say of how many. */
void report_expect(struct report *report, unsigned measurements);

/* A measurement for the row of that name begins: what it measures. Its texts stay the caller's. */
void report_begin(struct report *report, const char *name, const struct result_shape *shape);

/* Add a run's value to the row of that name and the column. */
void report_add(struct report *report, const char *name, unsigned column, double value);

/* The latencies in ns behind the result of the row that was added to last, for the JSON line: what
 * they are of ("append"); a text that stays. */
void report_histogram(struct report *report, const char *name, const char *what,
                      const struct histogram *histogram);

/* The median of a cell; 0 if it is empty. */
double report_median(const struct report *report, const char *name, unsigned column);

/* Print the table and finish the files, after an error (-EINTR: asked to end) too. Returns the
 * program's exit status. */
int report_close(struct report *report, int error);

#endif
