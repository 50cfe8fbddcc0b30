/*
 * Deadline: see deadline.h.
 * Runs on:    any thread sets it; SIGALRM ends the process.
 * Invariants: the handler allocates nothing; backtrace() has been called once before.
 * Not here:   see deadline.h.
 */
#include "tests/support/deadline.h"

#include <execinfo.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/tuskd.h"

enum { SECONDS_DEFAULT = 30, FRAMES_MAX = 48 };

static const char *volatile doing;
static volatile uint64_t end_ms;

uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t now_ms(void)
{
    return now_ns() / 1000000U;
}

void pause_briefly(void)
{
    const struct timespec moment = {.tv_nsec = 200000};
    (void)nanosleep(&moment, NULL);
}

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        _exit(1); /* nobody is left to read it */
    }
}

static void deadline_passed(int signal_number)
{
    (void)signal_number;
    say("deadline passed");
    if (doing != NULL) {
        say(", waiting for: ");
        say(doing);
    }
    say("\n");
    void *frames[FRAMES_MAX];
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    tuskd_print_logs();
    (void)signal(SIGABRT, SIG_DFL);
    abort();
}

static void deadline_arm(void)
{
    void *frame[1];
    (void)backtrace(frame, 1); /* loads what it needs now, not in the handler */
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = deadline_passed;
    (void)sigaction(SIGALRM, &action, NULL);
    const uint64_t now = now_ms();
    (void)alarm(end_ms > now ? (unsigned)((end_ms - now + 999) / 1000) : 1);
}

void deadline_set(unsigned seconds)
{
    end_ms = now_ms() + (uint64_t)seconds * 1000U * TEST_TIME_FACTOR * TEST_PATIENCE;
    deadline_arm();
}

void deadline_default(void)
{
    if (end_ms == 0) {
        deadline_set(SECONDS_DEFAULT);
    }
}

void deadline_inherit(void)
{
    doing = NULL;
    if (end_ms == 0) {
        deadline_set(SECONDS_DEFAULT);
    } else {
        deadline_arm();
    }
}

void deadline_doing(const char *what)
{
    doing = what;
}
