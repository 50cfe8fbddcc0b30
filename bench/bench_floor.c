/*
 * bench-floor: how far is Tusk from what cannot be avoided? A bare relay loop does the same copies
 * and checksums with no features (relay.h), Tusk's own figures are measured in the same run by the
 * same driver: entries per second from a producer process to a reader process that follows, and the
 * round trip of one entry until it is acknowledged. With --latency: only the round trip.
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/clock.h"
#include "bench/follower.h"
#include "bench/producer.h"
#include "bench/relay.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define ARENA "1G"
#define LOG_BYTES (UINT64_C(1) << 30)      /* the same, of the floor's log */
#define WITHIN_BYTES (UINT64_C(448) << 20) /* what one measurement writes: less than half of it */
#define LEAD_BYTES (UINT64_C(32) << 20)    /* how far the producer goes ahead, as in bench-writes */
#define TRIP_LOG_BYTES (UINT64_C(128) << 20)
#define BATCH 1000
#define BATCHED_SIZE_MAX 100 /* larger ones don't fit a lane by the thousand */

enum flow_column { FLOW_MADE, FLOW_READ, FLOW_RATIO, FLOW_COLUMNS };

static const struct report_column flow_columns[FLOW_COLUMNS] = {
    [FLOW_MADE] = {"entries/s", REPORT_RATE},
    [FLOW_READ] = {"end to end/s", REPORT_RATE},
    [FLOW_RATIO] = {"of the floor", REPORT_RATIO}};

enum trip_column { TRIP_P50, TRIP_P99, TRIP_P999, TRIP_RATIO, TRIP_RATE, TRIP_COLUMNS };

static const struct report_column trip_columns[TRIP_COLUMNS] = {
    [TRIP_P50] = {"p50", REPORT_TIME},
    [TRIP_P99] = {"p99", REPORT_TIME},
    [TRIP_P999] = {"p99.9", REPORT_TIME},
    [TRIP_RATIO] = {"p50 / floor", REPORT_RATIO},
    [TRIP_RATE] = {"round trips/s", REPORT_RATE}};

/* One producer, one entry after the other to one topic. */
static struct result_shape shape_make(const struct settings *settings, const char *system,
                                      const char *mode, uint64_t size, const char *idle)
{
    return (struct result_shape){.system = system,
                                 .mode = mode,
                                 .series = "size",
                                 .processes = 1,
                                 .threads = 1,
                                 .topics = 1,
                                 .batch = 1,
                                 .size_min = size,
                                 .size_max = size,
                                 .fsync = settings->fsync,
                                 .idle = idle};
}

/* ---- From a producer to a reader ------------------------------------------------------------- */

static double flow_add(struct report *report, const char *row, const struct crew *crew,
                       size_t reader)
{
    const struct crew_sum made = crew_sum(crew, 0);
    const struct crew_sum read = crew_sum(crew, reader);
    const double rate =
        (double)made.entries * (double)NS_PER_S / (double)(read.end_ns - made.begin_ns);

    report_add(report, row, FLOW_MADE,
               (double)made.entries * (double)NS_PER_S / (double)(made.end_ns - made.begin_ns));
    report_add(report, row, FLOW_READ, rate);
    return rate;
}

static int floor_flow(struct report *report, const struct settings *settings, uint64_t size,
                      bool ahead, double *rate)
{
    char row[64];

    snprintf(row, sizeof row, "%llu B, the floor%s", (unsigned long long)size,
             ahead ? ", asking ahead" : "");
    if (!settings_wants(settings, row)) {
        return 0;
    }
    struct relay_plan plan = {.size = size,
                              .entries_max = WITHIN_BYTES / relay_log_bytes(size),
                              .lead_entries = LEAD_BYTES / relay_log_bytes(size),
                              .ahead = ahead,
                              .relay = relay_new(LOG_BYTES)};
    struct role roles[RELAY_ROLES];
    struct crew crew = {
        .roles = roles, .roles_count = RELAY_ROLES, .duration_s = settings->duration_s};

    if (!plan.relay) {
        return -ENOMEM;
    }
    struct result_shape shape = shape_make(
        settings, ahead ? "bare relay, asking ahead" : "bare relay", "submit", size, "yield");
    shape.consumers = 1;
    report_begin(report, row, &shape);
    relay_roles(roles, &plan);
    const int result = crew_run(&crew);
    if (result == 0) {
        *rate = flow_add(report, row, &crew, RELAY_ROLES - 1);
    }
    crew_deinit(&crew);
    relay_free(plan.relay);
    return result;
}

