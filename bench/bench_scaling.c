/*
 * bench-scaling: how does the rate of appends grow with the number of producer processes?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/clock.h"
#include "bench/producer.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>

enum column { COLUMN_APPEND, COLUMN_P50, COLUMN_SUBMIT, COLUMN_BATCH, COLUMNS };

static const struct report_column columns[COLUMNS] = {
    [COLUMN_APPEND] = {"append entries/s", REPORT_RATE},
    [COLUMN_P50] = {"append p50", REPORT_TIME},
    [COLUMN_SUBMIT] = {"submit entries/s", REPORT_RATE},
    [COLUMN_BATCH] = {"batch append entries/s", REPORT_RATE}};

static int measure(struct report *report, const struct settings *settings, unsigned procs,
                   enum producer_mode mode, enum column column)
{
    static struct histogram latency_ns;
    const unsigned workers = procs * settings->threads;
    const unsigned steps = 3 * (settings->procs_max - settings->procs_min + 1) * settings->runs;
    const struct producer_plan plan = {
        .mode = mode,
        .topics = settings->topics ? settings->topics : workers,
        .batch = settings->batch,
        .size_min = settings->size_min,
        .size_max = settings->size_max,
        .log_bytes_max = settings->bytes_max / steps / workers,
        .latency = mode == PRODUCER_APPEND,
    };
    const struct role role = producer_role(procs, settings->threads, &plan);
    struct crew crew = {.roles = &role, .roles_count = 1, .duration_s = settings->duration_s};
    char row[32];

    const int result = trial_run(settings, settings->fsync, settings->idle, &crew);
    if (result == 0) {
        const struct crew_sum sum = crew_sum(&crew, 0);
        snprintf(row, sizeof row, "%u process%s", procs, procs == 1 ? "" : "es");
        report_add(report, row, column,
                   (double)sum.entries * (double)NS_PER_S / (double)(sum.end_ns - sum.begin_ns));
        if (plan.latency) {
            crew_latency(&crew, 0, &latency_ns);
            report_add(report, row, COLUMN_P50, (double)histogram_quantile(&latency_ns, 0.5));
        }
    }
    crew_deinit(&crew);
    return result;
}

static int procs_measure(struct report *report, const struct settings *settings, unsigned procs)
{
    int result = measure(report, settings, procs, PRODUCER_APPEND, COLUMN_APPEND);
    if (result == 0) {
        result = measure(report, settings, procs, PRODUCER_SUBMIT, COLUMN_SUBMIT);
    }
    if (result == 0) {
        result = measure(report, settings, procs, PRODUCER_BATCH, COLUMN_BATCH);
    }
    return result;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    settings.procs_min = 1;
    settings.procs_max = 10;
    settings.size_min = 500;
    settings.size_max = 1024;
    settings.batch = 64;
    settings.duration_s = 1;
    settings_load(&settings);
    settings_check_space(&settings);
    report_open(&report, "bench-scaling",
                "how does the rate of appends grow with the number of producer processes?",
                &settings, columns, COLUMNS);
    printf("%u threads per process, batches of %u.\n", settings.threads, settings.batch);
    for (unsigned run = 0; run < settings.runs; run++) {
        for (unsigned procs = settings.procs_min; procs <= settings.procs_max; procs++) {
            const int result = procs_measure(&report, &settings, procs);
            if (result < 0) {
                return report_close(&report, result);
            }
        }
    }
    return report_close(&report, 0);
}
