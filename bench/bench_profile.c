/*
 * bench-profile: the work of `make bench-profile`, which looks at it with valgrind and perf. Without
 * arguments: what each shape takes by itself, a table of rates, CPU time and system calls per entry
 * and side. With the name of a shape (a number of entries, and of those written before they are
 * read): that shape once, and nothing else that a profiler would count; prints what to read the
 * profile with:
 *   process SIDE PID       producer, broker, reader, and with the floor relay
 *   work BEGIN_NS END_NS   CLOCK_MONOTONIC, from the first entry's beginning to the last one's end
 *   entries COUNT          that the shape's sides have dealt with meanwhile
 * Runs on:    one main thread; the work is done by the processes of a crew.
 * Not here:   profilers and what becomes of their output (bench/profile/).
 */
#include "bench/clock.h"
#include "bench/cost.h"
#include "bench/follower.h"
#include "bench/producer.h"
#include "bench/relay.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define LEAD_BYTES (UINT64_C(32) << 20) /* how far a producer goes ahead, as in bench-floor */
#define FLOOR_LOG_BYTES (UINT64_C(128) << 20)
#define BATCH 1000
#define PERSIST_EVERY 100000 /* of the cursor, as in bench-reads */
#define DURATION_S 150.0     /* until a shape that hangs is told to stop */
#define ROLES_MAX RELAY_ROLES

enum kind {
    KIND_FLOOR,  /* the bare relay */
    KIND_FOLLOW, /* a producer and a reader that follows */
    KIND_APPEND, /* producers alone */
    KIND_READER, /* tusk_reader_batch of what lies there */
    KIND_CURSOR  /* tusk_batch_read, at least once */
};

struct shape {
    const char *name;
    enum kind kind;
    enum producer_mode mode;
    unsigned producers;
    unsigned topics;
    uint64_t size;
    const char *fsync;
    const char *idle;
    const char *arena;
    uint64_t entries; /* that the table without arguments is made with */
    uint64_t written; /* before reading begins */
};

static const struct shape shapes[] = {
    {"64 B, the floor", KIND_FLOOR, PRODUCER_SUBMIT, 1, 1, 64, "none", "adaptive", "1G", 4000000,
     0},
    {"64 B, one by one", KIND_FOLLOW, PRODUCER_SUBMIT, 1, 1, 64, "none", "adaptive", "1G", 4000000,
     0},
    {"64 B, batches of 1,000", KIND_FOLLOW, PRODUCER_SUBMIT_BATCH, 1, 1, 64, "none", "adaptive",
     "1G", 4000000, 0},
    {"1 KiB, the floor", KIND_FLOOR, PRODUCER_SUBMIT, 1, 1, 1024, "none", "adaptive", "1G", 400000,
     0},
    {"1 KiB, one by one", KIND_FOLLOW, PRODUCER_SUBMIT, 1, 1, 1024, "none", "adaptive", "1G",
     400000, 0},
    {"1 KiB, beyond the arena", KIND_FOLLOW, PRODUCER_SUBMIT, 1, 1, 1024, "none", "adaptive", "64M",
     1000000, 0},
    {"append to COMMITTED, spin", KIND_APPEND, PRODUCER_APPEND, 1, 1, 64, "none", "spin", "128M",
     500000, 0},
    {"each, 1 producer", KIND_APPEND, PRODUCER_APPEND, 1, 1, 256, "each", "adaptive", "128M", 4000,
     0},
    {"each, 16 producers", KIND_APPEND, PRODUCER_APPEND, 16, 1, 256, "each", "adaptive", "128M",
     24000, 0},
    {"8 producers, a topic each", KIND_APPEND, PRODUCER_SUBMIT, 8, 8, 64, "none", "adaptive", "1G",
     4000000, 0},
    {"8 producers, one topic", KIND_APPEND, PRODUCER_SUBMIT, 8, 1, 64, "none", "adaptive", "1G",
     4000000, 0},
    {"64 producers, one topic", KIND_APPEND, PRODUCER_SUBMIT, 64, 1, 64, "none", "adaptive", "1G",
     4000000, 0},
    {"tusk_reader_batch, from memory", KIND_READER, PRODUCER_SUBMIT_BATCH, 1, 1, 64, "none",
     "adaptive", "128M", 40000000, 400000},
    {"tusk_batch_read, at least once", KIND_CURSOR, PRODUCER_SUBMIT_BATCH, 1, 1, 64, "none",
     "adaptive", "1G", 4000000, 4000000},
    {"1 KiB, cold reads", KIND_READER, PRODUCER_SUBMIT, 1, 1, 1024, "none", "adaptive", "16M",
     200000, 200000},
};

