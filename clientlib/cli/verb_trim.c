/*
 * tusk trim: give up a topic's oldest entries.
 * Runs on:    the tool's one thread.
 */
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <sysexits.h>

static int topic_trim(const struct connection_options *options, const char *name, uint64_t first)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;
    struct tusk_topic *topic = NULL;
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;

    int status = connection_open(options, 0, &tusk);
    if (status == EX_OK) {
        status = connection_topic(tusk, name, &topic);
    }
    if (status != EX_OK) {
        return status;
    }
    const int result = tusk_topic_trim(topic, first);
    if (result == -ENOENT) {
        return fail(EX_NOINPUT, "there is no topic '%s'; tusk topics lists what there is", name);
    }
    if (result == -EINVAL && tusk_topic_info(topic, &stat) == 0) {
        return fail(EX_USAGE,
                    "SEQ: %" PRIu64 " is beyond the end of topic '%s', expected at most %" PRIu64,
                    first, name, stat.next_seq);
    }
    return result < 0 ? fail_tusk(result, "trimming topic '%s'", name) : EX_OK;
}

int verb_trim(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "trim",
        .operands = "TOPIC SEQ",
        .summary = "Give up the entries of TOPIC before the sequence number SEQ.",
        .details = "",
        .operands_min = 2,
        .operands_max = 2,
    };
    struct connection_options options = CONNECTION_OPTIONS_DEFAULT;
    const struct option_spec specs[] = {CONNECTION_OPTIONS(&options)};
    struct verb_call call;
    uint64_t first = 0;

    if (!VERB_BEGIN(&call, &page, specs, argc, argv)) {
        return call.status;
    }
    if (number_parse(call.operands[1], 0, TUSK_ANY_SEQ - 1, &first) < 0) {
        return fail(EX_USAGE, "SEQ: '%s' is not a sequence number (0, 1, 2 ...)", call.operands[1]);
    }
    return topic_trim(&options, call.operands[0], first);
}
