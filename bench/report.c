/*
 * Report: see report.h.
 */
#include "bench/report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define CELL_TEXT 64

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

static void cell_print(char *text, const struct report_cell *cell, enum report_unit unit)
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
    figure_print(median, sizeof median, sorted_median(sorted, cell->count), unit);
    figure_print(low, sizeof low, sorted[0], unit);
    figure_print(high, sizeof high, sorted[cell->count - 1], unit);
    if (cell->count == 1) {
        snprintf(text, CELL_TEXT, "%s", median);
    } else {
        snprintf(text, CELL_TEXT, "%s (%s..%s)", median, low, high);
    }
}

/* ---- Building -------------------------------------------------------------------------------- */

static const char *const unit_names[] = {
    [REPORT_RATE] = "1/s", [REPORT_BYTES] = "B/s", [REPORT_TIME] = "ns",
    [REPORT_RATIO] = "1",  [REPORT_PERCENT] = "%", [REPORT_COUNT] = "count"};

void report_open(struct report *report, const char *bench, const char *question,
                 const struct settings *settings, const struct report_column *columns,
                 unsigned columns_count)
{
    memset(report, 0, sizeof *report);
    report->bench = bench;
    report->question = question;
    report->settings = settings;
    report->columns = columns;
    report->columns_count = columns_count;
    machine_measure(&report->machine, settings->data_dir);

    const struct machine *machine = &report->machine;
    printf("%s: %s\n", bench, question);
    printf("Machine: %s, %u cores, %.1f GiB, Linux %s, clock %s, data on %s (%s).\n", machine->cpu,
           machine->cores, machine->memory_gib, machine->kernel, machine->clock_source,
           settings->data_dir, machine->file_system);
    printf("Cache line round trip between two cores: median %.0f ns, best %.0f ns. "
           "One clock reading: %.0f ns, included in every latency.\n",
           machine->round_trip_ns, machine->round_trip_best_ns, machine->clock_cost_ns);
    printf("fsync %s, idle %s, size %llu to %llu B, %g s each, median of %u runs (least..most).\n",
           settings->fsync, settings->idle, (unsigned long long)settings->size_min,
           (unsigned long long)settings->size_max, settings->duration_s, settings->runs);
    fflush(stdout);
}

static unsigned row_find(const struct report *report, const char *row)
{
    unsigned i = 0;

    while (i < report->rows_count && strcmp(report->rows[i], row) != 0) {
        i++;
    }
    return i;
}

/* On a terminal: a sign of life for every figure. */
static void progress_show(const char *text)
{
    if (isatty(STDERR_FILENO)) {
        fputs(text, stderr);
    }
}

void report_add(struct report *report, const char *row, unsigned column, double value)
{
    const unsigned i = row_find(report, row);

    if (i == REPORT_ROWS_MAX) {
        fprintf(stderr, "no room for more than %d rows: %s is left out\n", REPORT_ROWS_MAX, row);
        return;
    }
    if (i == report->rows_count) {
        snprintf(report->rows[i], sizeof report->rows[i], "%s", row);
        report->rows_count++;
    }
    progress_show(".");
    struct report_cell *cell = &report->cells[i][column];
    if (cell->count < REPORT_RUNS_MAX) {
        cell->values[cell->count++] = value;
    }
}

