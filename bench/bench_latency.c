/*
 * bench-latency: how long does an append take until it is COMMITTED, and until another process has
 * the entry: one append after the other (closed loop), and at rates that do not wait for answers
 * (open loop)?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/follower.h"
#include "bench/open_loop.h"
#include "bench/producer.h"
#include "bench/rates.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum column {
    COLUMN_P50,
    COLUMN_P90,
    COLUMN_P99,
    COLUMN_P999,
    COLUMN_P9999,
    COLUMN_MAX,
    COLUMN_COUNT,
    COLUMN_OFFERED,
    COLUMN_ACHIEVED,
    COLUMN_KEPT,
    COLUMN_LATE,
    COLUMN_RATIO,
    COLUMN_COST,
    COLUMNS = COLUMN_COST + COST_COLUMNS
};

static const struct report_column columns[COLUMNS] = {
    [COLUMN_P50] = {"p50", REPORT_TIME, false},
    [COLUMN_P90] = {"p90", REPORT_TIME, true},
    [COLUMN_P99] = {"p99", REPORT_TIME, true},
    [COLUMN_P999] = {"p99.9", REPORT_TIME, false},
    [COLUMN_P9999] = {"p99.99", REPORT_TIME, true},
    [COLUMN_MAX] = {"most", REPORT_TIME, true},
    [COLUMN_COUNT] = {"values", REPORT_COUNT, true},
    [COLUMN_OFFERED] = {"offered/s", REPORT_RATE, true},
    [COLUMN_ACHIEVED] = {"achieved/s", REPORT_RATE, true},
    [COLUMN_KEPT] = {"kept", REPORT_PERCENT, true},
    [COLUMN_LATE] = {"sent late p99", REPORT_TIME, true},
    [COLUMN_RATIO] = {"p50 / cache line", REPORT_RATIO, true},
    [COLUMN_COST] = COST_COLUMNS_LIST};

static const struct {
    enum column column;
    double fraction;
} quantiles[] = {{COLUMN_P50, 0.5},
                 {COLUMN_P90, 0.9},
                 {COLUMN_P99, 0.99},
                 {COLUMN_P999, 0.999},
                 {COLUMN_P9999, 0.9999}};

static const char *const idles[] = {"spin", "adaptive", "block"};

#define IDLES (sizeof idles / sizeof *idles)
#define RATES_DEFAULT "10K,100K,1M,50%,80%"
#define ROW_BYTES 64

struct bench {
    struct settings settings;
    struct report report;
    struct rates rates;
    bool first;            /* run, which counts system calls too */
    bool counting;         /* nothing is measured yet: ... */
    unsigned measurements; /* ... how many there will be */
};

/* ---- What is reported ------------------------------------------------------------------------ */

static void latency_report(struct report *report, const char *row, const struct crew *crew,
                           size_t role, const char *what)
{
    static struct histogram latency_ns;

    crew_latency(crew, role, &latency_ns);
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        report_add(report, row, quantiles[i].column,
                   (double)histogram_quantile(&latency_ns, quantiles[i].fraction));
    }
    report_add(report, row, COLUMN_MAX, (double)latency_ns.max);
    report_add(report, row, COLUMN_COUNT, (double)latency_ns.count);
    if (report->round_trip_ns > 0) {
        report_add(report, row, COLUMN_RATIO,
                   (double)histogram_quantile(&latency_ns, 0.5) / report->round_trip_ns);
    }
    report_histogram(report, row, what, &latency_ns);
}

/* From the first one's beginning to the last one's end. */
static double rate_achieved(const struct crew_sum *sum)
{
    return sum->end_ns > sum->begin_ns
               ? (double)sum->entries * (double)NS_PER_S / (double)(sum->end_ns - sum->begin_ns)
               : 0;
}

/* Of an open loop: role 0 sends. */
static void offer_report(struct report *report, const char *row, const struct crew *crew,
                         double per_second)
{
    static struct histogram late_ns;
    const struct crew_sum sum = crew_sum(crew, 0);
    const double achieved = rate_achieved(&sum);

    crew_late(crew, 0, &late_ns);
    report_add(report, row, COLUMN_OFFERED, per_second);
    report_add(report, row, COLUMN_ACHIEVED, achieved);
    report_add(report, row, COLUMN_KEPT, 100 * achieved / per_second);
    report_add(report, row, COLUMN_LATE, (double)histogram_quantile(&late_ns, 0.99));
    report_histogram(report, row, "sent late", &late_ns);
}