static int tusk_flow(struct report *report, const struct settings *settings, uint64_t size,
                     enum producer_mode mode, const char *row, double floor_rate)
{
    const struct producer_plan plan = {.mode = mode,
                                       .topics = 1,
                                       .batch = mode == PRODUCER_SUBMIT_BATCH ? BATCH : 1,
                                       .size_min = size,
                                       .size_max = size,
                                       .log_bytes_max = WITHIN_BYTES,
                                       .lead_entries = LEAD_BYTES / producer_log_bytes(size),
                                       .followers = 1};
    const struct follower_plan follow = {.topics = 1, .warm = true};
    const struct role roles[] = {producer_role(1, 1, &plan), follower_role(1, &follow)};
    struct crew crew = {.roles = roles, .roles_count = 2, .duration_s = settings->duration_s};

    if (!settings_wants(settings, row)) {
        return 0;
    }
    struct result_shape shape = shape_make(settings, NULL, "submit", size, settings->idle);
    shape.consumers = 1;
    shape.batch = plan.batch;
    report_begin(report, row, &shape);
    const int result = trial_run(settings, settings->fsync, settings->idle, &crew);
    if (result == 0) {
        const double rate = flow_add(report, row, &crew, 1);
        if (floor_rate > 0) {
            report_add(report, row, FLOW_RATIO, rate / floor_rate);
        }
    }
    crew_deinit(&crew);
    return result;
}

static int flows_run(struct report *report, const struct settings *settings, uint64_t size)
{
    double floor_rate = 0;
    double ahead_rate = 0;
    char row[64];

    int result = floor_flow(report, settings, size, false, &floor_rate);
    if (result == 0) {
        snprintf(row, sizeof row, "%llu B, Tusk", (unsigned long long)size);
        result = tusk_flow(report, settings, size, PRODUCER_SUBMIT, row, floor_rate);
    }
    if (result == 0 && size <= BATCHED_SIZE_MAX) {
        snprintf(row, sizeof row, "%llu B, Tusk, batches of %d", (unsigned long long)size, BATCH);
        result = tusk_flow(report, settings, size, PRODUCER_SUBMIT_BATCH, row, floor_rate);
    }
    if (result == 0) {
        result = floor_flow(report, settings, size, true, &ahead_rate);
    }
    return result;
}

/* SIZE: one size, or the ends of a range. */
static int flow_measure(const struct settings *settings)
{
    static struct report report;
    const uint64_t sizes[] = {settings->size_min, settings->size_max};
    const unsigned sizes_count = settings->size_min < settings->size_max ? 2 : 1;

    report_open(
        &report, "bench-floor",
        "what part of a bare relay's rate does Tusk reach, from one producer process to one "
        "reader process that follows?",
        settings, flow_columns, FLOW_COLUMNS);
    printf(
        "Until %llu MiB of log are written, arena and bare log %s; the producer at most %llu MiB "
        "ahead of the reader.\n",
        (unsigned long long)(WITHIN_BYTES >> 20), ARENA, (unsigned long long)(LEAD_BYTES >> 20));
    for (unsigned run = 0; run < settings->runs; run++) {
        for (unsigned i = 0; i < sizes_count; i++) {
            const int result = flows_run(&report, settings, sizes[i]);
            if (result < 0) {
                return report_close(&report, result);
            }
        }
    }
    return report_close(&report, 0);
}

/* ---- There and back -------------------------------------------------------------------------- */

