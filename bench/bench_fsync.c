/*
 * bench-fsync: how many durable appends per second, against processes that write with O_DSYNC to a
 * file written before, all to one or each to its own?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 * Invariants: plain files and the broker are measured in turn, in the same run, on the same file
 *             system; a ratio is of two figures of one run.
 */
#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/plain_writer.h"
#include "bench/producer.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* What is measured, each for itself. */
enum kind { KIND_FILE, KIND_TOPIC, KIND_FILES, KIND_TOPICS, KINDS };

static const char *const kind_names[KINDS] = {"one file", "one topic", "own files", "own topics"};

/* Each of the first five is of all kinds, one behind the other. */
enum column {
    COLUMN_RATE,
    COLUMN_P50 = COLUMN_RATE + KINDS,
    COLUMN_P99 = COLUMN_P50 + KINDS,
    COLUMN_CPU = COLUMN_P99 + KINDS,
    COLUMN_CALLS = COLUMN_CPU + KINDS,
    COLUMN_RATIO_ONE = COLUMN_CALLS + KINDS,
    COLUMN_RATIO,
    COLUMN_RATIO_OWN,
    COLUMN_RATIO_P99,
    COLUMNS
};

static const struct report_column columns[COLUMNS] = {
    [COLUMN_RATE + KIND_FILE] = {"one file/s", REPORT_RATE, false, false},
    [COLUMN_RATE + KIND_TOPIC] = {"one topic/s", REPORT_RATE, false, false},
    [COLUMN_RATE + KIND_FILES] = {"own files/s", REPORT_RATE, false, false},
    [COLUMN_RATE + KIND_TOPICS] = {"own topics/s", REPORT_RATE, false, false},
    [COLUMN_P50 + KIND_FILE] = {"one file p50", REPORT_TIME, true, true},
    [COLUMN_P50 + KIND_TOPIC] = {"one topic p50", REPORT_TIME, true, false},
    [COLUMN_P50 + KIND_FILES] = {"own files p50", REPORT_TIME, true, false},
    [COLUMN_P50 + KIND_TOPICS] = {"own topics p50", REPORT_TIME, true, false},
    [COLUMN_P99 + KIND_FILE] = {"one file p99", REPORT_TIME, true, false},
    [COLUMN_P99 + KIND_TOPIC] = {"one topic p99", REPORT_TIME, true, false},
    [COLUMN_P99 + KIND_FILES] = {"own files p99", REPORT_TIME, true, false},
    [COLUMN_P99 + KIND_TOPICS] = {"own topics p99", REPORT_TIME, true, false},
    [COLUMN_CPU + KIND_FILE] = {"one file CPU", REPORT_TIME, true, true},
    [COLUMN_CPU + KIND_TOPIC] = {"one topic CPU", REPORT_TIME, true, false},
    [COLUMN_CPU + KIND_FILES] = {"own files CPU", REPORT_TIME, true, false},
    [COLUMN_CPU + KIND_TOPICS] = {"own topics CPU", REPORT_TIME, true, false},
    [COLUMN_CALLS + KIND_FILE] = {"one file calls", REPORT_FRACTION, true, false},
    [COLUMN_CALLS + KIND_TOPIC] = {"one topic calls", REPORT_FRACTION, true, false},
    [COLUMN_CALLS + KIND_FILES] = {"own files calls", REPORT_FRACTION, true, false},
    [COLUMN_CALLS + KIND_TOPICS] = {"own topics calls", REPORT_FRACTION, true, false},
    [COLUMN_RATIO_ONE] = {"topic / 1 process' file", REPORT_RATIO, false, true},
    [COLUMN_RATIO] = {"topic / file", REPORT_RATIO, false, false},
    [COLUMN_RATIO_OWN] = {"topics / files", REPORT_RATIO, false, false},
    [COLUMN_RATIO_P99] = {"p99, topic / file", REPORT_RATIO, false, false}};

static const unsigned procs_default[] = {1, 4, 16, 64};

/* One row of the table in one run. */
struct comparison {
    struct report *report;
    const struct settings *settings;
    unsigned procs;
    const char *idle;
    const char *row;
    bool first; /* of the runs, in which system calls are counted too */
};

