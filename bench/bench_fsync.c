/*
 * bench-fsync: how many durable appends per second, against processes that write with O_DSYNC to a
 * file written before, all to one or each to its own?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 * Invariants: plain files and the broker are measured in turn, in the same run, on the same file
 *             system; a ratio is of two figures of one run.
 */
#include "bench/clock.h"
#include "bench/plain_writer.h"
#include "bench/producer.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum column {
    COLUMN_FILE,
    COLUMN_FILE_P50,
    COLUMN_FILE_P99,
    COLUMN_TOPIC,
    COLUMN_TOPIC_P50,
    COLUMN_TOPIC_P99,
    COLUMN_RATIO_ONE,
    COLUMN_RATIO,
    COLUMN_RATIO_P99,
    COLUMN_FILES,
    COLUMN_TOPICS,
    COLUMN_RATIO_OWN,
    COLUMNS
};

static const struct report_column columns[COLUMNS] = {
    [COLUMN_FILE] = {"one file/s", REPORT_RATE},
    [COLUMN_FILE_P50] = {"one file p50", REPORT_TIME},
    [COLUMN_FILE_P99] = {"one file p99", REPORT_TIME},
    [COLUMN_TOPIC] = {"one topic/s", REPORT_RATE},
    [COLUMN_TOPIC_P50] = {"one topic p50", REPORT_TIME},
    [COLUMN_TOPIC_P99] = {"one topic p99", REPORT_TIME},
    [COLUMN_RATIO_ONE] = {"topic / 1 process' file", REPORT_RATIO},
    [COLUMN_RATIO] = {"topic / file", REPORT_RATIO},
    [COLUMN_RATIO_P99] = {"p99, topic / file", REPORT_RATIO},
    [COLUMN_FILES] = {"own files/s", REPORT_RATE},
    [COLUMN_TOPICS] = {"own topics/s", REPORT_RATE},
    [COLUMN_RATIO_OWN] = {"topics / files", REPORT_RATIO}};

static const unsigned procs_default[] = {1, 4, 16, 64};

struct rate {
    double per_s;
    double p50_ns;
    double p99_ns;
};

static struct rate rate_get(const struct crew *crew)
{
    static struct histogram latency_ns;
    const struct crew_sum sum = crew_sum(crew, 0);

    crew_latency(crew, 0, &latency_ns);
    return (struct rate){.per_s = (double)sum.entries * (double)NS_PER_S /
                                  (double)(sum.end_ns - sum.begin_ns),
                         .p50_ns = (double)histogram_quantile(&latency_ns, 0.5),
                         .p99_ns = (double)histogram_quantile(&latency_ns, 0.99)};
}

/* THREADS of a process that appends stand beside as many processes that write files. */
static unsigned writers_count(const struct settings *settings, unsigned procs)
{
    return procs * settings->threads;
}

static int plain_run(const struct settings *settings, unsigned procs, bool shared,
                     struct rate *rate)
{
    const int shared_fd = shared ? plain_file_make(settings->data_dir) : -1;
    const struct plain_plan plan = {.directory = settings->data_dir,
                                    .size = settings->size_max,
                                    .processes = writers_count(settings, procs),
                                    .shared_fd = shared_fd};
    const struct role role = plain_role(&plan);
    struct crew crew = {.roles = &role, .roles_count = 1, .duration_s = settings->duration_s};

    if (shared && shared_fd < 0) {
        fprintf(stderr, "making a file in %s: %s\n", settings->data_dir, strerror(-shared_fd));
        return shared_fd;
    }
    const int result = crew_run(&crew);
    if (result == 0) {
        *rate = rate_get(&crew);
    }
    crew_deinit(&crew);
    if (shared) {
        close(shared_fd);
    }
    return result;
}