static double trip_add(struct report *report, const char *row, const struct crew *crew)
{
    static struct histogram latency_ns;
    const struct crew_sum sum = crew_sum(crew, 0);

    crew_latency(crew, 0, &latency_ns);
    const double p50 = (double)histogram_quantile(&latency_ns, 0.5);
    report_add(report, row, TRIP_P50, p50);
    report_add(report, row, TRIP_P99, (double)histogram_quantile(&latency_ns, 0.99));
    report_add(report, row, TRIP_P999, (double)histogram_quantile(&latency_ns, 0.999));
    report_add(report, row, TRIP_RATE,
               (double)sum.entries * (double)NS_PER_S / (double)(sum.end_ns - sum.begin_ns));
    return p50;
}

static int floor_trip(struct report *report, const struct settings *settings, uint64_t size,
                      double *p50)
{
    struct relay_plan plan = {.size = size, .round_trip = true, .relay = relay_new(TRIP_LOG_BYTES)};
    struct role roles[RELAY_ROLES];
    struct crew crew = {.roles = roles, .roles_count = 2, .duration_s = settings->duration_s};

    if (!plan.relay) {
        return -ENOMEM;
    }
    const struct result_shape shape = shape_make(settings, "bare relay", "append", size, "spin");
    report_begin(report, "the floor", &shape);
    relay_roles(roles, &plan);
    const int result = crew_run(&crew);
    if (result == 0) {
        *p50 = trip_add(report, "the floor", &crew);
    }
    crew_deinit(&crew);
    relay_free(plan.relay);
    return result;
}

static int tusk_trip(struct report *report, const struct settings *settings, uint64_t size,
                     double floor_p50)
{
    const struct producer_plan plan = {.mode = PRODUCER_APPEND,
                                       .topics = 1,
                                       .batch = 1,
                                       .size_min = size,
                                       .size_max = size,
                                       .log_bytes_max = WITHIN_BYTES,
                                       .latency = true};
    const struct role role = producer_role(1, 1, &plan);
    struct crew crew = {.roles = &role, .roles_count = 1, .duration_s = settings->duration_s};

    const struct result_shape shape = shape_make(settings, NULL, "append", size, "spin");
    report_begin(report, "Tusk, append to COMMITTED", &shape);
    const int result = trial_run(settings, settings->fsync, "spin", &crew);
    if (result == 0) {
        const double p50 = trip_add(report, "Tusk, append to COMMITTED", &crew);
        if (floor_p50 > 0) {
            report_add(report, "Tusk, append to COMMITTED", TRIP_RATIO, p50 / floor_p50);
        }
    }
    crew_deinit(&crew);
    return result;
}

static int trip_measure(const struct settings *settings)
{
    static struct report report;
    const uint64_t size = settings->size_min;

    report_open(&report, "bench-floor-latency",
                "how long does a round trip of one entry take, beside a bare relay's?", settings,
                trip_columns, TRIP_COLUMNS);
    printf("%llu B, one outstanding, both sides spin.\n", (unsigned long long)size);
    for (unsigned run = 0; run < settings->runs; run++) {
        double floor_p50 = 0;
        int result = floor_trip(&report, settings, size, &floor_p50);
        if (result == 0) {
            result = tusk_trip(&report, settings, size, floor_p50);
        }
        if (result < 0) {
            return report_close(&report, result);
        }
    }
    return report_close(&report, 0);
}

int main(int argc, char **argv)
{
    struct settings settings = SETTINGS_DEFAULT;
    const bool latency = argc == 2 && strcmp(argv[1], "--latency") == 0;

    if (argc > 1 && !latency) {
        fprintf(stderr, "usage: bench-floor [--latency]\n");
        return EX_USAGE;
    }
    strcpy(settings.fsync, "none");
    settings.size_max = 1024;
    settings.duration_s = 2;
    settings.runs = 5;
    settings_load(&settings);
    settings_used("FSYNC SIZE DURATION BACKEND IDLE");
    settings.bytes_max = WITHIN_BYTES; /* deleted after each measurement */
    settings_check_space(&settings);
    setenv("TUSK_ARENA", ARENA, 1);
    if (!latency) {
        const int status = flow_measure(&settings);
        if (status != EX_OK) {
            return status;
        }
    }
    return trip_measure(&settings);
}
