/*
 * tusk stat: the broker's counters, or one topic's figures; for people, programs or Prometheus.
 * Runs on:    the tool's one thread.
 * Invariants: --prometheus always prints a complete page: without a broker it says tusk_up 0.
 */
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/output.h"
#include "clientlib/cli/topic_table.h"
#include "clientlib/cli/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

struct stat_options {
    struct connection_options connection;
    bool json;
    bool prometheus;
};

/* The figures of a topic, by name. */
struct stat_field {
    const char *name;
    const char *help;
    size_t offset;
};

#define STAT_FIELD(member, text)                                                                   \
    {                                                                                              \
        .name = #member, .help = text, .offset = offsetof(struct tusk_topic_stat, member)          \
    }

static const struct stat_field stat_fields[] = {
    STAT_FIELD(first_seq, "sequence number of the first entry kept"),
    STAT_FIELD(next_seq, "sequence number that the next entry will get"),
    STAT_FIELD(durable_seq, "entries below this sequence number are durable"),
    STAT_FIELD(unread, "entries that the topic's cursor has not passed"),
    STAT_FIELD(bytes, "bytes of log from the first entry kept to the tail"),
};

#define STAT_FIELDS_COUNT (sizeof stat_fields / sizeof *stat_fields)

static uint64_t field_get(const struct stat_field *field, const struct tusk_topic_stat *stat)
{
    uint64_t value = 0;

    memcpy(&value, (const char *)stat + field->offset, sizeof value);
    return value;
}

/* ---- For people and programs ----------------------------------------------------------------- */

static int counter_print(const char *name, const char *help, uint64_t value, void *arg)
{
    (void)arg;
    printf("%-32s %20" PRIu64 "  %s\n", name, value, help);
    return 0;
}

static int counter_print_json(const char *name, const char *help, uint64_t value, void *arg)
{
    bool *first = arg;

    (void)help;
    printf("%s\"%s\":%" PRIu64, *first ? "" : ",", name, value);
    *first = false;
    return 0;
}

static int counters_print(struct tusk *tusk, bool json)
{
    bool first = true;

    if (!json) {
        return tusk_counter_list(tusk, counter_print, NULL);
    }
    output_text("{");
    const int result = tusk_counter_list(tusk, counter_print_json, &first);
    output_text("}\n");
    return result;
}

static void topic_print(const char *name, const struct tusk_topic_stat *stat, bool json)
{
    if (json) {
        output_text("{");
        output_json_member("topic", name, strlen(name));
        for (size_t i = 0; i < STAT_FIELDS_COUNT; i++) {
            printf(",\"%s\":%" PRIu64, stat_fields[i].name, field_get(&stat_fields[i], stat));
        }
        output_text("}\n");
        return;
    }
    for (size_t i = 0; i < STAT_FIELDS_COUNT; i++) {
        printf("%-32s %20" PRIu64 "  %s\n", stat_fields[i].name, field_get(&stat_fields[i], stat),
               stat_fields[i].help);
    }
}

static int topic_stat(struct tusk *tusk, const char *name, bool json)
{
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    struct tusk_topic *topic = NULL;

    const int status = connection_topic(tusk, name, &topic);
    if (status != EX_OK) {
        return status;
    }
    const int result = tusk_topic_info(topic, &stat);
    if (result < 0) {
        return fail_tusk(result, "topic '%s'", name);
    }
    topic_print(name, &stat, json);
    return EX_OK;
}

/* ---- Prometheus text format ------------------------------------------------------------------ */

/* The format wants UTF-8: what isn't is written with \xNN for its bytes. */
static void label_print(const char *text)
{
    const bool utf8 = output_is_utf8(text, strlen(text));

    for (; *text; text++) {
        char escape[8];
        if (*text == '\n') {
            output_text("\\n");
        } else if (!utf8 && (unsigned char)*text >= 0x80) {
            snprintf(escape, sizeof escape, "\\\\x%02x", (unsigned char)*text);
            output_text(escape);
        } else {
            output_text(*text == '"' || *text == '\\' ? "\\" : "");
            output_bytes(text, 1);
        }
    }
}

static int counter_print_prometheus(const char *name, const char *help, uint64_t value, void *arg)
{
    const size_t length = strlen(name);
    const bool counts = length > 6 && strcmp(name + length - 6, "_total") == 0;

    (void)arg;
    printf("# HELP tusk_%s %s\n# TYPE tusk_%s %s\ntusk_%s %" PRIu64 "\n", name, help, name,
           counts ? "counter" : "gauge", name, value);
    return 0;
}

static void topics_print_prometheus(const struct topic_table *table)
{
    for (size_t i = 0; i < STAT_FIELDS_COUNT && table->count > 0; i++) {
        printf("# HELP tusk_topic_%s %s\n# TYPE tusk_topic_%s gauge\n", stat_fields[i].name,
               stat_fields[i].help, stat_fields[i].name);
        for (size_t row = 0; row < table->count; row++) {
            printf("tusk_topic_%s{topic=\"", stat_fields[i].name);
            label_print(table->rows[row].name);
            printf("\"} %" PRIu64 "\n", field_get(&stat_fields[i], &table->rows[row].stat));
        }
    }
}

static void up_print(bool up)
{
    printf("# HELP tusk_up whether the broker answers\n# TYPE tusk_up gauge\ntusk_up %d\n", up);
}

static int prometheus_print(struct tusk *tusk)
{
    struct topic_table table;

    up_print(true);
    int result = tusk_counter_list(tusk, counter_print_prometheus, NULL);
    if (result == 0) {
        result = topic_table_load(&table, tusk);
        topics_print_prometheus(&table);
        topic_table_deinit(&table);
    }
    return result;
}

/* Connect without a message if there is no broker, for that is an answer here. */
static int prometheus_run(const struct connection_options *options)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;

    int result = connection_try(options, 0, &tusk);
    if (result == -ENOTCONN) {
        up_print(false);
        return EX_OK;
    }
    if (result < 0) {
        return connection_fail(options, result);
    }
    result = prometheus_print(tusk);
    return result < 0 ? fail_tusk(result, "reading the counters") : EX_OK;
}

/* ---- The verb -------------------------------------------------------------------------------- */

static int stat_run(const struct stat_options *options, const char *topic_name)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;

    if (options->prometheus) {
        return topic_name || options->json
                   ? fail(EX_USAGE, "--prometheus prints everything; leave out TOPIC and --json")
                   : prometheus_run(&options->connection);
    }
    const int status = connection_open(&options->connection, 0, &tusk);
    if (status != EX_OK) {
        return status;
    }
    if (topic_name) {
        return topic_stat(tusk, topic_name, options->json);
    }
    const int result = counters_print(tusk, options->json);
    return result < 0 ? fail_tusk(result, "reading the counters") : EX_OK;
}

int verb_stat(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "stat",
        .operands = "[TOPIC]",
        .summary = "Show the broker's counters, or the figures of TOPIC.",
        .details = "A topic that doesn't exist has zeros.\n",
        .operands_max = 1,
    };
    struct stat_options options = {.connection = CONNECTION_OPTIONS_DEFAULT};
    const struct option_spec specs[] = {
        FLAG_ROW(0, "json", &options.json, "as one JSON object"),
        FLAG_ROW(0, "prometheus", &options.prometheus,
                 "all counters and topics in the text format; tusk_up 0 if no broker answers"),
        CONNECTION_OPTIONS(&options.connection),
    };
    struct verb_call call;

    if (!VERB_BEGIN(&call, &page, specs, argc, argv)) {
        return call.status;
    }
    return stat_run(&options, call.count > 0 ? call.operands[0] : NULL);
}
