/*
 * bench-latency: how long does one append take until it is COMMITTED, and until another process
 * has the entry?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/clock.h"
#include "bench/follower.h"
#include "bench/producer.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum column {
    COLUMN_P50,
    COLUMN_P99,
    COLUMN_P999,
    COLUMN_MAX,
    COLUMN_ROUND_TRIP,
    COLUMN_RATIO,
    COLUMN_RATE,
    COLUMNS
};

static const struct report_column columns[COLUMNS] = {
    [COLUMN_P50] = {"p50", REPORT_TIME},
    [COLUMN_P99] = {"p99", REPORT_TIME},
    [COLUMN_P999] = {"p99.9", REPORT_TIME},
    [COLUMN_MAX] = {"most", REPORT_TIME},
    [COLUMN_ROUND_TRIP] = {"cache line", REPORT_TIME},
    [COLUMN_RATIO] = {"p50 / cache line", REPORT_RATIO},
    [COLUMN_RATE] = {"operations/s", REPORT_RATE}};

#define PACE_NS (100 * NS_PER_US) /* between two appends of the paced shapes */

/* ---- A producer that leaves time between its appends, each carrying its time ------------------ */

struct paced {
    struct tusk_topic *topic;
    char *payload;
};

struct paced_plan {
    uint64_t size;
};

static int paced_prepare(struct worker *worker)
{
    const struct paced_plan *plan = worker->arg;
    struct paced *paced = calloc(1, sizeof *paced);
    char name[32];

    if (!paced || !(paced->payload = calloc(1, plan->size))) {
        return worker_fail(worker, -ENOMEM, "making a producer");
    }
    worker->state = paced;
    snprintf(name, sizeof name, PRODUCER_TOPIC_FORMAT, 0U);
    int result = tusk_topic_open(worker->tusk, name, NULL, &paced->topic);
    if (result == 0) {
        result = tusk_flush(worker->tusk, TUSK_COMMITTED, -1);
    }
    return result < 0 ? worker_fail(worker, result, "opening a topic") : 0;
}

static void paced_finish(struct worker *worker)
{
    struct paced *paced = worker->state;

    tusk_topic_close(paced->topic);
    free(paced->payload);
    free(paced);
}

static int paced_work(struct worker *worker)
{
    const struct paced_plan *plan = worker->arg;
    const struct timespec pace = {.tv_nsec = (long)PACE_NS};
    struct paced *paced = worker->state;

    while (!worker_stopped(worker)) {
        const uint64_t before_ns = clock_now_ns();
        memcpy(paced->payload, &before_ns, sizeof before_ns);
        const int result = tusk_append(paced->topic, paced->payload, plan->size, NULL);
        if (result < 0) {
            return worker_fail(worker, result, "tusk_append");
        }
        histogram_add(&worker->result->latency_ns, clock_now_ns() - before_ns);
        worker->result->operations++;
        worker->result->entries++;
        nanosleep(&pace, NULL);
    }
    return 0;
}

/* ---- Shapes ---------------------------------------------------------------------------------- */

static void latency_report(struct report *report, const char *row, const struct crew *crew,
                           size_t role, double round_trip_ns)
{
    static struct histogram latency_ns;
    const struct crew_sum sum = crew_sum(crew, role);

    crew_latency(crew, role, &latency_ns);
    const double p50 = (double)histogram_quantile(&latency_ns, 0.5);
    report_add(report, row, COLUMN_P50, p50);
    report_add(report, row, COLUMN_P99, (double)histogram_quantile(&latency_ns, 0.99));
    report_add(report, row, COLUMN_P999, (double)histogram_quantile(&latency_ns, 0.999));
    report_add(report, row, COLUMN_MAX, (double)latency_ns.max);
    report_add(report, row, COLUMN_ROUND_TRIP, round_trip_ns);
    report_add(report, row, COLUMN_RATIO, round_trip_ns > 0 ? p50 / round_trip_ns : 0);
    report_add(report, row, COLUMN_RATE,
               (double)sum.entries * (double)NS_PER_S / (double)(sum.end_ns - sum.begin_ns));
}

