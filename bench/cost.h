/*
 * Cost: what a rate costs: CPU time and system calls per entry, of producers, broker and consumers.
 * Runs on:    the benchmark's main thread, after a crew has run.
 * Invariants: per entry that was appended; per entry that was read where none was appended, and for
 *             the consumers. CPU time is of the very run whose rate is beside it; calls are of
 *             another, short one (calls.h says why).
 */
#ifndef TUSK_BENCH_COST_H
#define TUSK_BENCH_COST_H

#include "bench/crew.h"
#include "bench/report.h"

enum cost_column {
    COST_PRODUCER_CPU,
    COST_BROKER_CPU,
    COST_CONSUMER_CPU,
    COST_PRODUCER_CALLS,
    COST_BROKER_CALLS,
    COST_CONSUMER_CALLS,
    COST_YIELDS,
    COST_COLUMNS
};

#define COST_DURATION_S 0.25 /* of a run whose calls are counted, at most */

/* To be put into a table of columns, after all others. */
#define COST_COLUMNS_LIST COST_COLUMNS_OF("producer", "broker", "consumer")
#define COST_COLUMNS_OF(producer, broker, consumer)                                                \
    {producer " CPU", REPORT_TIME, true, true}, {broker " CPU", REPORT_TIME, true, false},         \
        {consumer " CPU", REPORT_TIME, true, false},                                               \
        {producer " calls", REPORT_FRACTION, true, false},                                         \
        {broker " calls", REPORT_FRACTION, true, false},                                           \
        {consumer " calls", REPORT_FRACTION, true, false},                                         \
    {                                                                                              \
        "yields", REPORT_FRACTION, true, false                                                     \
    }

/* Add the CPU time of a crew that was timed; the calls of one that ran with count_calls. */
void cost_report_cpu(struct report *report, const char *row, unsigned first,
                     const struct crew_cost *cost);
void cost_report_calls(struct report *report, const char *row, unsigned first,
                       const struct crew_cost *cost);

/* Of all processes together, for an entry: ns, and calls without yields; 0 if there was none. */
double cost_cpu_ns(const struct crew_cost *cost);
double cost_calls(const struct crew_cost *cost);

/* Run the crew of a trial once more with its calls counted, for a short time, and add them; nothing
 * where they can't be counted. 0 or a negative error. */
int cost_count_trial(struct report *report, const char *row, unsigned first, const char *fsync,
                     const char *idle, struct crew *crew);

/* Whether calls can be counted; if not, says so on stdout, once. */
bool cost_counts_calls(void);

#endif