/* Of one kind. */
struct rate {
    double per_s;
    double p99_ns;
};

/* THREADS of a process that appends stand beside as many processes that write files. */
static unsigned writers_count(const struct settings *settings, unsigned procs)
{
    return procs * settings->threads;
}

/* What a crew that was timed has to say; all roles that append are the first. */
static void rate_report(const struct comparison *comparison, enum kind kind,
                        const struct crew *crew, struct rate *rate)
{
    static struct histogram latency_ns;
    struct report *report = comparison->report;
    const char *row = comparison->row;
    const struct crew_sum sum = crew_sum(crew, 0);
    const struct crew_cost cost = crew_cost(crew);

    crew_latency(crew, 0, &latency_ns);
    rate->per_s = (double)sum.entries * (double)NS_PER_S / (double)(sum.end_ns - sum.begin_ns);
    rate->p99_ns = (double)histogram_quantile(&latency_ns, 0.99);
    report_add(report, row, COLUMN_RATE + kind, rate->per_s);
    report_add(report, row, COLUMN_P50 + kind, (double)histogram_quantile(&latency_ns, 0.5));
    report_add(report, row, COLUMN_P99 + kind, rate->p99_ns);
    report_add(report, row, COLUMN_CPU + kind, cost_cpu_ns(&cost));
    report_histogram(report, row, kind_names[kind], &latency_ns);
}

/* Run a crew, without a broker where idle is NULL: timed, and in the first run once more for a
 * short time with its calls counted. */
static int kind_run(const struct comparison *comparison, enum kind kind, const char *idle,
                    struct crew *crew, struct rate *rate)
{
    const struct settings *settings = comparison->settings;
    const int last = comparison->first && cost_counts_calls() ? 1 : 0;
    int result = 0;

    for (int counted = 0; counted <= last && result == 0; counted++) {
        crew->count_calls = counted;
        crew->duration_s = counted && settings->duration_s > COST_DURATION_S ? COST_DURATION_S
                                                                             : settings->duration_s;
        result = idle ? trial_run(settings, "each", idle, crew) : crew_run(crew);
        if (result == 0 && counted) {
            const struct crew_cost cost = crew_cost(crew);
            report_add(comparison->report, comparison->row, COLUMN_CALLS + kind, cost_calls(&cost));
        } else if (result == 0) {
            rate_report(comparison, kind, crew, rate);
        }
        crew_deinit(crew);
    }
    return result;
}

static int plain_run(const struct comparison *comparison, bool shared, struct rate *rate)
{
    const struct settings *settings = comparison->settings;
    const int shared_fd = shared ? plain_file_make(settings->data_dir) : -1;
    const struct plain_plan plan = {.directory = settings->data_dir,
                                    .size = settings->size_max,
                                    .processes = writers_count(settings, comparison->procs),
                                    .shared_fd = shared_fd};
    const struct role role = plain_role(&plan);
    struct crew crew = {.roles = &role, .roles_count = 1};

    if (shared && shared_fd < 0) {
        fprintf(stderr, "making a file in %s: %s\n", settings->data_dir, strerror(-shared_fd));
        return shared_fd;
    }
    const int result = kind_run(comparison, shared ? KIND_FILE : KIND_FILES, NULL, &crew, rate);
    if (shared) {
        close(shared_fd);
    }
    return result;
}

static int tusk_run(const struct comparison *comparison, bool shared, struct rate *rate)
{
    const struct settings *settings = comparison->settings;
    const unsigned writers = writers_count(settings, comparison->procs);
    const struct producer_plan plan = {.mode = PRODUCER_APPEND,
                                       .topics = shared ? 1 : writers,
                                       .batch = 1,
                                       .size_min = settings->size_max,
                                       .size_max = settings->size_max,
                                       .log_bytes_max =
                                           settings->bytes_max / 8 / settings->runs / writers,
                                       .latency = true};
    const struct role role = producer_role(comparison->procs, settings->threads, &plan);
    struct crew crew = {.roles = &role, .roles_count = 1};

    return kind_run(comparison, shared ? KIND_TOPIC : KIND_TOPICS, comparison->idle, &crew, rate);
}

