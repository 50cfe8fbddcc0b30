/*
 * bench-writes: how many entries per second do producer processes append, waiting for each, not
 * waiting, or in batches; and how many go from one producer process to one that reads them?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/clock.h"
#include "bench/follower.h"
#include "bench/producer.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum column { COLUMN_ENTRIES, COLUMN_BYTES, COLUMN_READ, COLUMN_P50, COLUMN_P99, COLUMNS };

static const struct report_column columns[COLUMNS] = {
    [COLUMN_ENTRIES] = {"entries/s", REPORT_RATE},
    [COLUMN_BYTES] = {"payload B/s", REPORT_BYTES},
    [COLUMN_READ] = {"end to end/s", REPORT_RATE},
    [COLUMN_P50] = {"call p50", REPORT_TIME},
    [COLUMN_P99] = {"call p99", REPORT_TIME}};

struct shape {
    const char *name;
    enum producer_mode mode;
    bool latency;
    bool pipe; /* one producer, one follower, small entries, nothing synced */
    bool lead; /* the producer stays close to the follower */
};

static const struct shape shapes[] = {
    {"append", PRODUCER_APPEND, true, false, false},
    {"submit", PRODUCER_SUBMIT, false, false, false},
    {"submit, completions reaped", PRODUCER_COMPLETIONS, false, false, false},
    {"batch append", PRODUCER_BATCH, true, false, false},
    {"64 B, process to process", PRODUCER_SUBMIT, false, true, true},
    {"64 B, process to process, batches", PRODUCER_SUBMIT_BATCH, false, true, true},
    {"64 B, process to process, unbounded", PRODUCER_SUBMIT, false, true, false},
};

#define SHAPES_COUNT (sizeof shapes / sizeof *shapes)
#define PIPE_SIZE 64
#define PIPE_BATCH 64
#define PIPE_LEAD ((32 << 20) / 96) /* entries in 32 MiB of log, a quarter of the arena */

static unsigned shapes_wanted(const struct settings *settings)
{
    unsigned count = 0;

    for (size_t i = 0; i < SHAPES_COUNT; i++) {
        count += settings_wants(settings, shapes[i].name);
    }
    return count;
}

static struct producer_plan plan_make(const struct settings *settings, const struct shape *shape)
{
    const unsigned workers = shape->pipe ? 1 : settings->procs_max * settings->threads;
    const uint64_t bytes = settings->bytes_max / shapes_wanted(settings) / settings->runs;

    return (struct producer_plan){
        .mode = shape->mode,
        .topics = shape->pipe        ? 1
                  : settings->topics ? settings->topics
                                     : workers,
        .batch = shape->pipe ? PIPE_BATCH : settings->batch,
        .size_min = shape->pipe ? PIPE_SIZE : settings->size_min,
        .size_max = shape->pipe ? PIPE_SIZE : settings->size_max,
        .log_bytes_max = bytes / workers,
        .latency = shape->latency,
        .lead_entries = shape->lead ? PIPE_LEAD : 0,
    };
}

static void crew_report(struct report *report, const struct shape *shape, const struct crew *crew)
{
    static struct histogram latency_ns;
    const struct crew_sum made = crew_sum(crew, 0);
    const double seconds = (double)(made.end_ns - made.begin_ns) / (double)NS_PER_S;

    report_add(report, shape->name, COLUMN_ENTRIES, (double)made.entries / seconds);
    report_add(report, shape->name, COLUMN_BYTES, (double)made.bytes / seconds);
    if (crew->roles_count > 1) {
        const struct crew_sum read = crew_sum(crew, 1);
        report_add(report, shape->name, COLUMN_READ,
                   (double)made.entries * (double)NS_PER_S / (double)(read.end_ns - made.begin_ns));
    }
    if (shape->latency) {
        crew_latency(crew, 0, &latency_ns);
        report_add(report, shape->name, COLUMN_P50, (double)histogram_quantile(&latency_ns, 0.5));
        report_add(report, shape->name, COLUMN_P99, (double)histogram_quantile(&latency_ns, 0.99));
    }
}

static int shape_run(struct report *report, const struct settings *settings,
                     const struct shape *shape)
{
    const struct producer_plan plan = plan_make(settings, shape);
    const struct follower_plan follow = {.topics = plan.topics};
    const unsigned followers = shape->pipe ? 1 : settings->consumers;
    const struct role roles[] = {producer_role(shape->pipe ? 1 : settings->procs_max,
                                               shape->pipe ? 1 : settings->threads, &plan),
                                 follower_role(followers, &follow)};
    struct crew crew = {
        .roles = roles, .roles_count = followers > 0 ? 2 : 1, .duration_s = settings->duration_s};

    const int result =
        trial_run(settings, shape->pipe ? "none" : settings->fsync, settings->idle, &crew);
    if (result == 0) {
        crew_report(report, shape, &crew);
    }
    crew_deinit(&crew);
    return result;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    settings.procs_min = settings.procs_max = 10;
    settings.size_min = 500;
    settings.size_max = 1024;
    settings.batch = 64;
    settings.duration_s = 3;
    settings_load(&settings);
    settings_check_space(&settings);
    report_open(&report, "bench-writes",
                "how many entries per second do producer processes append, and how many of 64 "
                "bytes reach a reading process?",
                &settings, columns, COLUMNS);
    printf(
        "%u producer processes of %u threads, batches of %u. Process to process: one producer, at "
        "most %d entries ahead of one reader unless unbounded, fsync none, batches of %d.\n",
        settings.procs_max, settings.threads, settings.batch, PIPE_LEAD, PIPE_BATCH);
    for (unsigned run = 0; run < settings.runs; run++) {
        for (size_t i = 0; i < SHAPES_COUNT; i++) {
            const int result = settings_wants(&settings, shapes[i].name)
                                   ? shape_run(&report, &settings, &shapes[i])
                                   : 0;
            if (result < 0) {
                return report_close(&report, result);
            }
        }
    }
    return report_close(&report, 0);
}
