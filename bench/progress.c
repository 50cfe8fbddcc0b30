/*
 * Progress: see progress.h.
 */
#include "bench/progress.h"

#include "bench/clock.h"

#include <stdio.h>
#include <unistd.h>

#define LINE_EVERY_NS (10 * NS_PER_S)
#define LINE_CLEAR "\r\033[K"

void progress_begin(struct progress *progress, const char *bench)
{
    *progress = (struct progress){.bench = bench, .begin_ns = clock_now_ns()};
    progress->shown_ns = progress->begin_ns;
}

void progress_step(struct progress *progress, const char *what)
{
    const uint64_t now_ns = clock_now_ns();
    const double seconds = (double)(now_ns - progress->begin_ns) / (double)NS_PER_S;
    const int terminal = isatty(STDERR_FILENO);
    char of[24] = "";

    progress->begun++;
    if (!terminal && now_ns - progress->shown_ns < LINE_EVERY_NS) {
        return;
    }
    progress->shown_ns = now_ns;
    if (progress->expected > 0) {
        snprintf(of, sizeof of, " of %u", progress->expected);
    }
    fprintf(stderr, "%s%s: %u%s, %.0f s: %s%s", terminal ? LINE_CLEAR : "", progress->bench,
            progress->begun, of, seconds, what, terminal ? "" : "\n");
}

void progress_end(struct progress *progress)
{
    if (progress->begun > 0 && isatty(STDERR_FILENO)) {
        fputs(LINE_CLEAR, stderr);
    }
}
