/*
 * bench-reads: how fast are large entries appended in batches and read back in batches, by
 * independent readers and by the topics' cursors; and small ones from the broker's memory?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 * Invariants: every entry is read exactly once by the cursors' readers together, and at least once
 *             by each independent reader; both are checked.
 */
#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/producer.h"
#include "bench/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPIC_BYTES_MAX ((uint64_t)200 << 20) /* written by each producer, at most */
#define LANE_BYTES ((size_t)4 << 20)
#define PERSIST_EVERY 100000
#define SMALL_SIZE 64
#define SMALL_BATCH 1000
#define SMALL_BYTES_MAX ((uint64_t)64 << 20) /* of log, so that it stays in the arena */
#define PHASES 3

enum column { COLUMN_ENTRIES, COLUMN_BYTES, COLUMN_COST, COLUMNS = COLUMN_COST + COST_COLUMNS };

static const struct report_column columns[COLUMNS] = {
    [COLUMN_ENTRIES] = {"entries/s", REPORT_RATE, false, false},
    [COLUMN_BYTES] = {"payload B/s", REPORT_BYTES, false, false},
    COST_COLUMNS_LIST};

static const char *const phase_names[PHASES] = {"batch append", "readers", "cursors"};

/* ---- Reading back ---------------------------------------------------------------------------- */

struct reading_plan {
    unsigned topics;
    unsigned batch;     /* entries per call */
    uint64_t bytes_max; /* per call */
    bool cursor;        /* else an independent reader */
    bool again;         /* readers begin again until the time is up */
    bool warm;          /* all of it is read once before the start */
};

struct reading {
    struct tusk_topic *topic;
    struct tusk_reader *reader;
    uint64_t end_seq;
    uint64_t touched;
    struct tusk_entry *entries; /* of a call */
};

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

/* The arena is mapped, and what lies there is in this process's page table, as in a process that
 * has read before. Leaves a reader at the beginning. */
static int reading_warm(const struct reading_plan *plan, struct reading *reading)
{
    uint64_t next_seq = 0;

    while (next_seq < reading->end_seq) {
        const int count =
            tusk_reader_batch(reading->reader, plan->bytes_max, reading->entries, plan->batch, -1);
        if (count < 0) {
            return count;
        }
        for (int i = 0; i < count; i++) {
            reading->touched += entry_touch(&reading->entries[i]);
        }
        next_seq = reading->entries[count - 1].seq + 1;
    }
    return tusk_reader_seek(reading->reader, TUSK_FROM_EARLIEST, 0);
}

static int reading_prepare(struct worker *worker)
{
    const struct reading_plan *plan = worker->arg;
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    struct reading *reading = calloc(1, sizeof *reading);
    char name[32];

    if (!reading || !(reading->entries = calloc(plan->batch, sizeof *reading->entries))) {
        return worker_fail(worker, -ENOMEM, "making a reader");
    }
    worker->state = reading;
    snprintf(name, sizeof name, PRODUCER_TOPIC_FORMAT, worker->number % plan->topics);
    int result = tusk_topic_open(worker->tusk, name, NULL, &reading->topic);
    if (result == 0) {
        result = tusk_topic_info(reading->topic, &stat);
    }
    reading->end_seq = stat.next_seq;
    if (result == 0 && (!plan->cursor || plan->warm)) {
        result = tusk_reader_open(reading->topic, NULL, &reading->reader);
    }
    if (result == 0 && plan->warm) {
        result = reading_warm(plan, reading);
    }
    return result < 0 ? worker_fail(worker, result, "opening a topic") : 0;
}

static void reading_finish(struct worker *worker)
{
    struct reading *reading = worker->state;

    tusk_reader_close(reading->reader);
    tusk_topic_close(reading->topic);
    free(reading->entries);
    free(reading);
}

static void batch_take(struct worker *worker, struct reading *reading, unsigned count)
{
    struct worker_result *sum = worker->result;
    uint64_t bytes = 0;
    uint64_t touched = 0;

    for (unsigned i = 0; i < count; i++) {
        bytes += reading->entries[i].size;
        touched += entry_touch(&reading->entries[i]);
    }
    reading->touched += touched;
    sum->bytes += bytes;
    sum->entries += count;
    sum->operations++;
}

/* A cursor may be shared: its readers go on until it has nothing left. */
static int cursor_read(struct worker *worker, const struct reading_plan *plan,
                       struct reading *reading)
{
    int count;

    while ((count = batch_get(plan, reading)) > 0) {
        batch_take(worker, reading, (unsigned)count);
    }
    return count < 0 ? worker_fail(worker, count, "reading") : 0;
}

