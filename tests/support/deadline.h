/*
 * Deadline: a test that hangs says where and fails; conditions are waited for, not slept for.
 * Runs on:    the test's process and its clients, one deadline in each.
 * Invariants: a passed deadline prints what was being done, a backtrace and the brokers' logs, and
 *             ends the process; it never lets a test go on.
 * Trust:      not applicable.
 * Not here:   Criterion's own time-out, which prints nothing.
 */
#ifndef TUSK_TESTS_SUPPORT_DEADLINE_H
#define TUSK_TESTS_SUPPORT_DEADLINE_H

#include "tests/support/check.h"

/* Allow this process so many seconds from now (times TEST_TIME_FACTOR and TEST_PATIENCE). */
void deadline_set(unsigned seconds);

/* As deadline_set(), if there is none yet. */
void deadline_default(void);

/* Take the deadline of the parent over after fork. */
void deadline_inherit(void);

/* Name what is being done now; printed when the deadline passes. Static text. */
void deadline_doing(const char *what);

/* The time-out of a call that is to succeed: the deadline comes first when it hangs. */
enum { TEST_LONG_MS = 300000 };

/* Milliseconds of a monotonic clock. */
uint64_t now_ms(void);
uint64_t now_ns(void);

/* Let other processes run for a moment; used between two looks at a condition. */
void pause_briefly(void);

/* Look until the condition holds; fail if it doesn't within timeout_ms (times the factor, and
 * TEST_PATIENCE: it only ends tests that hang). */
#define wait_until(condition, timeout_ms)                                                          \
    do {                                                                                           \
        const uint64_t wait_end_ms =                                                               \
            now_ms() + (uint64_t)(timeout_ms)*TEST_TIME_FACTOR * TEST_PATIENCE;                    \
        deadline_doing(#condition);                                                                \
        while (!(condition)) {                                                                     \
            check_say(now_ms() < wait_end_ms, "not true within %d ms: %s",                         \
                      (int)(timeout_ms)*TEST_TIME_FACTOR * TEST_PATIENCE, #condition);             \
            pause_briefly();                                                                       \
        }                                                                                          \
        deadline_doing(NULL);                                                                      \
    } while (0)

#endif
