/* Progress: see progress.h. */
#include "broker/inspect/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "broker/clock.h"

#define PROGRESS_INTERVAL_NS UINT64_C(200000000)

void progress_begin(struct progress *progress, bool wanted)
{
    const bool terminal = isatty(STDERR_FILENO);
    *progress = (struct progress){.on = wanted || terminal,
                                  .terminal = terminal,
                                  .next_ns = clock_ns(CLOCK_MONOTONIC) + PROGRESS_INTERVAL_NS};
}

static void say(struct progress *progress, uint64_t done, uint64_t total)
{
    const uint64_t percent = total == 0 ? 100 : done * 100 / total;
    fprintf(stderr, "%s%" PRIu64 " of %" PRIu64 " MiB, %" PRIu64 " %%%s",
            progress->terminal ? "\r" : "tusk-inspect: ", done >> 20, total >> 20, percent,
            progress->terminal ? "\033[K" : "\n");
    progress->said = true;
}

void progress_tell(void *context, uint64_t bytes_done, uint64_t bytes_total)
{
    struct progress *progress = context;
    const uint64_t now_ns = progress->on ? clock_ns(CLOCK_MONOTONIC) : 0;
    const bool last = bytes_done == bytes_total && !progress->terminal;
    if (progress->on && (now_ns >= progress->next_ns || last)) {
        progress->next_ns = now_ns + PROGRESS_INTERVAL_NS;
        say(progress, bytes_done, bytes_total);
    }
}

void progress_end(struct progress *progress)
{
    if (progress->said && progress->terminal) {
        fprintf(stderr, "\r\033[K");
    }
}
