/*
 * Quiet: a namespace to which nothing happens costs an engine nothing while it serves others.
 * How:        passes are counted by the broker (passes_total); no time is measured.
 */
#include <criterion/criterion.h>
#include <stdbool.h>

#include "tests/support/session.h"

enum { APPENDS = 1000, TRIES = 50, PART = 10 };

/* Does the idle namespace get no more than a small part of the passes that the busy one takes for some
 * appends, each of which takes one? What an append wakes in it may go on for the first tries. */
static bool idle_is_left_alone(struct tusk *idle, struct tusk_topic *busy)
{
    const uint64_t idle_before = counter_of(idle, "passes_total");
    const uint64_t busy_before = counter_of(tusk, "passes_total");
    for (int i = 0; i < APPENDS; i++) {
        append_text(busy, "x");
    }
    const uint64_t idle_passes = counter_of(idle, "passes_total") - idle_before;
    const uint64_t busy_passes = counter_of(tusk, "passes_total") - busy_before;
    return busy_passes >= APPENDS / 2 && idle_passes < busy_passes / PART;
}

Test(quiet, an_idle_namespace_gets_no_passes)
{
    broker = tuskd_start("--engines 1 --arena 8M");
    tusk = attach(broker);
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.namespace_key = "idle";
    struct tusk *idle = attach_with(broker, options);
    append_text(topic_of(idle, "t"), "x");
    check_ok(tusk_flush(idle, TUSK_DURABLE, -1));
    struct tusk_topic *busy = topic_of(tusk, "t");
    int tries = 1;
    while (tries < TRIES && !idle_is_left_alone(idle, busy)) {
        tries++;
    }
    check(tries < TRIES);
    append_text(topic_of(idle, "u"), "x"); /* and it is there when it is wanted */
    tusk_disconnect(idle);
    session_end();
}
