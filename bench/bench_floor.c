/*
 * bench-floor: how far is Tusk from what cannot be avoided? A bare relay loop does the same copies
 * and checksums with no features (relay.h), Tusk's own figures are measured in the same run by the
 * same driver: entries per second from a producer process to a reader process that follows, and the
 * round trip of one entry until it is acknowledged, each with what it costs. With --latency: only
 * the round trip.
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/follower.h"
#include "bench/producer.h"
#include "bench/relay.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define WITHIN_BYTES (UINT64_C(448) << 20) /* what one measurement writes: less than half of it */
#define LEAD_BYTES (UINT64_C(32) << 20)    /* how far the producer goes ahead, as in bench-writes */
#define TRIP_LOG_BYTES (UINT64_C(128) << 20)
#define BATCH 1000
#define BATCHED_SIZE_MAX 100 /* larger ones don't fit a lane by the thousand */

enum flow_column {
    FLOW_MADE,
    FLOW_READ,
    FLOW_RATIO,
    FLOW_COST, /* CPU time and system calls of an entry */
    FLOW_COLUMNS = FLOW_COST + COST_COLUMNS
};

static const struct report_column flow_columns[FLOW_COLUMNS] = {
    [FLOW_MADE] = {"entries/s", REPORT_RATE},
    [FLOW_READ] = {"end to end/s", REPORT_RATE},
    [FLOW_RATIO] = {"of the floor", REPORT_RATIO},
    COST_COLUMNS_LIST};

enum trip_column {
    TRIP_P50,
    TRIP_P90,
    TRIP_P99,
    TRIP_P999,
    TRIP_P9999,
    TRIP_MAX,
    TRIP_COUNT,
    TRIP_RATIO,
    TRIP_RATE,
    TRIP_COST,
    TRIP_COLUMNS = TRIP_COST + COST_COLUMNS
};

static const struct report_column trip_columns[TRIP_COLUMNS] = {
    [TRIP_P50] = {"p50", REPORT_TIME},
    [TRIP_P90] = {"p90", REPORT_TIME, .plain = true},
    [TRIP_P99] = {"p99", REPORT_TIME},
    [TRIP_P999] = {"p99.9", REPORT_TIME},
    [TRIP_P9999] = {"p99.99", REPORT_TIME, .plain = true},
    [TRIP_MAX] = {"most", REPORT_TIME, .plain = true},
    [TRIP_COUNT] = {"values", REPORT_COUNT, .plain = true},
    [TRIP_RATIO] = {"p50 / floor", REPORT_RATIO},
    [TRIP_RATE] = {"round trips/s", REPORT_RATE},
    COST_COLUMNS_LIST};

static const struct {
    enum trip_column column;
    double fraction;
} quantiles[] = {
    {TRIP_P50, 0.5}, {TRIP_P90, 0.9}, {TRIP_P99, 0.99}, {TRIP_P999, 0.999}, {TRIP_P9999, 0.9999}};

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

/* ---- The floor ------------------------------------------------------------------------------- */

/* A relay and those who use it. */
struct floor {
    struct relay_plan plan;
    uint64_t log_bytes; /* of the ring that stands for the arena; a power of two */
    struct role roles[RELAY_ROLES];
    struct crew crew;
};

/* The roles go through the plan with a relay of their own, which is gone afterwards. */
static int floor_run(struct floor *floor)
{
    floor->plan.relay = relay_new(floor->log_bytes);
    if (!floor->plan.relay) {
        return -ENOMEM;
    }
    relay_roles(floor->roles, &floor->plan);
    floor->crew.roles = floor->roles;
    floor->crew.roles_count = floor->plan.round_trip ? RELAY_ROLES - 1 : RELAY_ROLES;
    const int result = crew_run(&floor->crew);
    relay_free(floor->plan.relay);
    return result;
}

/* What cost_count_trial() does for a trial. */
static int floor_count(struct report *report, const char *row, unsigned first, struct floor *floor)
{
    struct crew *crew = &floor->crew;

    if (!cost_counts_calls()) {
        return 0;
    }
    crew->count_calls = true;
    crew->duration_s = crew->duration_s < COST_DURATION_S ? crew->duration_s : COST_DURATION_S;
    const int result = floor_run(floor);
    if (result == 0) {
        const struct crew_cost cost = crew_cost(crew);
        cost_report_calls(report, row, first, &cost);
    }
    crew_deinit(crew);
    return result;
}

/* ---- From a producer to a reader ------------------------------------------------------------- */

struct flow {
    const struct settings *settings;
    uint64_t size;
    bool first;        /* run, which counts system calls too */
    double floor_rate; /* end to end, of the relay that doesn't ask ahead; 0: not measured */
};