/* *one is the rate of one process with one file, if it has been measured. */
static int shared_compare(const struct comparison *comparison, double *one)
{
    struct report *report = comparison->report;
    const char *row = comparison->row;
    struct rate file = {0};
    struct rate topic = {0};

    int result = plain_run(comparison, true, &file);
    if (result == 0) {
        result = tusk_run(comparison, true, &topic);
    }
    if (result < 0) {
        return result;
    }
    *one = writers_count(comparison->settings, comparison->procs) == 1 ? file.per_s : *one;
    if (*one > 0) {
        report_add(report, row, COLUMN_RATIO_ONE, topic.per_s / *one);
    }
    report_add(report, row, COLUMN_RATIO, topic.per_s / file.per_s);
    report_add(report, row, COLUMN_RATIO_P99, topic.p99_ns / file.p99_ns);
    return 0;
}

static int own_compare(const struct comparison *comparison)
{
    struct rate files = {0};
    struct rate topics = {0};

    int result = plain_run(comparison, false, &files);
    if (result == 0) {
        result = tusk_run(comparison, false, &topics);
    }
    if (result == 0) {
        report_add(comparison->report, comparison->row, COLUMN_RATIO_OWN,
                   topics.per_s / files.per_s);
    }
    return result;
}

/* One row; *one is the rate of one process with one file. */
static int compare(struct report *report, unsigned run, unsigned procs, const char *idle,
                   double *one)
{
    const struct settings *settings = report->settings;
    char row[64];
    const struct comparison comparison = {report, settings, procs, idle, row, run == 0};

    snprintf(row, sizeof row, "%u process%s, %s", procs, procs == 1 ? "" : "es", idle);
    if (!settings_wants(settings, row)) {
        return 0;
    }
    report_begin(report, row,
                 &(struct result_shape){.mode = "durable append",
                                        .series = "processes",
                                        .processes = procs,
                                        .threads = settings->threads,
                                        .batch = 1,
                                        .size_min = settings->size_min,
                                        .size_max = settings->size_max,
                                        .fsync = settings->fsync,
                                        .idle = idle});
    const int result = shared_compare(&comparison, one);
    const bool alone = writers_count(settings, procs) == 1;
    return result < 0 || alone ? result : own_compare(&comparison);
}

static int range_run(struct report *report, unsigned run)
{
    const struct settings *settings = report->settings;
    double one = 0;
    int result = 0;

    for (unsigned procs = settings->procs_min; procs <= settings->procs_max && result == 0;
         procs++) {
        result = compare(report, run, procs, settings->idle, &one);
    }
    return result;
}

static int default_run(struct report *report, unsigned run)
{
    const struct settings *settings = report->settings;
    double one = 0;
    int result = 0;

    if (!settings->idle_given) {
        result = compare(report, run, 1, "spin", &one);
    }
    for (size_t i = 0; i < sizeof procs_default / sizeof *procs_default && result == 0; i++) {
        result = compare(report, run, procs_default[i], settings->idle, &one);
    }
    return result;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    strcpy(settings.fsync, "each");
    settings.size_min = settings.size_max = 256;
    settings.duration_s = 0.75;
    settings_load(&settings);
    settings_used("FSYNC PROCS THREADS SIZE DURATION BACKEND IDLE");
    settings_single(&settings, SETTINGS_SIZE);
    settings_check_space(&settings);
    if (strcmp(settings.fsync, "each") != 0) {
        fprintf(stderr, "FSYNC: this program measures durable appends; expected sync-each\n");
        return EX_USAGE;
    }
    report_open(&report, "bench-fsync",
                "how many durable appends per second, against pwrite with O_DSYNC to a file "
                "written before, one for all or one each?",
                &settings, columns, COLUMNS);
    printf("Each process waits for each of its %llu B; plain files have 4 MiB.\n",
           (unsigned long long)settings.size_max);
    for (unsigned run = 0; run < settings.runs; run++) {
        const int result =
            settings.procs_given ? range_run(&report, run) : default_run(&report, run);
        if (result < 0) {
            return report_close(&report, result);
        }
    }
    return report_close(&report, 0);
}