#define SHAPES_COUNT (sizeof shapes / sizeof *shapes)

/* ---- A reader of what lies there ------------------------------------------------------------- */

struct reading_plan {
    uint64_t entries; /* to be read; a reader begins again where the topic ends */
    uint64_t written;
    bool cursor;
};

struct reading {
    struct tusk_topic *topic;
    struct tusk_reader *reader;
    uint64_t touched;
    struct tusk_entry entries[BATCH];
};

static int reading_prepare(struct worker *worker)
{
    const struct reading_plan *plan = worker->arg;
    struct reading *reading = calloc(1, sizeof *reading);
    char name[32];

    if (!reading) {
        return worker_fail(worker, -ENOMEM, "making a reader");
    }
    worker->state = reading;
    snprintf(name, sizeof name, PRODUCER_TOPIC_FORMAT, 0U);
    int result = tusk_topic_open(worker->tusk, name, NULL, &reading->topic);
    if (result == 0 && !plan->cursor) {
        result = tusk_reader_open(reading->topic, NULL, &reading->reader);
    }
    return result < 0 ? worker_fail(worker, result, "opening a reader") : 0;
}

static void reading_finish(struct worker *worker)
{
    struct reading *reading = worker->state;

    tusk_reader_close(reading->reader);
    tusk_topic_close(reading->topic);
    free(reading);
}

/* The next ones, as many as a call gives. */
static int batch_get(const struct reading_plan *plan, struct reading *reading)
{
    return plan->cursor ? tusk_batch_read(reading->topic, SIZE_MAX, true, reading->entries, BATCH)
                        : tusk_reader_batch(reading->reader, SIZE_MAX, reading->entries, BATCH, -1);
}

static int reading_work(struct worker *worker)
{
    const struct reading_plan *plan = worker->arg;
    struct reading *reading = worker->state;
    struct worker_result *sum = worker->result;

    while (sum->entries < plan->entries && !worker_stopped(worker)) {
        const int count = batch_get(plan, reading);
        if (count <= 0) {
            return worker_fail(worker, count < 0 ? count : -ENODATA, "reading");
        }
        for (int i = 0; i < count; i++) {
            reading->touched += *(const unsigned char *)reading->entries[i].data;
        }
        sum->entries += (uint64_t)count;
        if (!plan->cursor && reading->entries[count - 1].seq + 1 == plan->written) {
            const int result = tusk_reader_seek(reading->reader, TUSK_FROM_EARLIEST, 0);
            if (result < 0) {
                return worker_fail(worker, result, "beginning again");
            }
        }
    }
    return 0;
}

static struct role reading_role(const struct reading_plan *plan)
{
    return (struct role){
        .processes = 1,
        .threads = 1,
        .options = {.consistency = TUSK_AT_LEAST_ONCE, .persist_every = PERSIST_EVERY},
        .prepare = reading_prepare,
        .work = reading_work,
        .finish = reading_finish,
        .arg = plan};
}

/* ---- One shape ------------------------------------------------------------------------------- */

/* What a shape is made of; the crew's results stay until crew_deinit(). */
struct measurement {
    const struct shape *shape;
    uint64_t entries;
    uint64_t written;
    bool count_calls;
    pid_t broker; /* 0: there was none */
    struct crew crew;
    struct role roles[ROLES_MAX];
    struct producer_plan write;
    struct follower_plan follow;
    struct reading_plan read;
    struct relay_plan floor;
};

static const char *side_name(const struct measurement *measurement, size_t role)
{
    static const char *const floor_names[RELAY_ROLES] = {"producer", "relay", "reader"};

    if (measurement->shape->kind == KIND_FLOOR) {
        return floor_names[role];
    }
    return measurement->roles[role].produces ? "producer" : "reader";
}

static struct producer_plan write_plan(const struct shape *shape, uint64_t entries)
{
    const unsigned batch = shape->mode == PRODUCER_SUBMIT_BATCH ? BATCH : 1;

    return (struct producer_plan){.mode = shape->mode,
                                  .topics = shape->topics,
                                  .batch = batch,
                                  .size_min = shape->size,
                                  .size_max = shape->size,
                                  .log_bytes_max = UINT64_MAX,
                                  .operations_max = entries / batch / shape->producers,
                                  .lead_entries = shape->kind == KIND_FOLLOW
                                                      ? LEAD_BYTES / producer_log_bytes(shape->size)
                                                      : 0,
                                  .followers = 1,
                                  .warm_up = shape->kind == KIND_APPEND};
}

