/*
 * Interrupt: see interrupt.h.
 */
#include "bench/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

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

int interrupt_wait(int fd, int timeout_ms)
{
    sigset_t set;

    sigemptyset(&set);
    interrupt_signals(&set);
    const int signals_fd = signalfd(-1, &set, SFD_CLOEXEC); /* never read, so what came stays */
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = signals_fd, .events = POLLIN}};
    const int count = poll(fds, 2, timeout_ms);
    if (signals_fd >= 0) {
        close(signals_fd);
    }
    return interrupt_pending() ? -EINTR : count > 0 ? 1 : 0;
}
