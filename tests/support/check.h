/*
 * Check: assertions that work in a test, in its client processes and in its threads.
 * Runs on:    anywhere; a failure in the test's main thread is Criterion's, in a client process it
 *             ends that process and clients_join() reports it, in another thread it ends the test.
 * Invariants: every failure prints file, line, both values, and the logs of the test's brokers.
 * Trust:      not applicable.
 * Not here:   waiting for something to become true (deadline.h).
 */
#ifndef TUSK_TESTS_SUPPORT_CHECK_H
#define TUSK_TESTS_SUPPORT_CHECK_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is AddressSanitizer in this program? */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_SANITIZED true
#else
#define TEST_SANITIZED false
#endif

/* Seconds allowed are multiplied by this: sanitizers cost time, not correctness. */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_TIME_FACTOR 4
#else
#define TEST_TIME_FACTOR 1
#endif

/* What only ends a test that hangs is multiplied by this as well: machines may be busy. */
#define TEST_PATIENCE 5

/* Bytes that a process may grow by are multiplied by this: a sanitizer keeps for a while what was
 * freed. */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_MEMORY_FACTOR 8
#else
#define TEST_MEMORY_FACTOR 1
#endif

/* The condition holds. */
#define check(condition)                                                                           \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, "%s", #condition))

/* The condition holds; what is wrong otherwise is said in the caller's words. */
#define check_say(condition, ...)                                                                  \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, __VA_ARGS__))

/* Two integers are equal; negative ones are shown as errors. */
#define check_is(actual, expected)                                                                 \
    check_equal(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))

/* The call answered 0. */
#define check_ok(call) check_is(call, 0)

/* Both memories are the same. */
#define check_bytes(actual, actual_bytes, expected, expected_bytes)                                \
    check_memory(__FILE__, __LINE__, #actual, actual, actual_bytes, expected, expected_bytes)

/* The text contains the part. */
#define check_contains(text, part) check_text_contains(__FILE__, __LINE__, #text, text, part)

void check_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
void check_equal(const char *file, int line, const char *expression, long long actual,
                 long long expected);
void check_memory(const char *file, int line, const char *expression, const void *actual,
                  size_t actual_bytes, const void *expected, size_t expected_bytes);
void check_text_contains(const char *file, int line, const char *expression, const char *text,
                         const char *part);

/* Whether a check of this process has failed: teardown then doesn't ask for more. */
bool check_has_failed(void);

/* From now on this process tears down: Criterion counts only crashes there, so a failure is one. */
void check_teardown(void);

/* Called with the message instead of failing the test: how client processes report. */
void check_report_to(void (*report)(const char *message));

/* Called after each failure's message: prints what helps to understand it. */
void check_explain_with(void (*explain)(void));

#endif
