/*
 * tusk namespaces: which there are.
 * Runs on:    the tool's one thread.
 */
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/output.h"
#include "clientlib/cli/verbs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

struct namespaces_options {
    struct connection_options connection;
    bool json;
};

static int line_print(const char *key, const struct tusk_namespace_stat *stat, void *arg)
{
    (void)arg;
    if (stat->open) {
        printf("%10" PRIu64 " %10" PRIu64 "  ", stat->topics, stat->sessions);
    } else {
        printf("%10s %10s  ", "-", "-");
    }
    output_name(key);
    output_text("\n");
    return 0;
}

static int json_print(const char *key, const struct tusk_namespace_stat *stat, void *arg)
{
    (void)arg;
    output_text("{");
    output_json_member("namespace", key, strlen(key));
    printf(",\"open\":%s,\"topics\":%" PRIu64 ",\"sessions\":%" PRIu64 "}\n",
           stat->open ? "true" : "false", stat->topics, stat->sessions);
    return 0;
}

static int namespaces_run(const struct namespaces_options *options)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;

    const int status = connection_open(&options->connection, 0, &tusk);
    if (status != EX_OK) {
        return status;
    }
    if (!options->json) {
        printf("%10s %10s  %s\n", "TOPICS", "SESSIONS", "NAMESPACE");
    }
    const int result = tusk_namespace_list(tusk, options->json ? json_print : line_print, NULL);
    return result < 0 ? fail_tusk(result, "listing the namespaces") : EX_OK;
}

int verb_namespaces(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "namespaces",
        .operands = "",
        .summary = "List the namespaces: topics and connections; - for those that nobody has asked "
                   "for\nsince the broker was started.",
        .details = "In names, what a terminal would not show as itself is written as \\xNN.\n",
    };
    struct namespaces_options options = {.connection = CONNECTION_OPTIONS_DEFAULT};
    const struct option_spec specs[] = {
        FLAG_ROW(0, "json", &options.json, "one JSON object per namespace"),
        CONNECTION_OPTIONS(&options.connection),
    };
    struct verb_call call;

    if (!VERB_BEGIN(&call, &page, specs, argc, argv)) {
        return call.status;
    }
    return namespaces_run(&options);
}