/* CPU time of the trial that has been reported; calls of another one, which ends it. */
static int cost_report(struct bench *bench, const char *row, const struct result_shape *shape,
                       struct crew *crew)
{
    const struct crew_cost cost = crew_cost(crew);

    cost_report_cpu(&bench->report, row, COLUMN_COST, &cost);
    crew_deinit(crew);
    return bench->first
               ? cost_count_trial(&bench->report, row, COLUMN_COST, shape->fsync, shape->idle, crew)
               : 0;
}

/* ---- Shapes ---------------------------------------------------------------------------------- */

/* Bytes that one producer of one measurement may write: half of all is for those that go as fast as
 * they can or nearly, half for the others. */
static uint64_t share_bytes(const struct bench *bench, bool fast)
{
    const struct settings *settings = &bench->settings;
    const uint64_t trials =
        (uint64_t)(fast ? bench->rates.count + 1 : 2 * bench->rates.count + 2) * IDLES;

    return settings->bytes_max / 2 / trials / settings->runs / settings->procs_max;
}

/* Whether it is to be counted only; otherwise it begins. */
static bool measurement_counted(struct bench *bench, const char *row,
                                const struct result_shape *shape)
{
    if (bench->counting) {
        bench->measurements++;
    } else {
        report_begin(&bench->report, row, shape);
    }
    return bench->counting;
}

/* One append after the other, or submitting as fast as completions come. */
static int closed_run(struct bench *bench, const char *row, const char *idle, const char *fsync,
                      enum producer_mode mode, double *per_second)
{
    const struct settings *settings = &bench->settings;
    const bool waits = mode == PRODUCER_APPEND;
    const struct producer_plan plan = {
        .mode = mode,
        .topics = settings->procs_max,
        .batch = 1,
        .size_min = settings->size_min,
        .size_max = settings->size_max,
        .log_bytes_max = share_bytes(bench, !waits),
        .latency = waits,
        .warm_up = true,
    };
    const struct role role = producer_role(settings->procs_max, 1, &plan);
    const struct result_shape shape = {.mode = waits ? "append" : "submit, completions reaped",
                                       .processes = settings->procs_max,
                                       .threads = 1,
                                       .topics = settings->procs_max,
                                       .batch = 1,
                                       .size_min = settings->size_min,
                                       .size_max = settings->size_max,
                                       .fsync = fsync,
                                       .idle = idle};
    struct crew crew = {.roles = &role, .roles_count = 1, .duration_s = settings->duration_s};

    if (measurement_counted(bench, row, &shape)) {
        *per_second = 1;
        return 0;
    }
    int result = trial_run(settings, fsync, idle, &crew);
    if (result == 0) {
        const struct crew_sum sum = crew_sum(&crew, 0);
        *per_second = rate_achieved(&sum);
        report_add(&bench->report, row, COLUMN_ACHIEVED, *per_second);
        if (waits) {
            latency_report(&bench->report, row, &crew, 0, "append");
        }
        result = cost_report(bench, row, &shape, &crew);
    }
    crew_deinit(&crew);
    return result;
}

/* Appends at a fixed rate; with a reader in another process, or with completions. */
static int open_run(struct bench *bench, const char *row, const char *idle, double per_second,
                    bool reader)
{
    const struct settings *settings = &bench->settings;
    const uint64_t size =
        settings->size_max < sizeof(uint64_t) ? sizeof(uint64_t) : settings->size_max;
    const struct open_loop_plan plan = {
        .per_second = per_second,
        .workers = settings->procs_max,
        .size = size,
        .operations_max = share_bytes(bench, !reader) / producer_log_bytes(size),
        .idle = settings_idle(idle),
        .completions = !reader,
    };
    const struct follower_plan follow = {.topics = 1, .latency = true};
    const struct role roles[] = {open_loop_role(&plan), follower_role(1, &follow)};
    const struct result_shape shape = {.mode = reader ? "submit, one way" : "submit, COMMITTED",
                                       .series = "rate",
                                       .processes = settings->procs_max,
                                       .threads = 1,
                                       .topics = 1,
                                       .consumers = reader,
                                       .batch = 1,
                                       .size_min = size,
                                       .size_max = size,
                                       .fsync = settings->fsync,
                                       .idle = idle};
    struct crew crew = {
        .roles = roles, .roles_count = reader ? 2 : 1, .duration_s = settings->duration_s};

    if (measurement_counted(bench, row, &shape)) {
        return 0;
    }
    int result = trial_run(settings, settings->fsync, idle, &crew);
    if (result == 0) {
        latency_report(&bench->report, row, &crew, reader ? 1 : 0,
                       reader ? "due to read" : "due to COMMITTED");
        offer_report(&bench->report, row, &crew, per_second);
        result = cost_report(bench, row, &shape, &crew);
    }
    crew_deinit(&crew);
    return result;
}

