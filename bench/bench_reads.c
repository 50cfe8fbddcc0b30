/*
 * bench-reads: how fast are large entries appended in batches and read back in batches, by
 * independent readers and by the topics' cursors?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 * Invariants: every entry is read exactly once by the cursors' readers together, and once by each
 *             independent reader; both are checked.
 */
#include "bench/clock.h"
#include "bench/producer.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define TOPIC_BYTES_MAX ((uint64_t)200 << 20) /* written to each topic, at most */
#define LANE_BYTES ((size_t)4 << 20)          /* half of it bounds a batch */
#define PERSIST_EVERY 1000
#define BATCH_MAX 1024

enum column {
    COLUMN_WRITE,
    COLUMN_WRITE_BYTES,
    COLUMN_READER,
    COLUMN_READER_BYTES,
    COLUMN_CURSOR,
    COLUMN_CURSOR_BYTES,
    COLUMNS
};

static const struct report_column columns[COLUMNS] = {
    [COLUMN_WRITE] = {"appended/s", REPORT_RATE},
    [COLUMN_WRITE_BYTES] = {"appended B/s", REPORT_BYTES},
    [COLUMN_READER] = {"by readers/s", REPORT_RATE},
    [COLUMN_READER_BYTES] = {"readers B/s", REPORT_BYTES},
    [COLUMN_CURSOR] = {"by cursors/s", REPORT_RATE},
    [COLUMN_CURSOR_BYTES] = {"cursors B/s", REPORT_BYTES}};

/* ---- Reading back ---------------------------------------------------------------------------- */

struct reading_plan {
    unsigned topics;
    unsigned batch;     /* entries per call */
    uint64_t bytes_max; /* per call */
    bool cursor;        /* else an independent reader */
};

struct reading {
    struct tusk_topic *topic;
    struct tusk_reader *reader;
    uint64_t end_seq;
    uint64_t touched;
    struct tusk_entry entries[BATCH_MAX];
};

static int reading_prepare(struct worker *worker)
{
    const struct reading_plan *plan = worker->arg;
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    struct reading *reading = calloc(1, sizeof *reading);
    char name[32];

    if (!reading) {
        return worker_fail(worker, -ENOMEM, "making a reader");
    }
    worker->state = reading;
    snprintf(name, sizeof name, PRODUCER_TOPIC_FORMAT, worker->number % plan->topics);
    int result = tusk_topic_open(worker->tusk, name, NULL, &reading->topic);
    if (result == 0) {
        result = tusk_topic_info(reading->topic, &stat);
    }
    if (result == 0 && !plan->cursor) {
        result = tusk_reader_open(reading->topic, NULL, &reading->reader);
    }
    reading->end_seq = stat.next_seq;
    return result < 0 ? worker_fail(worker, result, "opening a topic") : 0;
}

static void reading_finish(struct worker *worker)
{
    struct reading *reading = worker->state;

    tusk_reader_close(reading->reader);
    tusk_topic_close(reading->topic);
    free(reading);
}

static int batch_get(const struct reading_plan *plan, struct reading *reading)
{
    if (plan->cursor) {
        return tusk_batch_read(reading->topic, plan->bytes_max, true, reading->entries,
                               plan->batch);
    }
    return tusk_reader_batch(reading->reader, plan->bytes_max, reading->entries, plan->batch, -1);
}

/* Look at every cache line, as a consumer of the data would. */
static uint64_t entry_touch(const struct tusk_entry *entry)
{
    const unsigned char *data = entry->data;
    uint64_t sum = 0;

    for (size_t i = 0; i < entry->size; i += 64) {
        sum += data[i];
    }
    return sum;
}

static int reading_work(struct worker *worker)
{
    const struct reading_plan *plan = worker->arg;
    struct reading *reading = worker->state;
    struct worker_result *sum = worker->result;
    uint64_t next_seq = 0;

    /* a cursor may be shared: its readers go on until it has nothing left */
    while (plan->cursor || next_seq < reading->end_seq) {
        const int count = batch_get(plan, reading);
        if (count < 0) {
            return worker_fail(worker, count, "reading");
        }
        if (count == 0) {
            break;
        }
        if (!plan->cursor && reading->entries[0].seq != next_seq) {
            return worker_fail(worker, -EBADMSG, "an entry is missing or came twice");
        }
        for (int i = 0; i < count; i++) {
            sum->bytes += reading->entries[i].size;
            reading->touched += entry_touch(&reading->entries[i]);
        }
        next_seq = reading->entries[count - 1].seq + 1;
        sum->entries += (uint64_t)count;
        sum->operations++;
    }
    return 0;
}

/* ---- A run: write, read, consume, with one broker --------------------------------------------- */