static int floor_run(struct measurement *measurement)
{
    struct relay_plan *plan = &measurement->floor;

    *plan =
        (struct relay_plan){.size = measurement->shape->size,
                            .entries_max = measurement->entries,
                            .lead_entries = LEAD_BYTES / relay_log_bytes(measurement->shape->size),
                            .relay = relay_new(FLOOR_LOG_BYTES)};
    if (!plan->relay) {
        return -ENOMEM;
    }
    relay_roles(measurement->roles, plan);
    measurement->crew.roles_count = RELAY_ROLES;
    const int result = crew_run(&measurement->crew);
    relay_free(plan->relay);
    return result;
}

/* Append what is to be read, and have the disk done with it: its requests are not the reader's. */
static int topic_write(const struct measurement *measurement)
{
    const struct producer_plan plan = write_plan(measurement->shape, measurement->written);
    const struct role role = producer_role(1, 1, &plan);
    struct crew crew = measurement->crew;

    crew.roles = &role;
    crew.roles_count = 1;
    crew.count_calls = false;
    const int result = crew_run(&crew);
    crew_deinit(&crew);
    return result;
}

static int tusk_run(struct measurement *measurement, const struct private_broker *broker)
{
    const struct shape *shape = measurement->shape;
    struct crew *crew = &measurement->crew;

    crew->socket = broker->socket;
    crew->broker = measurement->broker = broker->pid;
    crew->idle = settings_idle(shape->idle);
    crew->roles_count = 1;
    if (shape->kind == KIND_READER || shape->kind == KIND_CURSOR) {
        measurement->read = (struct reading_plan){.entries = measurement->entries,
                                                  .written = measurement->written,
                                                  .cursor = shape->kind == KIND_CURSOR};
        measurement->roles[0] = reading_role(&measurement->read);
        const int result = topic_write(measurement);
        return result == 0 ? crew_run(crew) : result;
    }
    measurement->write = write_plan(shape, measurement->entries);
    measurement->roles[0] = producer_role(shape->producers, 1, &measurement->write);
    if (shape->kind == KIND_FOLLOW) {
        measurement->follow = (struct follower_plan){.topics = 1, .warm = true};
        measurement->roles[1] = follower_role(1, &measurement->follow);
        crew->roles_count = 2;
    }
    return crew_run(crew);
}

static int shape_run(struct measurement *measurement, const struct settings *settings)
{
    const struct shape *shape = measurement->shape;
    struct private_broker broker;

    measurement->broker = 0;
    measurement->crew = (struct crew){.roles = measurement->roles,
                                      .duration_s = DURATION_S,
                                      .count_calls = measurement->count_calls};
    if (shape->kind == KIND_FLOOR) {
        return floor_run(measurement);
    }
    setenv("TUSK_ARENA", shape->arena, 1);
    int result = private_broker_start(&broker, settings, shape->fsync, shape->idle);
    if (result == 0) {
        result = tusk_run(measurement, &broker);
    }
    private_broker_stop(&broker);
    return result;
}

/* ---- For a profiler -------------------------------------------------------------------------- */

static void profile_print(const struct measurement *measurement)
{
    const struct crew *crew = &measurement->crew;
    uint64_t begin_ns = UINT64_MAX;
    uint64_t end_ns = 0;

    if (measurement->broker != 0) {
        printf("process broker %d\n", (int)measurement->broker);
    }
    for (size_t role = 0; role < crew->roles_count; role++) {
        const struct worker_result *results = crew_results(crew, role);
        const struct crew_sum sum = crew_sum(crew, role);
        for (unsigned i = 0; i < crew->roles[role].processes; i++) {
            printf("process %s %d\n", side_name(measurement, role), (int)results[i].process);
        }
        begin_ns = sum.begin_ns < begin_ns ? sum.begin_ns : begin_ns;
        end_ns = sum.end_ns > end_ns ? sum.end_ns : end_ns;
    }
    printf("work %" PRIu64 " %" PRIu64 "\nentries %" PRIu64 "\n", begin_ns, end_ns,
           crew_sum(crew, 0).entries);
}

