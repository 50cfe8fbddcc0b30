/*
 * Interrupt: see interrupt.h.
 */
#include "bench/interrupt.h"

#include <stddef.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

#define SIGNALS_COUNT (sizeof signals / sizeof *signals)

void interrupt_signals(sigset_t *set)
{
    for (size_t i = 0; i < SIGNALS_COUNT; i++) {
        sigaddset(set, signals[i]);
    }
}

void interrupt_block(void)
{
    sigset_t set;

    sigemptyset(&set);
    interrupt_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

bool interrupt_pending(void)
{
    sigset_t pending;
    bool found = false;

    sigpending(&pending);
    for (size_t i = 0; i < SIGNALS_COUNT; i++) {
        found = found || sigismember(&pending, signals[i]) == 1;
    }
    return found;
}