static double flow_add(struct report *report, const char *row, const struct crew *crew,
                       size_t reader)
{
    const struct crew_sum made = crew_sum(crew, 0);
    const struct crew_sum read = crew_sum(crew, reader);
    const struct crew_cost cost = crew_cost(crew);
    const double rate =
        (double)made.entries * (double)NS_PER_S / (double)(read.end_ns - made.begin_ns);

    report_add(report, row, FLOW_MADE,
               (double)made.entries * (double)NS_PER_S / (double)(made.end_ns - made.begin_ns));
    report_add(report, row, FLOW_READ, rate);
    cost_report_cpu(report, row, FLOW_COST, &cost);
    return rate;
}

/* Arena and bare log hold what is written twice, and the producer's lead four times. */
static uint64_t flow_log_bytes(const struct settings *settings)
{
    uint64_t bytes = 4 * LEAD_BYTES;

    while (bytes < 2 * settings->bytes_max) {
        bytes *= 2;
    }
    return bytes;
}

static int floor_flow(struct report *report, struct flow *flow, bool ahead)
{
    const struct settings *settings = flow->settings;
    const uint64_t entry_bytes = relay_log_bytes(flow->size);
    struct floor floor = {.plan = {.size = flow->size,
                                   .entries_max = settings->bytes_max / entry_bytes,
                                   .lead_entries = LEAD_BYTES / entry_bytes,
                                   .ahead = ahead},
                          .log_bytes = flow_log_bytes(settings),
                          .crew = {.duration_s = settings->duration_s}};
    char row[64];

    snprintf(row, sizeof row, "%llu B, the floor%s", (unsigned long long)flow->size,
             ahead ? ", asking ahead" : "");
    if (!settings_wants(settings, row)) {
        return 0;
    }
    struct result_shape shape = shape_make(
        settings, ahead ? "bare relay, asking ahead" : "bare relay", "submit", flow->size, "yield");
    shape.consumers = 1;
    report_begin(report, row, &shape);
    int result = floor_run(&floor);
    if (result == 0) {
        const double rate = flow_add(report, row, &floor.crew, RELAY_ROLES - 1);
        flow->floor_rate = ahead ? flow->floor_rate : rate;
    }
    crew_deinit(&floor.crew);
    if (result == 0 && flow->first) {
        result = floor_count(report, row, FLOW_COST, &floor);
    }
    return result;
}

static int tusk_flow(struct report *report, const struct flow *flow, enum producer_mode mode,
                     const char *row)
{
    const struct settings *settings = flow->settings;
    const struct producer_plan plan = {.mode = mode,
                                       .topics = 1,
                                       .batch = mode == PRODUCER_SUBMIT_BATCH ? BATCH : 1,
                                       .size_min = flow->size,
                                       .size_max = flow->size,
                                       .log_bytes_max = settings->bytes_max,
                                       .lead_entries = LEAD_BYTES / producer_log_bytes(flow->size),
                                       .followers = 1};
    const struct follower_plan follow = {.topics = 1, .warm = true};
    const struct role roles[] = {producer_role(1, 1, &plan), follower_role(1, &follow)};
    struct crew crew = {.roles = roles, .roles_count = 2, .duration_s = settings->duration_s};

    if (!settings_wants(settings, row)) {
        return 0;
    }
    struct result_shape shape = shape_make(settings, NULL, "submit", flow->size, settings->idle);
    shape.consumers = 1;
    shape.batch = plan.batch;
    report_begin(report, row, &shape);
    int result = trial_run(settings, settings->fsync, settings->idle, &crew);
    if (result == 0) {
        const double rate = flow_add(report, row, &crew, 1);
        if (flow->floor_rate > 0) {
            report_add(report, row, FLOW_RATIO, rate / flow->floor_rate);
        }
    }
    crew_deinit(&crew);
    if (result == 0 && flow->first) {
        result = cost_count_trial(report, row, FLOW_COST, settings->fsync, settings->idle, &crew);
    }
    return result;
}

