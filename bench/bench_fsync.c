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
    COLUMN_FILES,
    COLUMN_TUSK,
    COLUMN_TUSK_P50,
    COLUMN_TUSK_P99,
    COLUMN_RATIO_FILE,
    COLUMN_RATIO_FILES,
    COLUMN_RATIO_ONE,
    COLUMNS
};

static const struct report_column columns[COLUMNS] = {
    [COLUMN_FILE] = {"one file/s", REPORT_RATE},
    [COLUMN_FILE_P50] = {"one file p50", REPORT_TIME},
    [COLUMN_FILES] = {"own files/s", REPORT_RATE},
    [COLUMN_TUSK] = {"tusk/s", REPORT_RATE},
    [COLUMN_TUSK_P50] = {"tusk p50", REPORT_TIME},
    [COLUMN_TUSK_P99] = {"tusk p99", REPORT_TIME},
    [COLUMN_RATIO_FILE] = {"tusk / one file", REPORT_RATIO},
    [COLUMN_RATIO_FILES] = {"tusk / own files", REPORT_RATIO},
    [COLUMN_RATIO_ONE] = {"tusk / one process", REPORT_RATIO}};

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

static int plain_run(const struct settings *settings, unsigned procs, bool shared,
                     struct rate *rate)
{
    const int shared_fd = shared ? plain_file_make(settings->data_dir) : -1;
    const struct plain_plan plan = {.directory = settings->data_dir,
                                    .size = settings->size_max,
                                    .processes = procs,
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

static int tusk_run(const struct settings *settings, unsigned procs, const char *idle,
                    struct rate *rate)
{
    const struct producer_plan plan = {.mode = PRODUCER_APPEND,
                                       .topics = settings->topics ? settings->topics : procs,
                                       .batch = 1,
                                       .size_min = settings->size_max,
                                       .size_max = settings->size_max,
                                       .log_bytes_max =
                                           settings->bytes_max / 8 / settings->runs / procs,
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

/* One row: the three of them, and the ratios; *one is the rate of one process with one file. */
static int compare(struct report *report, const struct settings *settings, unsigned procs,
                   const char *idle, double *one)
{
    struct rate file = {0};
    struct rate files = {0};
    struct rate tusk = {0};
    char row[64];

    int result = plain_run(settings, procs, true, &file);
    if (result == 0) {
        result = plain_run(settings, procs, false, &files);
    }
    if (result == 0) {
        result = tusk_run(settings, procs, idle, &tusk);
    }
    if (result < 0) {
        return result;
    }
    *one = procs == 1 ? file.per_s : *one;
    snprintf(row, sizeof row, "%u process%s, %s", procs, procs == 1 ? "" : "es", idle);
    report_add(report, row, COLUMN_FILE, file.per_s);
    report_add(report, row, COLUMN_FILE_P50, file.p50_ns);
    report_add(report, row, COLUMN_FILES, files.per_s);
    report_add(report, row, COLUMN_TUSK, tusk.per_s);
    report_add(report, row, COLUMN_TUSK_P50, tusk.p50_ns);
    report_add(report, row, COLUMN_TUSK_P99, tusk.p99_ns);
    report_add(report, row, COLUMN_RATIO_FILE, tusk.per_s / file.per_s);
    report_add(report, row, COLUMN_RATIO_FILES, tusk.per_s / files.per_s);
    if (*one > 0) {
        report_add(report, row, COLUMN_RATIO_ONE, tusk.per_s / *one);
    }
    return 0;
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
            return trial_status(result);
        }
    }
    return report_close(&report);
}
