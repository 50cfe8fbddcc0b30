/*
 * tusk topics: what topics there are and what they hold.
 * Runs on:    the tool's one thread.
 */
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/output.h"
#include "clientlib/cli/topic_table.h"
#include "clientlib/cli/verbs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

struct topics_options {
    struct connection_options connection;
    bool json;
};

static void table_print(const struct topic_table *table)
{
    size_t widest = strlen("TOPIC");

    for (size_t i = 0; i < table->count; i++) {
        const size_t columns = output_name_columns(table->rows[i].name);
        widest = columns > widest ? columns : widest;
    }
    printf("TOPIC%*s %12s %12s %12s %12s %14s\n", (int)(widest - strlen("TOPIC")), "", "ENTRIES",
           "NEXT", "DURABLE", "UNREAD", "BYTES");
    for (size_t i = 0; i < table->count; i++) {
        const struct topic_row *row = &table->rows[i];
        output_name(row->name);
        printf("%*s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %14" PRIu64 "\n",
               (int)(widest - output_name_columns(row->name)), "",
               row->stat.next_seq - row->stat.first_seq, row->stat.next_seq, row->stat.durable_seq,
               row->stat.unread, row->stat.bytes);
    }
}

static void json_print(const struct topic_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct tusk_topic_stat *stat = &table->rows[i].stat;
        output_text("{");
        output_json_member("topic", table->rows[i].name, strlen(table->rows[i].name));
        printf(",\"first_seq\":%" PRIu64 ",\"next_seq\":%" PRIu64 ",\"durable_seq\":%" PRIu64
               ",\"unread\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n",
               stat->first_seq, stat->next_seq, stat->durable_seq, stat->unread, stat->bytes);
    }
}

static int topics_run(const struct topics_options *options)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;
    struct topic_table table;

    const int status = connection_open(&options->connection, 0, &tusk);
    if (status != EX_OK) {
        return status;
    }
    const int result = topic_table_load(&table, tusk);
    if (result == 0) {
        options->json ? json_print(&table) : table_print(&table);
    }
    topic_table_deinit(&table);
    return result < 0 ? fail_tusk(result, "listing the topics") : EX_OK;
}

int verb_topics(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "topics",
        .operands = "",
        .summary = "List the topics: entries kept, the next and the first not durable sequence "
                   "number,\nentries that the cursor has not passed, bytes of log.",
        .details = "In names, what a terminal would not show as itself is written as \\xNN.\n",
    };
    struct topics_options options = {.connection = CONNECTION_OPTIONS_DEFAULT};
    const struct option_spec specs[] = {
        FLAG_ROW(0, "json", &options.json, "one JSON object per topic"),
        CONNECTION_OPTIONS(&options.connection),
    };
    struct verb_call call;

    if (!VERB_BEGIN(&call, &page, specs, argc, argv)) {
        return call.status;
    }
    return topics_run(&options);
}
