/*
 * tusk delete: remove a topic and all that is in it.
 * Runs on:    the tool's one thread.
 */
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/verbs.h"

#include <errno.h>
#include <sysexits.h>

static int topic_delete(const struct connection_options *options, const char *name)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;

    const int status = connection_open(options, 0, &tusk);
    if (status != EX_OK) {
        return status;
    }
    const int result = tusk_topic_delete(tusk, name);
    if (result == -ENOENT) {
        return fail(EX_NOINPUT, "there is no topic '%s'; tusk topics lists what there is", name);
    }
    return result < 0 ? fail_tusk(result, "deleting topic '%s'", name) : EX_OK;
}

int verb_delete(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "delete",
        .operands = "TOPIC",
        .summary = "Remove TOPIC and all that is in it; every handle of it becomes stale.",
        .details = "",
        .operands_min = 1,
        .operands_max = 1,
    };
    struct connection_options options = CONNECTION_OPTIONS_DEFAULT;
    const struct option_spec specs[] = {CONNECTION_OPTIONS(&options)};
    char **operands = NULL;
    int count = 0;

    switch (
        options_parse(&page, specs, sizeof specs / sizeof *specs, argc, argv, &operands, &count)) {
    case OPTIONS_EXIT:
        return EX_OK;
    case OPTIONS_WRONG:
        return EX_USAGE;
    case OPTIONS_RUN:
        break;
    }
    return topic_delete(&options, operands[0]);
}
