/*
 * Writing: see writing.h.
 */
#include "bench/writing.h"

#include "bench/clock.h"
#include "bench/follower.h"
#include "bench/trial.h"

#include <stdio.h>

#define LEAD_BYTES (UINT64_C(32) << 20) /* of log, a quarter of the arena */
#define LANE_BYTES (UINT64_C(256) << 10)
#define COUNTED_SHARE 8 /* of the bytes that the timed run may write */

const struct report_column writing_columns[WRITING_COLUMNS] = {
    [WRITING_ENTRIES] = {"entries/s", REPORT_RATE, false, false},
    [WRITING_BYTES] = {"payload B/s", REPORT_BYTES, true, false},
    [WRITING_READ] = {"end to end/s", REPORT_RATE, false, false},
    [WRITING_OF_FIRST] = {"of first", REPORT_RATIO, false, false},
    [WRITING_P50] = {"call p50", REPORT_TIME, false, false},
    [WRITING_P99] = {"call p99", REPORT_TIME, false, false},
    COST_COLUMNS_LIST};

/* What is measured once. */
struct writing_run {
    const struct writing *writing;
    const struct settings *all;
    const struct settings *settings; /* one combination of them */
    const char *row;
    const char *series; /* of struct result_shape */
    bool count_calls;
    double *first; /* entries/s that others are held against; set if it is 0; NULL: none are */
};

static unsigned topics_count(const struct settings *settings)
{
    return settings->topics > 0 ? settings->topics : settings->procs_max * settings->threads;
}

static bool mode_batches(enum producer_mode mode)
{
    return mode == PRODUCER_BATCH || mode == PRODUCER_SUBMIT_BATCH;
}

static struct producer_plan plan_make(const struct writing_run *run)
{
    const struct settings *settings = run->settings;
    const unsigned workers = settings->procs_max * settings->threads;
    const bool lead = run->writing->lead && workers == 1 && settings->consumers > 0;

    return (struct producer_plan){
        .mode = run->writing->mode,
        .topics = topics_count(settings),
        .workers = workers,
        .batch = settings->batch,
        .size_min = settings->size_min,
        .size_max = settings->size_max,
        .log_bytes_max = settings->bytes_max / workers,
        .latency = run->writing->latency,
        .lead_entries = lead ? LEAD_BYTES / producer_log_bytes(settings->size_max) : 0,
        .followers = settings->consumers,
    };
}

static void rate_report(struct report *report, const struct writing_run *run,
                        const struct crew *crew)
{
    static struct histogram latency_ns;
    const struct crew_sum made = crew_sum(crew, 0);
    const double seconds = (double)(made.end_ns - made.begin_ns) / (double)NS_PER_S;
    double rate = (double)made.entries / seconds;

    report_add(report, run->row, WRITING_ENTRIES, rate);
    report_add(report, run->row, WRITING_BYTES, (double)made.bytes / seconds);
    if (crew->roles_count > 1) {
        const struct crew_sum read = crew_sum(crew, 1);
        rate = (double)made.entries * (double)NS_PER_S / (double)(read.end_ns - made.begin_ns);
        report_add(report, run->row, WRITING_READ, rate);
    }
    if (run->first) {
        *run->first = *run->first > 0 ? *run->first : rate;
        report_add(report, run->row, WRITING_OF_FIRST, rate / *run->first);
    }
    if (run->writing->latency) {
        crew_latency(crew, 0, &latency_ns);
        report_add(report, run->row, WRITING_P50, (double)histogram_quantile(&latency_ns, 0.5));
        report_add(report, run->row, WRITING_P99, (double)histogram_quantile(&latency_ns, 0.99));
        report_histogram(report, run->row, run->writing->name, &latency_ns);
    }
    const struct crew_cost cost = crew_cost(crew);
    cost_report_cpu(report, run->row, WRITING_COST, &cost);
}

/* Room for two batches, where the lanes that clients have by default have none. */
static size_t lane_bytes(const struct producer_plan *plan)
{
    const uint64_t batch_bytes = plan->batch * producer_log_bytes(plan->size_max);
    uint64_t bytes = 0;

    if (plan->mode == PRODUCER_SUBMIT_BATCH && batch_bytes > LANE_BYTES / 4) {
        for (bytes = LANE_BYTES; bytes < 4 * batch_bytes;) {
            bytes *= 2;
        }
    }
    return bytes;
}