/* The whole topic once. */
static int topic_read(struct worker *worker, const struct reading_plan *plan,
                      struct reading *reading)
{
    uint64_t next_seq = 0;

    while (next_seq < reading->end_seq) {
        const int count = batch_get(plan, reading);
        if (count < 0) {
            return worker_fail(worker, count, "reading");
        }
        if (reading->entries[0].seq != next_seq) {
            return worker_fail(worker, -EBADMSG, "an entry is missing or came twice");
        }
        next_seq = reading->entries[count - 1].seq + 1;
        batch_take(worker, reading, (unsigned)count);
    }
    return 0;
}

static int reading_work(struct worker *worker)
{
    const struct reading_plan *plan = worker->arg;
    struct reading *reading = worker->state;

    if (plan->cursor) {
        return cursor_read(worker, plan, reading);
    }
    int result = topic_read(worker, plan, reading);
    while (result == 0 && plan->again && !worker_stopped(worker)) {
        result = tusk_reader_seek(reading->reader, TUSK_FROM_EARLIEST, 0);
        if (result == 0) {
            result = topic_read(worker, plan, reading);
        }
    }
    return result;
}

/* ---- A measurement: write, read, consume, with one broker ------------------------------------ */

struct measurement {
    const struct settings *all;
    const struct settings *settings; /* one combination of them */
    const char *name;                /* before that of the phase */
    bool small;                      /* what stays in the arena is read again and again */
    bool count_calls;
};

struct phase {
    char row[REPORT_NAME_BYTES];
    struct role role;
    struct crew crew; /* its results are there until crew_deinit() */
};

static unsigned topics_count(const struct settings *settings)
{
    return settings->topics > 0 ? settings->topics : settings->procs_max;
}

