/*
 * bench-recovery: how long does a broker take to start, and how much memory does it need, with how
 * many topics and how many bytes in its store?
 * Runs on:    one thread; the broker is stopped, started, killed and started again between the
 *             clients.
 */
#include "bench/clock.h"
#include "bench/interrupt.h"
#include "bench/private_broker.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tusk/tusk.h>

#define TOPICS_DEFAULT 10000
#define TOPICS_LEAST 100
#define SPARE_TOPICS 64
#define ENTRY_BYTES 4096
#define FLUSH_TIMEOUT_MS 120000
#define FLUSH_LOOK_MS 500 /* between two looks whether this program is to end */
#define MIB (UINT64_C(1) << 20)

enum column { COLUMN_STOP, COLUMN_KILL, COLUMN_MEMORY, COLUMN_EACH, COLUMN_DATA, COLUMNS };

static const struct report_column columns[COLUMNS] = {
    [COLUMN_STOP] = {"start after a stop", REPORT_TIME},
    [COLUMN_KILL] = {"start after a kill", REPORT_TIME},
    [COLUMN_MEMORY] = {"private memory KiB", REPORT_COUNT},
    [COLUMN_EACH] = {"bytes for each topic", REPORT_COUNT},
    [COLUMN_DATA] = {"data bytes", REPORT_COUNT, .plain = true}};

struct shape {
    uint64_t topics;
    uint64_t bytes; /* in all of them; 0: one entry in each */
};

static int failed(int error, const char *what)
{
    if (error == -EINTR) {
        return error; /* report_close() says that */
    }
    fprintf(stderr, "%s: %s\n", what, tusk_strerror(error));
    return error;
}

static int topic_fill(struct tusk *tusk, uint64_t number, uint64_t bytes)
{
    static char payload[ENTRY_BYTES];
    struct tusk_topic *topic = NULL;
    char name[32];

    snprintf(name, sizeof name, "topic-%07llu", (unsigned long long)number);
    int result = tusk_topic_open(tusk, name, NULL, &topic);
    if (result == 0) {
        result = tusk_append(topic, payload, 100, NULL);
    }
    for (uint64_t done = 0; result == 0 && done < bytes; done += ENTRY_BYTES) {
        result = tusk_submit(topic, payload, ENTRY_BYTES, 0);
        if (result == -EAGAIN) {
            result = interrupt_pending()                     ? -EINTR
                     : tusk_wait(tusk, FLUSH_TIMEOUT_MS) < 0 ? -ETIMEDOUT
                                                             : 0;
            done -= ENTRY_BYTES;
        }
    }
    tusk_topic_close(topic);
    return result;
}

static int flush(struct tusk *tusk)
{
    int result = -ETIMEDOUT;

    for (int waited_ms = 0; result == -ETIMEDOUT && waited_ms < FLUSH_TIMEOUT_MS;
         waited_ms += FLUSH_LOOK_MS) {
        result = interrupt_pending() ? -EINTR : tusk_flush(tusk, TUSK_DURABLE, FLUSH_LOOK_MS);
    }
    return result;
}

static int fill(const struct private_broker *broker, const struct shape *shape)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *tusk = NULL;

    options.socket_path = broker->socket;
    int result = tusk_connect(&tusk, &options);
    if (result < 0) {
        return failed(result, "connecting");
    }
    for (uint64_t i = 0; result == 0 && i < shape->topics; i++) {
        result = interrupt_pending() ? -EINTR : topic_fill(tusk, i, shape->bytes / shape->topics);
    }
    if (result == 0) {
        result = flush(tusk);
    }
    tusk_disconnect(tusk);
    return result < 0 ? failed(result, "appending") : 0;
}

static int measure(struct report *report, const struct settings *settings,
                   struct private_broker *broker, const struct shape *shape, const char *row)
{
    uint64_t start_ns = 0;

    if (shape->bytes > 0) {
        report_add(report, row, COLUMN_DATA, (double)shape->bytes);
    }
    const uint64_t empty_bytes = private_broker_memory_bytes(broker);
    int result = fill(broker, shape);
    if (result < 0) {
        return result;
    }
    result =
        private_broker_restart(broker, settings, settings->fsync, settings->idle, true, &start_ns);
    if (result < 0) {
        return result;
    }
    report_add(report, row, COLUMN_KILL, (double)start_ns);
    result =
        private_broker_restart(broker, settings, settings->fsync, settings->idle, false, &start_ns);
    if (result < 0) {
        return result;
    }
    report_add(report, row, COLUMN_STOP, (double)start_ns);
    const uint64_t bytes = private_broker_memory_bytes(broker);
    report_add(report, row, COLUMN_MEMORY, (double)bytes / 1024);
    if (bytes > empty_bytes) {
        report_add(report, row, COLUMN_EACH, (double)(bytes - empty_bytes) / (double)shape->topics);
    }
    return 0;
}

static int run(struct report *report, const struct settings *settings, const struct shape *shape)
{
    struct private_broker broker;
    char row[64];

    if (shape->bytes == 0) {
        snprintf(row, sizeof row, "%llu topics", (unsigned long long)shape->topics);
    } else {
        snprintf(row, sizeof row, "%llu MiB in %llu topics",
                 (unsigned long long)(shape->bytes / MIB), (unsigned long long)shape->topics);
    }
    if (!settings_wants(settings, row)) {
        return 0;
    }
    if (interrupt_pending()) {
        return -EINTR;
    }
    report_begin(report, row,
                 &(struct result_shape){.series = shape->bytes == 0 ? "topics" : "bytes",
                                        .topics = (unsigned)shape->topics,
                                        .fsync = settings->fsync,
                                        .idle = settings->idle});
    int result = private_broker_start(&broker, settings, settings->fsync, settings->idle);
    if (result == 0) {
        result = measure(report, settings, &broker, shape, row);
    }
    private_broker_stop(&broker);
    return result;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;
    char topics_text[32];

    settings.topics = TOPICS_DEFAULT;
    settings_load(&settings);
    settings_used("FSYNC TOPICS BACKEND IDLE");
    settings_check_space(&settings);
    const uint64_t topics_max = settings.topics;
    snprintf(topics_text, sizeof topics_text, "%llu",
             (unsigned long long)topics_max + SPARE_TOPICS);
    setenv("TUSK_TOPICS", topics_text, 0);
    report_open(&report, "bench-recovery",
                "how long does a broker take to start, and how much memory does it need, with how "
                "many topics and bytes?",
                &settings, columns, COLUMNS);
    printf(
        "From the start of the process until it serves; after a kill every topic is looked at.\n");
    const uint64_t bytes_max = settings.bytes_max / settings.runs / 2;
    for (unsigned i = 0; i < settings.runs; i++) {
        int result = 0;
        for (uint64_t topics = TOPICS_LEAST; result == 0 && topics <= topics_max; topics *= 10) {
            result = run(&report, &settings, &(struct shape){.topics = topics});
        }
        for (uint64_t bytes = 16 * MIB; result == 0 && bytes <= bytes_max; bytes *= 4) {
            result = run(&report, &settings, &(struct shape){.topics = 10, .bytes = bytes});
        }
        if (result < 0) {
            return report_close(&report, result);
        }
    }
    return report_close(&report, 0);
}