static int profiled_run(struct settings *settings, const char *name, const char *entries,
                        const char *written)
{
    static struct measurement measurement;

    for (size_t i = 0; i < SHAPES_COUNT; i++) {
        if (strcmp(name, shapes[i].name) == 0) {
            measurement.shape = &shapes[i];
        }
    }
    if (!measurement.shape) {
        fprintf(stderr, "bench-profile: '%s': expected a shape's name, a row of the table\n", name);
        return EX_USAGE;
    }
    measurement.entries = entries ? strtoull(entries, NULL, 10) : measurement.shape->entries;
    measurement.written = written ? strtoull(written, NULL, 10) : measurement.shape->written;
    const int result = shape_run(&measurement, settings);
    if (result == 0) {
        profile_print(&measurement);
        crew_deinit(&measurement.crew);
    }
    return result == 0 ? EX_OK : EX_SOFTWARE;
}

/* ---- By itself ------------------------------------------------------------------------------- */

enum column { COLUMN_ENTRIES, COLUMN_COST, COLUMNS = COLUMN_COST + COST_COLUMNS };

static const struct report_column columns[COLUMNS] = {
    [COLUMN_ENTRIES] = {"entries/s", REPORT_RATE, false, false}, COST_COLUMNS_LIST};

static void shape_begin(struct report *report, const struct shape *shape)
{
    report_begin(report, shape->name,
                 &(struct result_shape){.system = shape->kind == KIND_FLOOR ? "bare relay" : NULL,
                                        .processes = shape->producers,
                                        .threads = 1,
                                        .topics = shape->topics,
                                        .consumers = shape->kind != KIND_APPEND,
                                        .batch = shape->mode == PRODUCER_SUBMIT_BATCH ? BATCH : 1,
                                        .size_min = shape->size,
                                        .size_max = shape->size,
                                        .fsync = shape->fsync,
                                        .idle = shape->idle});
}

static int shape_report(struct report *report, const struct settings *settings,
                        const struct shape *shape, bool counted)
{
    static struct measurement measurement;

    measurement.shape = shape;
    measurement.entries = shape->entries;
    measurement.written = shape->written;
    measurement.count_calls = counted;
    shape_begin(report, shape);
    const int result = shape_run(&measurement, settings);
    if (result < 0) {
        crew_deinit(&measurement.crew);
        return result;
    }
    const struct crew_cost cost = crew_cost(&measurement.crew);
    if (counted) {
        cost_report_calls(report, shape->name, COLUMN_COST, &cost);
    } else {
        const size_t last = measurement.crew.roles_count - 1;
        const struct crew_sum made = crew_sum(&measurement.crew, 0);
        const struct crew_sum end = crew_sum(&measurement.crew, last);
        report_add(report, shape->name, COLUMN_ENTRIES,
                   (double)end.entries * (double)NS_PER_S / (double)(end.end_ns - made.begin_ns));
        cost_report_cpu(report, shape->name, COLUMN_COST, &cost);
    }
    crew_deinit(&measurement.crew);
    return 0;
}

/* With the shapes' calls, which the first repetition counts in runs of their own. */
static unsigned measurements_count(const struct settings *settings)
{
    unsigned wanted = 0;

    for (size_t i = 0; i < SHAPES_COUNT; i++) {
        wanted += settings_wants(settings, shapes[i].name) ? 1 : 0;
    }
    return wanted * (settings->runs + (cost_counts_calls() ? 1 : 0));
}

static int all_report(const struct settings *settings)
{
    static struct report report;
    int result = 0;

    report_open(&report, "bench-profile", "where does the time of an entry go?", settings, columns,
                COLUMNS);
    report_expect(&report, measurements_count(settings));
    for (unsigned run = 0; run < settings->runs; run++) {
        for (size_t i = 0; i < SHAPES_COUNT && result == 0; i++) {
            if (!settings_wants(settings, shapes[i].name)) {
                continue;
            }
            result = shape_report(&report, settings, &shapes[i], false);
            if (result == 0 && run == 0 && cost_counts_calls()) {
                result = shape_report(&report, settings, &shapes[i], true);
            }
        }
    }
    return report_close(&report, result);
}

int main(int argc, char **argv)
{
    struct settings settings = SETTINGS_DEFAULT;

    settings.runs = 1;
    settings_load(&settings);
    if (argc > 4) {
        fprintf(stderr, "usage: bench-profile [SHAPE [ENTRIES [WRITTEN]]]\n");
        return EX_USAGE;
    }
    if (argc > 1) {
        return profiled_run(&settings, argv[1], argc > 2 ? argv[2] : NULL,
                            argc > 3 ? argv[3] : NULL);
    }
    settings_check_space(&settings);
    return all_report(&settings);
}
