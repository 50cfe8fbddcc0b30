/*
 * tusk delete: remove a topic, or a namespace, and all that is in it.
 * Runs on:    the tool's one thread.
 */
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/verbs.h"

#include <errno.h>
#include <stdbool.h>
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

/* Over a connection to another namespace, `default`: nobody may be connected to the one that goes. */
static int namespace_delete(const struct connection_options *options)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;
    struct connection_options other = *options;

    other.space = "default";
    const int status = connection_open(&other, 0, &tusk);
    if (status != EX_OK) {
        return status;
    }
    const int result = tusk_namespace_delete(tusk, options->space);
    switch (result) {
    case 0:
        return EX_OK;
    case -ENOENT:
        return fail(EX_NOINPUT, "there is no namespace '%s'; tusk namespaces lists what there is",
                    options->space);
    case -EBUSY:
        return fail(EX_TEMPFAIL,
                    "namespace '%s' is in use: somebody is connected to it, or it is being changed",
                    options->space);
    case -EACCES:
        return fail(EX_NOPERM, "namespace '%s' stays: others can be removed", options->space);
    default:
        return fail_tusk(result, "removing namespace '%s'", options->space);
    }
}

int verb_delete(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "delete",
        .operands = "[TOPIC]",
        .summary = "Remove TOPIC and all that is in it; every handle of it becomes stale. Without "
                   "TOPIC,\nwith --namespace NS --all: the namespace NS and all its topics.",
        .details = "",
        .operands_max = 1,
    };
    struct connection_options options = CONNECTION_OPTIONS_DEFAULT;
    bool all = false;
    const struct option_spec specs[] = {
        FLAG_ROW(0, "all", &all, "remove the namespace itself; nobody may be connected to it"),
        CONNECTION_OPTIONS(&options),
    };
    struct verb_call call;

    if (!VERB_BEGIN(&call, &page, specs, argc, argv)) {
        return call.status;
    }
    if (call.count == 1 && !all) {
        return topic_delete(&options, call.operands[0]);
    }
    if (call.count == 1 || !all || options.space == NULL) {
        return fail(EX_USAGE, "expected TOPIC, or --namespace NS --all to remove a namespace");
    }
    return namespace_delete(&options);
}