static uint64_t smaller(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static struct producer_plan write_plan(const struct measurement *measurement)
{
    const struct settings *settings = measurement->settings;
    const uint64_t share = settings->bytes_max / settings->procs_max / settings->threads;

    return (struct producer_plan){
        .mode = PRODUCER_BATCH,
        .topics = topics_count(settings),
        .batch = settings->batch,
        .size_min = settings->size_min,
        .size_max = settings->size_max,
        .log_bytes_max = smaller(share, measurement->small ? SMALL_BYTES_MAX : TOPIC_BYTES_MAX)};
}

static struct role reading_role(const struct settings *settings, const struct reading_plan *plan)
{
    return (struct role){
        .processes = settings->consumers,
        .threads = 1,
        .options = {.consistency = TUSK_AT_LEAST_ONCE, .persist_every = PERSIST_EVERY},
        .prepare = reading_prepare,
        .work = reading_work,
        .finish = reading_finish,
        .arg = plan};
}

static int phase_run(const struct private_broker *broker, const struct measurement *measurement,
                     bool counted, struct phase *phase)
{
    phase->crew = (struct crew){.roles = &phase->role,
                                .roles_count = 1,
                                .socket = broker->socket,
                                .broker = broker->pid,
                                .idle = settings_idle(measurement->settings->idle),
                                .duration_s = measurement->settings->duration_s,
                                .count_calls = counted};
    return crew_run(&phase->crew);
}

static void phase_report(struct report *report, const struct phase *phase, bool counted)
{
    const struct crew_sum sum = crew_sum(&phase->crew, 0);
    const struct crew_cost cost = crew_cost(&phase->crew);
    const double seconds = (double)(sum.end_ns - sum.begin_ns) / (double)NS_PER_S;

    if (counted) {
        cost_report_calls(report, phase->row, COLUMN_COST, &cost);
        return;
    }
    report_add(report, phase->row, COLUMN_ENTRIES, (double)sum.entries / seconds);
    report_add(report, phase->row, COLUMN_BYTES, (double)sum.bytes / seconds);
    cost_report_cpu(report, phase->row, COLUMN_COST, &cost);
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

static int phases_check(const struct settings *settings, const struct phase *phases)
{
    const uint64_t written = crew_sum(&phases[0].crew, 0).entries;

    return settings->consumers >= topics_count(settings)
               ? count_check("the cursors' readers", crew_sum(&phases[2].crew, 0).entries, written)
               : 0;
}

/* All phases with a new broker, which has ended when they are reported. */
static int phases_run(struct report *report, const struct measurement *measurement, bool counted,
                      struct phase *phases)
{
    const struct settings *settings = measurement->settings;
    struct private_broker broker;

    int result = private_broker_start(&broker, settings, settings->fsync, settings->idle);
    for (unsigned i = 0; i < PHASES && result == 0; i++) {
        result = phase_run(&broker, measurement, counted, &phases[i]);
    }
    private_broker_stop(&broker);
    for (unsigned i = 0; i < PHASES && result == 0; i++) {
        phase_report(report, &phases[i], counted);
    }
    if (result == 0) {
        result = phases_check(settings, phases);
    }
    for (unsigned i = 0; i < PHASES; i++) {
        crew_deinit(&phases[i].crew);
    }
    return result;
}

static void phases_begin(struct report *report, const struct measurement *measurement,
                         struct phase *phases)
{
    const struct settings *settings = measurement->settings;
    char varied[REPORT_NAME_BYTES / 2];

    settings_point_name(measurement->all, settings, varied, sizeof varied);
    for (unsigned i = 0; i < PHASES; i++) {
        snprintf(phases[i].row, sizeof phases[i].row, "%s%s%s", measurement->name, phase_names[i],
                 varied);
        report_begin(report, phases[i].row,
                     &(struct result_shape){.mode = phase_names[i],
                                            .series = settings_series(measurement->all),
                                            .processes = settings->procs_max,
                                            .threads = settings->threads,
                                            .topics = topics_count(settings),
                                            .consumers = settings->consumers,
                                            .batch = settings->batch,
                                            .size_min = settings->size_min,
                                            .size_max = settings->size_max,
                                            .fsync = measurement->all->fsync,
                                            .idle = measurement->all->idle});
    }
}

static int measure(struct report *report, const struct measurement *measurement)
{
    const struct settings *settings = measurement->settings;
    const struct producer_plan write = write_plan(measurement);
    const struct reading_plan read = {.topics = write.topics,
                                      .batch = settings->batch,
                                      .bytes_max = settings->batch * settings->size_max,
                                      .again = measurement->small,
                                      .warm = measurement->small};
    struct reading_plan consume = read;
    struct phase phases[PHASES] = {
        {.role = producer_role(settings->procs_max, settings->threads, &write)},
        {.role = reading_role(settings, &read)},
        {.role = reading_role(settings, &consume)}};

    consume.cursor = true;
    phases[0].role.options.lane_bytes = LANE_BYTES;
    phases_begin(report, measurement, phases);
    int result = phases_run(report, measurement, false, phases);
    if (result == 0 && measurement->count_calls && cost_counts_calls()) {
        result = phases_run(report, measurement, true, phases);
    }
    return result;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static int run(struct report *report, const struct settings *all, const struct settings *small,
               bool first)
{
    struct measurement measurement = {.all = all, .name = "", .count_calls = first};
    int result = 0;

    for (unsigned i = 0; i < settings_points(all) && result == 0; i++) {
        const struct settings point = settings_point(all, i);
        measurement.settings = &point;
        result = measure(report, &measurement);
    }
    if (result < 0 || !settings_wants(all, "64 B, from memory")) {
        return result;
    }
    measurement = (struct measurement){.all = small,
                                       .settings = small,
                                       .name = "64 B, from memory, ",
                                       .small = true,
                                       .count_calls = first};
    return measure(report, &measurement);
}

/* One producer, one reader, and what fits into the broker's memory. */
static struct settings small_settings(const struct settings *all)
{
    struct settings settings = settings_point(all, 0);

    settings.procs_min = settings.procs_max = 1;
    settings.threads = 1;
    settings.topics = 1;
    settings.consumers = 1;
    settings.batch = SMALL_BATCH;
    settings.size_min = settings.size_max = SMALL_SIZE;
    return settings;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;
    int result = 0;

    settings.procs_min = settings.procs_max = 5;
    settings.consumers = 5;
    settings.size_min = settings.size_max = 100 << 10;
    settings.batch = 2000;
    settings.duration_s = 2;
    settings_load_lists(&settings);
    settings_check_space(&settings);
    const struct settings small = small_settings(&settings);
    report_open(&report, "bench-reads",
                "how fast are large entries appended in batches and read back in batches, and "
                "small ones read from memory?",
                &settings, columns, COLUMNS);
    printf("At most %llu MiB per producer, then %u reading processes; cursors at least once, "
           "persisted every %d entries. From memory: one of each, batches of %d.\n",
           (unsigned long long)(TOPIC_BYTES_MAX >> 20), settings.consumers, PERSIST_EVERY,
           SMALL_BATCH);
    report_expect(&report, settings.runs * PHASES * (settings_points(&settings) + 1));
    for (unsigned i = 0; i < settings.runs && result == 0; i++) {
        result = run(&report, &settings, &small, i == 0);
    }
    return report_close(&report, result);
}
