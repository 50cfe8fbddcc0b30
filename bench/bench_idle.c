/*
 * bench-idle: what does a broker cost that has many sessions and nothing to do, and how long does
 * an append take then?
 * Runs on:    one main thread; each session is a process of a crew.
 */
#include "bench/clock.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SETTLE_MS 1000
#define APPENDS 500
#define APPEND_GAP_MS 5
#define TIME_LIMIT_S 600

enum column { COLUMN_CPU, COLUMN_P50, COLUMN_P99, COLUMN_MAX, COLUMNS };

static const struct report_column columns[COLUMNS] = {
    [COLUMN_CPU] = {"broker, share of a core", REPORT_PERCENT},
    [COLUMN_P50] = {"append p50", REPORT_TIME},
    [COLUMN_P99] = {"append p99", REPORT_TIME},
    [COLUMN_MAX] = {"append most", REPORT_TIME}};

struct probe_plan {
    const struct private_broker *broker;
    double duration_s;
};

static void sleep_ms(uint64_t ms)
{
    const struct timespec time = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_nsec = (long)(ms % 1000 * NS_PER_MS)};

    nanosleep(&time, NULL);
}

/* ---- A session that does nothing ------------------------------------------------------------- */

static int session_prepare(struct worker *worker)
{
    struct tusk_topic *topic = NULL;

    int result = tusk_topic_open(worker->tusk, "idle", NULL, &topic);
    if (result == 0) {
        result = tusk_append(topic, "here", 4, NULL); /* it has a lane, and has used it */
    }
    return result < 0 ? worker_fail(worker, result, "appending once") : 0;
}

static int session_work(struct worker *worker)
{
    worker_sleep(worker);
    return 0;
}

/* ---- The one that measures ------------------------------------------------------------------- */

static int appends_measure(struct worker *worker)
{
    struct tusk_topic *topic = NULL;
    char payload[64] = {0};

    int result = tusk_topic_open(worker->tusk, "probe", NULL, &topic);
    if (result < 0) {
        return worker_fail(worker, result, "opening a topic");
    }
    for (int i = 0; i < APPENDS; i++) {
        const uint64_t before_ns = clock_now_ns();
        result = tusk_append(topic, payload, sizeof payload, NULL);
        if (result < 0) {
            return worker_fail(worker, result, "appending");
        }
        histogram_add(&worker->result->latency_ns, clock_now_ns() - before_ns);
        sleep_ms(APPEND_GAP_MS);
    }
    return 0;
}

static int probe_work(struct worker *worker)
{
    const struct probe_plan *plan = worker->arg;

    sleep_ms(SETTLE_MS);
    const uint64_t cpu_before_ns = private_broker_cpu_ns(plan->broker);
    const uint64_t before_ns = clock_now_ns();
    sleep_ms((uint64_t)(plan->duration_s * 1000));
    /* in this program: CPU time of the broker, and of how much time */
    worker->result->operations = private_broker_cpu_ns(plan->broker) - cpu_before_ns;
    worker->result->entries = clock_now_ns() - before_ns;
    const int result = appends_measure(worker);
    worker_stop_all(worker);
    return result;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static int measure(struct report *report, const struct settings *settings,
                   const struct private_broker *broker, unsigned sessions)
{
    const struct probe_plan plan = {.broker = broker, .duration_s = settings->duration_s};
    const struct role roles[] = {
        {.processes = 1, .threads = 1, .work = probe_work, .arg = &plan},
        {.processes = sessions, .threads = 1, .prepare = session_prepare, .work = session_work}};
    struct crew crew = {.roles = roles,
                        .roles_count = 2,
                        .socket = broker->socket,
                        .idle = settings_idle(settings->idle),
                        .duration_s = TIME_LIMIT_S};
    char row[32];

    snprintf(row, sizeof row, "%u idle sessions", sessions);
    report_begin(report, row,
                 &(struct result_shape){
                     .processes = sessions, .fsync = settings->fsync, .idle = settings->idle});
    const int result = crew_run(&crew);
    if (result == 0) {
        const struct worker_result *probe = crew_results(&crew, 0);
        const struct histogram *latency_ns = &probe->latency_ns;
        report_add(report, row, COLUMN_CPU,
                   100.0 * (double)probe->operations / (double)probe->entries);
        report_add(report, row, COLUMN_P50, (double)histogram_quantile(latency_ns, 0.5));
        report_add(report, row, COLUMN_P99, (double)histogram_quantile(latency_ns, 0.99));
        report_add(report, row, COLUMN_MAX, (double)latency_ns->max);
        report_histogram(report, row, "append", latency_ns);
    }
    crew_deinit(&crew);
    return result;
}

static int run(struct report *report, const struct settings *settings, unsigned sessions)
{
    struct private_broker broker;

    int result = private_broker_start(&broker, settings, settings->fsync, settings->idle);
    if (result == 0) {
        result = measure(report, settings, &broker, sessions);
    }
    private_broker_stop(&broker);
    return result;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    settings.procs_min = settings.procs_max = 1000;
    settings_load(&settings);
    settings_used("FSYNC PROCS DURATION BACKEND IDLE");
    settings_single(&settings, SETTINGS_PROCESSES);
    settings_check_space(&settings);
    report_open(&report, "bench-idle",
                "what does a broker cost that has many sessions and nothing to do, and how long "
                "does an append take then?",
                &settings, columns, COLUMNS);
    printf("One process per session, each with a lane; %d appends of 64 B, %d ms apart.\n", APPENDS,
           APPEND_GAP_MS);
    for (unsigned i = 0; i < settings.runs; i++) {
        int result = run(&report, &settings, 1);
        if (result == 0) {
            result = run(&report, &settings, settings.procs_max);
        }
        if (result < 0) {
            return report_close(&report, result);
        }
    }
    return report_close(&report, 0);
}