double report_median(const struct report *report, const char *row, unsigned column)
{
    const unsigned i = row_find(report, row);
    double sorted[REPORT_RUNS_MAX] = {0};

    if (i == report->rows_count) {
        return 0;
    }
    cell_sort(&report->cells[i][column], sorted);
    return sorted_median(sorted, report->cells[i][column].count);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void table_print(const struct report *report)
{
    char text[CELL_TEXT];
    size_t first = 8;
    size_t widths[REPORT_COLUMNS_MAX] = {0};

    for (unsigned c = 0; c < report->columns_count; c++) {
        widths[c] = strlen(report->columns[c].name);
        for (unsigned r = 0; r < report->rows_count; r++) {
            cell_print(text, &report->cells[r][c], report->columns[c].unit);
            widths[c] = strlen(text) > widths[c] ? strlen(text) : widths[c];
            first = strlen(report->rows[r]) > first ? strlen(report->rows[r]) : first;
        }
    }
    printf("\n%-*s", (int)first, "");
    for (unsigned c = 0; c < report->columns_count; c++) {
        printf("  %*s", (int)widths[c], report->columns[c].name);
    }
    printf("\n");
    for (unsigned r = 0; r < report->rows_count; r++) {
        printf("%-*s", (int)first, report->rows[r]);
        for (unsigned c = 0; c < report->columns_count; c++) {
            cell_print(text, &report->cells[r][c], report->columns[c].unit);
            printf("  %*s", (int)widths[c], text);
        }
        printf("\n");
    }
}

static void csv_write(const struct report *report, FILE *file)
{
    fprintf(file, "bench,shape,metric,unit,run,value\n");
    for (unsigned r = 0; r < report->rows_count; r++) {
        for (unsigned c = 0; c < report->columns_count; c++) {
            const struct report_cell *cell = &report->cells[r][c];
            for (unsigned run = 0; run < cell->count; run++) {
                fprintf(file, "%s,\"%s\",\"%s\",%s,%u,%.6g\n", report->bench, report->rows[r],
                        report->columns[c].name, unit_names[report->columns[c].unit], run + 1,
                        cell->values[run]);
            }
        }
    }
}

static void json_write_cell(const struct report *report, FILE *file, unsigned row, unsigned column)
{
    const struct report_cell *cell = &report->cells[row][column];
    const struct machine *machine = &report->machine;
    const struct settings *settings = report->settings;

    fprintf(file, "{\"bench\":\"%s\",\"shape\":\"%s\",\"metric\":\"%s\",\"unit\":\"%s\",",
            report->bench, report->rows[row], report->columns[column].name,
            unit_names[report->columns[column].unit]);
    fprintf(file, "\"values\":[");
    for (unsigned run = 0; run < cell->count; run++) {
        fprintf(file, "%s%.6g", run ? "," : "", cell->values[run]);
    }
    fprintf(file,
            "],\"fsync\":\"%s\",\"idle\":\"%s\",\"size_min\":%llu,\"size_max\":%llu,"
            "\"duration_s\":%g,\"cpu\":\"%s\",\"cores\":%u,\"kernel\":\"%s\",\"file_system\":"
            "\"%s\",\"round_trip_ns\":%.1f,\"clock_cost_ns\":%.1f}\n",
            settings->fsync, settings->idle, (unsigned long long)settings->size_min,
            (unsigned long long)settings->size_max, settings->duration_s, machine->cpu,
            machine->cores, machine->kernel, machine->file_system, machine->round_trip_ns,
            machine->clock_cost_ns);
}

static void json_write(const struct report *report, FILE *file)
{
    for (unsigned r = 0; r < report->rows_count; r++) {
        for (unsigned c = 0; c < report->columns_count; c++) {
            if (report->cells[r][c].count > 0) {
                json_write_cell(report, file, r, c);
            }
        }
    }
}

static int file_write(const struct report *report, const char *suffix,
                      void (*write)(const struct report *report, FILE *file))
{
    char path[PATH_MAX];
    char stamp[32];
    const time_t now = time(NULL);
    struct tm parts;

    gmtime_r(&now, &parts);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &parts);
    snprintf(path, sizeof path, "%s/%s-%s.%s", report->settings->results, report->bench, stamp,
             suffix);
    FILE *file = fopen(path, "we");
    if (!file) {
        fprintf(stderr, "RESULTS: %s: %s\n", path, strerror(errno));
        return EX_CANTCREAT;
    }
    write(report, file);
    const int failed = ferror(file);
    if (fclose(file) != 0 || failed) {
        fprintf(stderr, "RESULTS: %s could not be written\n", path);
        return EX_IOERR;
    }
    printf("Written: %s\n", path);
    return EX_OK;
}

int report_close(struct report *report)
{
    progress_show("\n");
    table_print(report);
    if (!report->settings->results) {
        return EX_OK;
    }
    const int status = file_write(report, "csv", csv_write);
    return status != EX_OK ? status : file_write(report, "jsonl", json_write);
}
