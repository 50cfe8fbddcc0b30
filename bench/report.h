/*
 * Report: what a benchmark measured: a table on stdout with medians and spread, and, if asked for,
 * CSV (a row per sample) and JSON (a line per cell) in a directory.
 * Runs on:    the benchmark's main thread.
 * Invariants: a cell has at most one value per run; what was not measured is shown as such.
 */
#ifndef TUSK_BENCH_REPORT_H
#define TUSK_BENCH_REPORT_H

#include "bench/machine.h"
#include "bench/settings.h"

#define REPORT_ROWS_MAX 96
#define REPORT_COLUMNS_MAX 12
#define REPORT_RUNS_MAX 16

enum report_unit {
    REPORT_RATE,  /* per second */
    REPORT_BYTES, /* per second */
    REPORT_TIME,  /* ns */
    REPORT_RATIO,
    REPORT_PERCENT,
    REPORT_COUNT
};

struct report_column {
    const char *name;
    enum report_unit unit;
};

struct report_cell {
    unsigned count;
    double values[REPORT_RUNS_MAX];
};

struct report {
    const char *bench;
    const char *question;
    const struct settings *settings;
    struct machine machine;
    const struct report_column *columns;
    unsigned columns_count;
    unsigned rows_count;
    char rows[REPORT_ROWS_MAX][64];
    struct report_cell cells[REPORT_ROWS_MAX][REPORT_COLUMNS_MAX];
};

/* Measure the machine, print what is going to be asked and where. */
void report_open(struct report *report, const char *bench, const char *question,
                 const struct settings *settings, const struct report_column *columns,
                 unsigned columns_count);

/* Add a run's value to the row of that name (made by its first value) and the column. */
void report_add(struct report *report, const char *row, unsigned column, double value);

/* The median of a cell; 0 if it is empty. */
double report_median(const struct report *report, const char *row, unsigned column);

/* Print the table; write the files if RESULTS asks for them. 0 or an exit status. */
int report_close(struct report *report);

#endif