static int flows_run(struct report *report, struct flow *flow)
{
    char row[64];

    int result = floor_flow(report, flow, false);
    if (result == 0) {
        snprintf(row, sizeof row, "%llu B, Tusk", (unsigned long long)flow->size);
        result = tusk_flow(report, flow, PRODUCER_SUBMIT, row);
    }
    if (result == 0 && flow->size <= BATCHED_SIZE_MAX) {
        snprintf(row, sizeof row, "%llu B, Tusk, batches of %d", (unsigned long long)flow->size,
                 BATCH);
        result = tusk_flow(report, flow, PRODUCER_SUBMIT_BATCH, row);
    }
    if (result == 0) {
        result = floor_flow(report, flow, true);
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
    printf("Until %llu MiB of log are written, arena and bare log %llu MiB; the producer at most "
           "%llu MiB ahead of the reader. The floor's broker is the relay.\n",
           (unsigned long long)(settings->bytes_max >> 20),
           (unsigned long long)(flow_log_bytes(settings) >> 20),
           (unsigned long long)(LEAD_BYTES >> 20));
    for (unsigned run = 0; run < settings->runs; run++) {
        for (unsigned i = 0; i < sizes_count; i++) {
            struct flow flow = {.settings = settings, .size = sizes[i], .first = run == 0};
            const int result = flows_run(&report, &flow);
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
    const struct crew_cost cost = crew_cost(crew);

    crew_latency(crew, 0, &latency_ns);
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        report_add(report, row, quantiles[i].column,
                   (double)histogram_quantile(&latency_ns, quantiles[i].fraction));
    }
    report_add(report, row, TRIP_MAX, (double)latency_ns.max);
    report_add(report, row, TRIP_COUNT, (double)latency_ns.count);
    report_add(report, row, TRIP_RATE,
               (double)sum.entries * (double)NS_PER_S / (double)(sum.end_ns - sum.begin_ns));
    cost_report_cpu(report, row, TRIP_COST, &cost);
    report_histogram(report, row, "append", &latency_ns);
    return (double)histogram_quantile(&latency_ns, 0.5);
}

static int floor_trip(struct report *report, const struct settings *settings, bool first,
                      double *p50)
{
    static const char row[] = "the floor";
    const uint64_t size = settings->size_min;
    struct floor floor = {.plan = {.size = size, .round_trip = true},
                          .log_bytes = TRIP_LOG_BYTES,
                          .crew = {.duration_s = settings->duration_s}};

    const struct result_shape shape = shape_make(settings, "bare relay", "append", size, "spin");
    report_begin(report, row, &shape);
    int result = floor_run(&floor);
    if (result == 0) {
        *p50 = trip_add(report, row, &floor.crew);
    }
    crew_deinit(&floor.crew);
    if (result == 0 && first) {
        result = floor_count(report, row, TRIP_COST, &floor);
    }
    return result;
}

static int tusk_trip(struct report *report, const struct settings *settings, bool first,
                     double floor_p50)
{
    static const char row[] = "Tusk, append to COMMITTED";
    const uint64_t size = settings->size_min;
    const struct producer_plan plan = {.mode = PRODUCER_APPEND,
                                       .topics = 1,
                                       .batch = 1,
                                       .size_min = size,
                                       .size_max = size,
                                       .log_bytes_max = settings->bytes_max,
                                       .latency = true};
    const struct role role = producer_role(1, 1, &plan);
    struct crew crew = {.roles = &role, .roles_count = 1, .duration_s = settings->duration_s};

    const struct result_shape shape = shape_make(settings, NULL, "append", size, "spin");
    report_begin(report, row, &shape);
    int result = trial_run(settings, settings->fsync, "spin", &crew);
    if (result == 0) {
        const double p50 = trip_add(report, row, &crew);
        if (floor_p50 > 0) {
            report_add(report, row, TRIP_RATIO, p50 / floor_p50);
        }
    }
    crew_deinit(&crew);
    if (result == 0 && first) {
        result = cost_count_trial(report, row, TRIP_COST, settings->fsync, "spin", &crew);
    }
    return result;
}

static int trip_measure(const struct settings *settings)
{
    static struct report report;

    report_open(&report, "bench-floor-latency",
                "how long does a round trip of one entry take, beside a bare relay's?", settings,
                trip_columns, TRIP_COLUMNS);
    printf("%llu B, one outstanding, both sides spin.\n", (unsigned long long)settings->size_min);
    for (unsigned run = 0; run < settings->runs; run++) {
        double floor_p50 = 0;
        int result = floor_trip(&report, settings, run == 0, &floor_p50);
        if (result == 0) {
            result = tusk_trip(&report, settings, run == 0, floor_p50);
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
    char arena[32];

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
    if (settings.bytes_max > WITHIN_BYTES) {
        settings.bytes_max = WITHIN_BYTES; /* deleted after each measurement */
    }
    settings_check_space(&settings);
    snprintf(arena, sizeof arena, "%lluM", (unsigned long long)(flow_log_bytes(&settings) >> 20));
    setenv("TUSK_ARENA", arena, 1);
    if (!latency) {
        const int status = flow_measure(&settings);
        if (status != EX_OK) {
            return status;
        }
    }
    return trip_measure(&settings);
}
