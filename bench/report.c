/*
 * Report: see report.h.
 */
#include "bench/report.h"

#include "bench/clock.h"
#include "bench/interrupt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define CELL_TEXT 64
#define STATUS_INTERRUPTED 130
#define SAME_MEASUREMENT_NS (20 * NS_PER_MS) /* between samples; measurements take longer */

/* ---- Figures --------------------------------------------------------------------------------- */

static int doubles_compare(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;

    return (a > b) - (a < b);
}

static void cell_sort(const struct report_cell *cell, double *sorted)
{
    memcpy(sorted, cell->values, cell->count * sizeof *sorted);
    qsort(sorted, cell->count, sizeof *sorted, doubles_compare);
}

static double sorted_median(const double *sorted, unsigned count)
{
    return count == 0       ? 0
           : count % 2 == 1 ? sorted[count / 2]
                            : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* Three figures and a suffix: 12.3 M, 0.21 us, 4.56 x. */
static void figure_print(char *text, size_t bytes, double value, enum report_unit unit)
{
    static const char *const large[] = {"", " k", " M", " G"};
    static const char *const times[] = {" ns", " us", " ms", " s"};
    unsigned step = 0;

    switch (unit) {
    case REPORT_RATIO:
        snprintf(text, bytes, "%.2f", value);
        return;
    case REPORT_PERCENT:
        snprintf(text, bytes, "%.2f %%", value);
        return;
    case REPORT_FRACTION:
        snprintf(text, bytes, "%.3g", value);
        return;
    case REPORT_COUNT:
        snprintf(text, bytes, "%.0f", value);
        return;
    case REPORT_RATE:
    case REPORT_BYTES:
    case REPORT_TIME:
        break;
    }
    for (; step < 3 && value >= 1000; step++) {
        value /= 1000;
    }
    snprintf(text, bytes, "%.*f%s",
             value >= 100  ? 0
             : value >= 10 ? 1
                           : 2,
             value, unit == REPORT_TIME ? times[step] : large[step]);
}

static void cell_print(char *text, const struct report_cell *cell,
                       const struct report_column *column)
{
    double sorted[REPORT_RUNS_MAX] = {0};
    char median[16];
    char low[16];
    char high[16];

    if (cell->count == 0) {
        snprintf(text, CELL_TEXT, "-");
        return;
    }
    cell_sort(cell, sorted);
    figure_print(median, sizeof median, sorted_median(sorted, cell->count), column->unit);
    figure_print(low, sizeof low, sorted[0], column->unit);
    figure_print(high, sizeof high, sorted[cell->count - 1], column->unit);
    if (cell->count == 1 || column->plain) {
        snprintf(text, CELL_TEXT, "%s", median);
    } else {
        snprintf(text, CELL_TEXT, "%s (%s..%s)", median, low, high);
    }
}

/* ---- Building -------------------------------------------------------------------------------- */

static const char *const unit_names[] = {
    [REPORT_RATE] = "1/s",        [REPORT_BYTES] = "B/s", [REPORT_TIME] = "ns",
    [REPORT_RATIO] = "1",         [REPORT_PERCENT] = "%", [REPORT_COUNT] = "count",
    [REPORT_FRACTION] = "1/entry"};

static void machine_print(const struct machine *machine, const struct settings *settings)
{
    printf("Machine: %s, %u cores, %.1f GiB, Linux %s, clock %s, data on %s (%s).\n", machine->cpu,
           machine->cores, machine->memory_gib, machine->kernel, machine->clock_source,
           settings->data_dir, machine->file_system);
    printf("Cache line round trip between two cores: median %.0f ns, best %.0f ns. "
           "One clock reading: %.0f ns, included in every latency.\n",
           machine->round_trip_ns, machine->round_trip_best_ns, machine->clock_cost_ns);
}

void report_open(struct report *report, const char *bench, const char *question,
                 const struct settings *settings, const struct report_column *columns,
                 unsigned columns_count)
{
    memset(report, 0, sizeof *report);
    report->bench = bench;
    report->settings = settings;
    report->columns = columns;
    report->columns_count = columns_count;
    interrupt_block();
    const int status = results_open(&report->results, settings->results, bench);
    if (status != EX_OK) {
        exit(status);
    }
    machine_measure(&report->machine, settings->data_dir);
    report->round_trip_ns = report->machine.round_trip_ns;
    report->round_trip_best_ns = report->machine.round_trip_best_ns;
    printf("%s: %s\n", bench, question);
    machine_print(&report->machine, settings);
    printf("fsync %s, idle %s, size %llu to %llu B, %g s each, median of %u runs (least..most).\n",
           settings->fsync, settings->idle, (unsigned long long)settings->size_min,
           (unsigned long long)settings->size_max, settings->duration_s, settings->runs);
    fflush(stdout);
    progress_begin(&report->progress, bench);
    load_mark(&report->marked);
}

void report_expect(struct report *report, unsigned measurements)
{
    report->progress.expected = measurements;
}

/* The row of that name, made if need be; NULL if there is no room, which is said. */
static struct report_row *row_get(struct report *report, const char *name)
{
    for (unsigned i = 0; i < report->rows_count; i++) {
        if (strcmp(report->rows[i].name, name) == 0) {
            return &report->rows[i];
        }
    }
    if (report->rows_count == REPORT_ROWS_MAX) {
        fprintf(stderr, "no room for more than %d rows: %s is left out\n", REPORT_ROWS_MAX, name);
        return NULL;
    }
    struct report_row *row = &report->rows[report->rows_count++];
    snprintf(row->name, sizeof row->name, "%s", name);
    return row;
}

void report_begin(struct report *report, const char *name, const struct result_shape *shape)
{
    struct report_row *row = row_get(report, name);

    if (row) {
        row->shape = *shape;
    }
    progress_step(&report->progress, name);
}

/* ---- The result that is being told ----------------------------------------------------------- */

static void result_end(struct report *report)
{
    if (report->row) {
        results_end(&report->results, &report->result, report->settings, &report->machine);
        report->row = NULL;
    }
}

static void result_begin(struct report *report, struct report_row *row)
{
    result_end(report);
    report->row = row;
    report->moved = false;
    report->result.bench = report->bench;
    report->result.name = row->name;
    report->result.shape = &row->shape;
    report->result.run = ++row->runs;
    report->result.metrics_count = 0;
    report->result.histograms_count = 0;
}

/* What the machine was like from the result before until now: of two results that one measurement
 * gave, the second has the first one's. */
static void circumstances_note(struct report *report)
{
    struct load_mark now;

    load_mark(&now);
    if (now.wall_ns - report->marked.wall_ns > SAME_MEASUREMENT_NS) {
        if (!report->moved) {
            report->begun = report->marked;
            report->moved = true;
        }
        report->load = load_between(&report->begun, &now);
        machine_round_trip(&report->round_trip_ns, &report->round_trip_best_ns);
        load_mark(&report->marked);
    }
    report->result.load = report->load;
    report->result.round_trip_ns = report->round_trip_ns;
    report->result.round_trip_best_ns = report->round_trip_best_ns;
}

static bool result_has(const struct result *result, const char *metric)
{
    for (unsigned i = 0; i < result->metrics_count; i++) {
        if (strcmp(result->metrics[i].name, metric) == 0) {
            return true;
        }
    }
    return false;
}

void report_add(struct report *report, const char *name, unsigned column, double value)
{
    struct report_row *row = row_get(report, name);
    struct result *result = &report->result;

    if (!row || row->cells[column].count == REPORT_RUNS_MAX) {
        return;
    }
    if (row != report->row || result_has(result, report->columns[column].name)) {
        result_begin(report, row);
    }
    circumstances_note(report);
    row->cells[column].values[row->cells[column].count++] = value;
    result->metrics[result->metrics_count++] = (struct result_metric){
        report->columns[column].name, unit_names[report->columns[column].unit], value};
    results_add(&report->results, result, result->metrics_count - 1, report->settings);
}

void report_histogram(struct report *report, const char *name, const char *what,
                      const struct histogram *histogram)
{
    struct report_row *row = row_get(report, name);
    struct result *result = &report->result;

    if (!row || row != report->row || result->histograms_count == RESULT_HISTOGRAMS_MAX) {
        return;
    }
    result->histogram_names[result->histograms_count] = what;
    result->histograms[result->histograms_count++] = *histogram;
}

double report_median(const struct report *report, const char *name, unsigned column)
{
    double sorted[REPORT_RUNS_MAX] = {0};

    for (unsigned i = 0; i < report->rows_count; i++) {
        const struct report_row *row = &report->rows[i];
        if (strcmp(row->name, name) == 0) {
            cell_sort(&row->cells[column], sorted);
            return sorted_median(sorted, row->cells[column].count);
        }
    }
    return 0;
}

/* ---- The table ------------------------------------------------------------------------------- */

#define TABLE_WIDTH 150 /* what is wider is broken where the columns say */
#define COLUMN_GAP 2

static bool column_used(const struct report *report, unsigned column)
{
    for (unsigned r = 0; r < report->rows_count; r++) {
        if (report->rows[r].cells[column].count > 0) {
            return true;
        }
    }
    return false;
}

/* What a column needs, which is 0 if nothing is in it: its name, the widest cell, a gap. */
static unsigned column_width(const struct report *report, unsigned column)
{
    char text[CELL_TEXT];
    size_t width = strlen(report->columns[column].name);

    if (!column_used(report, column)) {
        return 0;
    }
    for (unsigned r = 0; r < report->rows_count; r++) {
        cell_print(text, &report->rows[r].cells[column], &report->columns[column]);
        width = strlen(text) > width ? strlen(text) : width;
    }
    return COLUMN_GAP + (unsigned)width;
}

static unsigned names_width(const struct report *report)
{
    size_t width = 8;

    for (unsigned r = 0; r < report->rows_count; r++) {
        const size_t length = strlen(report->rows[r].name);
        width = length > width ? length : width;
    }
    return (unsigned)width;
}

/* The columns from first to before end. */
static void block_print(const struct report *report, unsigned first, unsigned end,
                        const unsigned *widths, unsigned names)
{
    char text[CELL_TEXT];

    printf("\n%-*s", (int)names, "");
    for (unsigned c = first; c < end; c++) {
        printf("%*s", (int)widths[c], widths[c] > 0 ? report->columns[c].name : "");
    }
    printf("\n");
    for (unsigned r = 0; r < report->rows_count; r++) {
        if (report->rows[r].runs == 0) {
            continue;
        }
        printf("%-*s", (int)names, report->rows[r].name);
        for (unsigned c = first; c < end; c++) {
            cell_print(text, &report->rows[r].cells[c], &report->columns[c]);
            printf("%*s", (int)widths[c], widths[c] > 0 ? text : "");
        }
        printf("\n");
    }
}

static void table_print(const struct report *report)
{
    const unsigned names = names_width(report);
    unsigned widths[REPORT_COLUMNS_MAX];
    unsigned total = names;
    unsigned first = 0;

    for (unsigned c = 0; c < report->columns_count; c++) {
        widths[c] = column_width(report, c);
        total += widths[c];
    }
    for (unsigned c = 1; c < report->columns_count; c++) {
        if (total > TABLE_WIDTH && report->columns[c].block) {
            block_print(report, first, c, widths, names);
            first = c;
        }
    }
    block_print(report, first, report->columns_count, widths, names);
}

int report_close(struct report *report, int error)
{
    progress_end(&report->progress);
    result_end(report);
    table_print(report);
    const int status = results_close(&report->results);
    if (error != 0 && interrupt_pending()) { /* which may have ended a child before us */
        fprintf(stderr, "%s: interrupted; what had been measured is above\n", report->bench);
        return STATUS_INTERRUPTED;
    }
    return error != 0 ? EX_SOFTWARE : status;
}