/* One append after the other: the round trip. */
static int round_trip_run(struct report *report, const struct settings *settings, const char *idle,
                          const char *fsync, const char *row)
{
    const struct producer_plan plan = {
        .mode = PRODUCER_APPEND,
        .topics = settings->procs_max,
        .batch = 1,
        .size_min = settings->size_min,
        .size_max = settings->size_max,
        .log_bytes_max = settings->bytes_max / 6 / settings->runs / settings->procs_max,
        .latency = true,
    };
    const struct role role = producer_role(settings->procs_max, 1, &plan);
    struct crew crew = {.roles = &role, .roles_count = 1, .duration_s = settings->duration_s};
    double median_ns = 0;
    double best_ns = 0;

    if (!settings_wants(settings, row)) {
        return 0;
    }
    machine_round_trip(&median_ns, &best_ns);
    const int result = trial_run(settings, fsync, idle, &crew);
    if (result == 0) {
        latency_report(report, row, &crew, 0, median_ns);
    }
    crew_deinit(&crew);
    return result;
}

/* Appends with pauses, and a process that waits for them. */
static int paced_run(struct report *report, const struct settings *settings, const char *idle,
                     const char *row_append, const char *row_entry)
{
    const struct paced_plan plan = {
        .size = settings->size_max < sizeof(uint64_t) ? sizeof(uint64_t) : settings->size_max};
    const struct follower_plan follow = {.topics = 1, .latency = true};
    const struct role roles[] = {{.processes = 1,
                                  .threads = 1,
                                  .produces = true,
                                  .prepare = paced_prepare,
                                  .work = paced_work,
                                  .finish = paced_finish,
                                  .arg = &plan},
                                 follower_role(1, &follow)};
    struct crew crew = {.roles = roles, .roles_count = 2, .duration_s = settings->duration_s};

    if (!settings_wants(settings, row_append) && !settings_wants(settings, row_entry)) {
        return 0;
    }
    const int result = trial_run(settings, "none", idle, &crew);
    if (result == 0) {
        const double round_trip_ns = report->machine.round_trip_ns;
        latency_report(report, row_append, &crew, 0, round_trip_ns);
        latency_report(report, row_entry, &crew, 1, round_trip_ns);
    }
    crew_deinit(&crew);
    return result;
}

static int all_run(struct report *report, const struct settings *settings)
{
    int result = 0;

    if (settings->idle_given) {
        result =
            round_trip_run(report, settings, settings->idle, settings->fsync, "append, COMMITTED");
    } else {
        result =
            round_trip_run(report, settings, "spin", settings->fsync, "append, COMMITTED, spin");
        if (result == 0) {
            result = round_trip_run(report, settings, "adaptive", settings->fsync,
                                    "append, COMMITTED, adaptive");
        }
        if (result == 0) {
            result = round_trip_run(report, settings, "block", settings->fsync,
                                    "append, COMMITTED, block");
        }
        if (result == 0) {
            result = round_trip_run(report, settings, "adaptive", "each", "append, DURABLE, each");
        }
    }
    if (result == 0) {
        result = paced_run(report, settings, settings->idle, "append, after a pause",
                           "append to reader, after a pause");
    }
    return result;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    strcpy(settings.fsync, "none");
    settings.duration_s = 3;
    settings_load(&settings);
    settings_check_space(&settings);
    report_open(&report, "bench-latency",
                "how long does an append take until it is acknowledged, and until another process "
                "has the entry?",
                &settings, columns, COLUMNS);
    printf("%u producer process%s, one entry outstanding each; pauses of %llu us.\n",
           settings.procs_max, settings.procs_max == 1 ? "" : "es",
           (unsigned long long)(PACE_NS / NS_PER_US));
    for (unsigned run = 0; run < settings.runs; run++) {
        const int result = all_run(&report, &settings);
        if (result < 0) {
            return report_close(&report, result);
        }
    }
    return report_close(&report, 0);
}