/* All rates of one kind with one idle strategy; those that are parts of the saturation rate are
 * left out where that is 0. */
static int rates_run(struct bench *bench, const char *kind, const char *idle, bool reader,
                     double saturation)
{
    char row[ROW_BYTES];
    int result = 0;

    for (size_t i = 0; i < bench->rates.count && result == 0; i++) {
        const struct rate *rate = &bench->rates.all[i];
        const double per_second = rate_per_second(rate, saturation);
        snprintf(row, sizeof row, "%s, %s, %s/s", kind, idle, rate->name);
        if (rate->percent > 0) {
            snprintf(row, sizeof row, "%s, %s, %s", kind, idle, rate->name);
        }
        if (per_second > 0 && settings_wants(&bench->settings, row)) {
            result = open_run(bench, row, idle, per_second, reader);
        }
    }
    return result;
}

static bool percents_wanted(const struct bench *bench)
{
    bool wanted = false;

    for (size_t i = 0; i < bench->rates.count; i++) {
        wanted = wanted || bench->rates.all[i].percent > 0;
    }
    return wanted;
}

static int idle_run(struct bench *bench, const char *idle)
{
    const char *fsync = bench->settings.fsync;
    char row[ROW_BYTES];
    double saturation = 0;
    double ignored = 0;
    int result = 0;

    snprintf(row, sizeof row, "closed, COMMITTED, %s", idle);
    if (settings_wants(&bench->settings, row)) {
        result = closed_run(bench, row, idle, fsync, PRODUCER_APPEND, &ignored);
    }
    snprintf(row, sizeof row, "open, COMMITTED, %s, saturated", idle);
    if (result == 0 && percents_wanted(bench) && settings_wants(&bench->settings, row)) {
        result = closed_run(bench, row, idle, fsync, PRODUCER_COMPLETIONS, &saturation);
    }
    if (result == 0) {
        result = rates_run(bench, "open, COMMITTED", idle, false, saturation);
    }
    if (result == 0) {
        result = rates_run(bench, "one way", idle, true, 0);
    }
    return result;
}

static int all_run(struct bench *bench)
{
    const struct settings *settings = &bench->settings;
    static const char durable_row[] = "closed, DURABLE, adaptive";
    double ignored = 0;
    int result = 0;

    if (settings->idle_given) {
        result = idle_run(bench, settings->idle);
    } else {
        for (size_t i = 0; i < IDLES && result == 0; i++) {
            result = idle_run(bench, idles[i]);
        }
        if (result == 0 && settings_wants(settings, durable_row)) {
            result = closed_run(bench, durable_row, "adaptive", "each", PRODUCER_APPEND, &ignored);
        }
    }
    return result;
}

int main(void)
{
    static struct bench bench = {.settings = SETTINGS_DEFAULT};
    struct settings *settings = &bench.settings;

    strcpy(settings->fsync, "none");
    settings->duration_s = 0.5;
    settings->rates = RATES_DEFAULT;
    settings_load(settings);
    settings_used("FSYNC PROCS SIZE DURATION BACKEND IDLE");
    settings_single(settings, SETTINGS_PROCESSES);
    settings_single(settings, SETTINGS_SIZE);
    settings_check_space(settings);
    if (!rates_parse(&bench.rates, settings->rates)) {
        fprintf(stderr,
                "RATE=%s: expected up to %d rates with commas between them, each as entries per "
                "second (10K, 1.5M) or as a part of the saturation rate (80%%)\n",
                settings->rates, RATES_MAX);
        return EX_USAGE;
    }
    report_open(&bench.report, "bench-latency",
                "how long does an append take until it is acknowledged, and until another process "
                "has the entry?",
                settings, columns, COLUMNS);
    printf(
        "%u producer process%s. closed: one append outstanding each; open: appends when they are "
        "due at the rate, latency from when they were due; one way: the same, until a reader in "
        "another process has the entry.\n",
        settings->procs_max, settings->procs_max == 1 ? "" : "es");
    bench.counting = true;
    all_run(&bench);
    bench.counting = false;
    report_expect(&bench.report, bench.measurements * settings->runs);
    for (unsigned run = 0; run < settings->runs; run++) {
        bench.first = run == 0;
        const int result = all_run(&bench);
        if (result < 0) {
            return report_close(&bench.report, result);
        }
    }
    return report_close(&bench.report, 0);
}