static int phase_run(const struct private_broker *broker, const struct settings *settings,
                     const struct role *role, struct crew_sum *sum)
{
    struct crew crew = {.roles = role,
                        .roles_count = 1,
                        .socket = broker->socket,
                        .idle = settings_idle(settings->idle),
                        .duration_s = 3600};

    const int result = crew_run(&crew);
    if (result == 0) {
        *sum = crew_sum(&crew, 0);
    }
    crew_deinit(&crew);
    return result;
}

static void phase_report(struct report *report, const char *row, unsigned column,
                         const struct crew_sum *sum)
{
    const double seconds = (double)(sum->end_ns - sum->begin_ns) / (double)NS_PER_S;

    report_add(report, row, column, (double)sum->entries / seconds);
    report_add(report, row, column + 1, (double)sum->bytes / seconds);
}

static int count_check(const char *who, uint64_t got, uint64_t expected)
{
    if (got != expected) {
        fprintf(stderr, "%s got %llu entries, expected %llu\n", who, (unsigned long long)got,
                (unsigned long long)expected);
        return -EBADMSG;
    }
    return 0;
}

static int phases_run(struct report *report, const struct private_broker *broker,
                      const struct settings *settings)
{
    const unsigned topics = settings->topics ? settings->topics : settings->procs_max;
    const uint64_t share = settings->bytes_max / settings->runs / settings->procs_max;
    const struct producer_plan write = {.mode = PRODUCER_BATCH,
                                        .topics = topics,
                                        .batch = settings->batch,
                                        .size_min = settings->size_min,
                                        .size_max = settings->size_max,
                                        .log_bytes_max =
                                            share < TOPIC_BYTES_MAX ? share : TOPIC_BYTES_MAX};
    const struct reading_plan read = {.topics = topics,
                                      .batch = settings->batch,
                                      .bytes_max = settings->batch * settings->size_max};
    struct reading_plan consume = read;
    struct role roles[3] = {producer_role(settings->procs_max, settings->threads, &write)};
    struct crew_sum sums[3] = {{0}};
    char row[64];

    roles[0].options.lane_bytes = LANE_BYTES;
    roles[1] = (struct role){.processes = settings->consumers,
                             .threads = 1,
                             .prepare = reading_prepare,
                             .work = reading_work,
                             .finish = reading_finish,
                             .arg = &read};
    consume.cursor = true;
    roles[2] = roles[1];
    roles[2].arg = &consume;
    roles[2].options.consistency = TUSK_AT_LEAST_ONCE;
    roles[2].options.persist_every = PERSIST_EVERY;
    snprintf(row, sizeof row, "%u processes, batches of %u", settings->procs_max, settings->batch);
    for (unsigned i = 0; i < 3; i++) {
        const int result = phase_run(broker, settings, &roles[i], &sums[i]);
        if (result < 0) {
            return result;
        }
        phase_report(report, row, 2 * i, &sums[i]);
    }
    if (topics == settings->consumers && topics == settings->procs_max) {
        const int result = count_check("the readers", sums[1].entries, sums[0].entries);
        if (result < 0) {
            return result;
        }
    }
    return settings->consumers >= topics
               ? count_check("the cursors' readers", sums[2].entries, sums[0].entries)
               : 0;
}

static int run(struct report *report, const struct settings *settings)
{
    struct private_broker broker;

    int result = private_broker_start(&broker, settings, settings->fsync, settings->idle);
    if (result == 0) {
        result = phases_run(report, &broker, settings);
    }
    private_broker_stop(&broker);
    return result;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    settings.procs_min = settings.procs_max = 5;
    settings.consumers = 5;
    settings.size_min = settings.size_max = 100 << 10;
    settings.batch = 16;
    settings_load(&settings);
    settings_check_space(&settings);
    if (settings.batch > BATCH_MAX || settings.batch * settings.size_max > LANE_BYTES / 2) {
        fprintf(stderr, "BATCH and SIZE: expected at most %d entries and %zu KiB per batch\n",
                BATCH_MAX, LANE_BYTES / 2 >> 10);
        return EX_USAGE;
    }
    report_open(&report, "bench-reads",
                "how fast are large entries appended in batches and read back in batches?",
                &settings, columns, COLUMNS);
    printf("At most %llu MiB per producer, then %u reading processes; cursors at least once, "
           "persisted every %d entries.\n",
           (unsigned long long)(TOPIC_BYTES_MAX >> 20), settings.consumers, PERSIST_EVERY);
    for (unsigned i = 0; i < settings.runs; i++) {
        const int result = run(&report, &settings);
        if (result < 0) {
            return report_close(&report, result);
        }
    }
    return report_close(&report, 0);
}