static int tusk_run(const struct settings *settings, unsigned procs, unsigned topics,
                    const char *idle, struct rate *rate)
{
    const struct producer_plan plan = {.mode = PRODUCER_APPEND,
                                       .topics = topics,
                                       .batch = 1,
                                       .size_min = settings->size_max,
                                       .size_max = settings->size_max,
                                       .log_bytes_max = settings->bytes_max / 8 / settings->runs /
                                                        writers_count(settings, procs),
                                       .latency = true};
    const struct role role = producer_role(procs, settings->threads, &plan);
    struct crew crew = {.roles = &role, .roles_count = 1, .duration_s = settings->duration_s};

    const int result = trial_run(settings, "each", idle, &crew);
    if (result == 0) {
        *rate = rate_get(&crew);
    }
    crew_deinit(&crew);
    return result;
}

static int shared_compare(struct report *report, const struct settings *settings, unsigned procs,
                          const char *idle, const char *row, double *one)
{
    struct rate file = {0};
    struct rate topic = {0};

    int result = plain_run(settings, procs, true, &file);
    if (result == 0) {
        result = tusk_run(settings, procs, 1, idle, &topic);
    }
    if (result < 0) {
        return result;
    }
    *one = writers_count(settings, procs) == 1 ? file.per_s : *one;
    report_add(report, row, COLUMN_FILE, file.per_s);
    report_add(report, row, COLUMN_FILE_P50, file.p50_ns);
    report_add(report, row, COLUMN_FILE_P99, file.p99_ns);
    report_add(report, row, COLUMN_TOPIC, topic.per_s);
    report_add(report, row, COLUMN_TOPIC_P50, topic.p50_ns);
    report_add(report, row, COLUMN_TOPIC_P99, topic.p99_ns);
    report_add(report, row, COLUMN_RATIO, topic.per_s / file.per_s);
    report_add(report, row, COLUMN_RATIO_P99, topic.p99_ns / file.p99_ns);
    if (*one > 0) {
        report_add(report, row, COLUMN_RATIO_ONE, topic.per_s / *one);
    }
    return 0;
}

static int own_compare(struct report *report, const struct settings *settings, unsigned procs,
                       const char *idle, const char *row)
{
    struct rate files = {0};
    struct rate topics = {0};

    int result = plain_run(settings, procs, false, &files);
    if (result == 0) {
        result = tusk_run(settings, procs, writers_count(settings, procs), idle, &topics);
    }
    if (result < 0) {
        return result;
    }
    report_add(report, row, COLUMN_FILES, files.per_s);
    report_add(report, row, COLUMN_TOPICS, topics.per_s);
    report_add(report, row, COLUMN_RATIO_OWN, topics.per_s / files.per_s);
    return 0;
}

/* One row; *one is the rate of one process with one file. */
static int compare(struct report *report, const struct settings *settings, unsigned procs,
                   const char *idle, double *one)
{
    char row[64];

    snprintf(row, sizeof row, "%u process%s, %s", procs, procs == 1 ? "" : "es", idle);
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
    const int result = shared_compare(report, settings, procs, idle, row, one);
    const bool alone = writers_count(settings, procs) == 1;
    return result < 0 || alone ? result : own_compare(report, settings, procs, idle, row);
}

static int range_run(struct report *report, const struct settings *settings)
{
    double one = 0;
    int result = 0;

    for (unsigned procs = settings->procs_min; procs <= settings->procs_max && result == 0;
         procs++) {
        result = compare(report, settings, procs, settings->idle, &one);
    }
    return result;
}

static int default_run(struct report *report, const struct settings *settings)
{
    double one = 0;
    int result = 0;

    if (!settings->idle_given) {
        result = compare(report, settings, 1, "spin", &one);
    }
    for (size_t i = 0; i < sizeof procs_default / sizeof *procs_default && result == 0; i++) {
        result = compare(report, settings, procs_default[i], settings->idle, &one);
    }
    return result;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    strcpy(settings.fsync, "each");
    settings.size_min = settings.size_max = 256;
    settings.duration_s = 2;
    settings_load(&settings);
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
            settings.procs_given ? range_run(&report, &settings) : default_run(&report, &settings);
        if (result < 0) {
            return report_close(&report, result);
        }
    }
    return report_close(&report, 0);
}
