/*
 * Report: the live view and the last words of the demo.
 * Runs on:    the demo's first process.
 * Invariants: on a terminal one line is rewritten, elsewhere there is a new line each second.
 */
#ifndef TUSK_DEMO_REPORT_H
#define TUSK_DEMO_REPORT_H

#include "clientlib/demo/board.h"

struct report {
    const struct plan *plan;
    const struct board *board;
    bool terminal;
    bool line_open; /* the terminal's line has no newline yet */
    uint64_t start_ns;
    uint64_t shown_ns;
    uint64_t shown_lines; /* read, when last shown */
    uint64_t shown_bytes;
    uint64_t shown_latency[HISTOGRAM_BUCKETS];
};

/* What is going to happen, and the head of the live table. */
void report_begin(struct report *report, const struct plan *plan, const struct board *board);

/* Show how far it is, if it is time to. */
void report_tick(struct report *report);

/* End the live table. */
void report_end(struct report *report);

/* Every line arrived: totals, and that it is so. seconds: from start to the last line. */
void report_success(const struct report *report, double seconds);

#endif