/* A trial with that plan: timed, or with its calls counted. */
static int plan_run(struct report *report, const struct writing_run *run,
                    const struct producer_plan *plan, bool counted)
{
    const struct settings *settings = run->settings;
    const struct follower_plan follow = {.topics = plan->topics};
    struct role roles[] = {producer_role(settings->procs_max, settings->threads, plan),
                           follower_role(settings->consumers, &follow)};
    struct crew crew = {.roles = roles,
                        .roles_count = settings->consumers > 0 ? 2 : 1,
                        .duration_s = settings->duration_s,
                        .count_calls = counted};

    roles[0].options.lane_bytes = lane_bytes(plan);
    if (counted && crew.duration_s > COST_DURATION_S) {
        crew.duration_s = COST_DURATION_S;
    }
    const int result = trial_run(settings, settings->fsync, settings->idle, &crew);
    if (result == 0 && counted) {
        const struct crew_cost cost = crew_cost(&crew);
        cost_report_calls(report, run->row, WRITING_COST, &cost);
    } else if (result == 0) {
        rate_report(report, run, &crew);
    }
    crew_deinit(&crew);
    return result;
}

static int measure(struct report *report, const struct writing_run *run)
{
    const struct settings *settings = run->settings;
    struct producer_plan plan = plan_make(run);

    report_begin(report, run->row,
                 &(struct result_shape){.mode = run->writing->name,
                                        .series = run->series,
                                        .processes = settings->procs_max,
                                        .threads = settings->threads,
                                        .topics = plan.topics,
                                        .consumers = settings->consumers,
                                        .batch = mode_batches(plan.mode) ? plan.batch : 1,
                                        .size_min = settings->size_min,
                                        .size_max = settings->size_max,
                                        .fsync = run->all->fsync,
                                        .idle = run->all->idle});
    int result = plan_run(report, run, &plan, false);
    if (result == 0 && run->count_calls && cost_counts_calls()) {
        plan.log_bytes_max /= COUNTED_SHARE;
        plan.latency = false;
        result = plan_run(report, run, &plan, true);
    }
    return result;
}

/* ---- Every combination ----------------------------------------------------------------------- */

unsigned writing_sweep_count(const struct writing_sweep *sweep)
{
    unsigned shapes = 0;

    for (size_t i = 0; i < sweep->shapes_count; i++) {
        shapes += settings_wants(sweep->settings, sweep->shapes[i].name);
    }
    return shapes * settings_points(sweep->settings);
}

static int shape_run(struct report *report, const struct writing_sweep *sweep,
                     const struct writing *writing, unsigned run)
{
    const unsigned points = settings_points(sweep->settings);
    double first = 0;
    char varied[REPORT_NAME_BYTES / 2];
    char row[REPORT_NAME_BYTES];
    int result = 0;

    for (unsigned i = 0; i < points && result == 0; i++) {
        const struct settings point = settings_point(sweep->settings, i);
        settings_point_name(sweep->settings, &point, varied, sizeof varied);
        snprintf(row, sizeof row, "%.45s%s", writing->name, varied);
        result = measure(report, &(struct writing_run){.writing = writing,
                                                       .all = sweep->settings,
                                                       .settings = &point,
                                                       .row = row,
                                                       .series = settings_series(sweep->settings),
                                                       .count_calls = run == 0,
                                                       .first = points > 1 ? &first : NULL});
    }
    return result;
}

int writing_sweep_run(struct report *report, const struct writing_sweep *sweep, unsigned run)
{
    int result = 0;

    for (size_t i = 0; i < sweep->shapes_count && result == 0; i++) {
        if (settings_wants(sweep->settings, sweep->shapes[i].name)) {
            result = shape_run(report, sweep, &sweep->shapes[i], run);
        }
    }
    return result;
}

int writing_main(struct report *report, const struct writing_sweep *sweeps, size_t sweeps_count)
{
    const unsigned runs = report->settings->runs;
    unsigned expected = 0;
    int result = 0;

    for (size_t i = 0; i < sweeps_count; i++) {
        expected += runs * writing_sweep_count(&sweeps[i]);
    }
    report_expect(report, expected);
    for (unsigned run = 0; run < runs; run++) {
        for (size_t i = 0; i < sweeps_count && result == 0; i++) {
            result = writing_sweep_run(report, &sweeps[i], run);
        }
    }
    return report_close(report, result);
}
