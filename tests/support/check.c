/*
 * Check: see check.h.
 * Runs on:    anywhere.
 * Not here:   see check.h.
 */
#include "tests/support/check.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool failed;
static bool tearing_down;
static void (*report_failure)(const char *message);
static void (*explain_failure)(void);

static pid_t test_pid;

/* The test's own process; a child that was forked without clients_start() is another. */
__attribute__((constructor)) static void test_pid_note(void)
{
    test_pid = getpid();
}

bool check_has_failed(void)
{
    return failed;
}

void check_teardown(void)
{
    tearing_down = true;
}

void check_report_to(void (*report)(const char *message))
{
    report_failure = report;
}

void check_explain_with(void (*explain)(void))
{
    explain_failure = explain;
}

void check_failed(const char *file, int line, const char *format, ...)
{
    char what[2048];
    char message[2304];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    (void)snprintf(message, sizeof message, "%s:%d: %s", file, line, what);
    if (report_failure != NULL) {
        report_failure(message); /* doesn't return */
        abort();
    }
    failed = true;
    if (explain_failure != NULL) {
        explain_failure();
    }
    if (gettid() != test_pid) {
        (void)fprintf(stderr, "in a thread or child: %s\n", message);
        _exit(1);
    }
    if (tearing_down) {
        (void)fprintf(stderr, "in teardown: %s\n", message);
        abort();
    }
    cr_assert_fail("%s", message);
    abort();
}

static const char *error_name(long long value)
{
    const char *name = value < 0 && value > -4096 ? strerrorname_np((int)-value) : NULL;
    return name != NULL ? name : "";
}

void check_equal(const char *file, int line, const char *expression, long long actual,
                 long long expected)
{
    if (actual != expected) {
        check_failed(file, line, "%s is %lld %s, expected %lld %s", expression, actual,
                     error_name(actual), expected, error_name(expected));
    }
}

void check_memory(const char *file, int line, const char *expression, const void *actual,
                  size_t actual_bytes, const void *expected, size_t expected_bytes)
{
    if (actual_bytes != expected_bytes) {
        check_failed(file, line, "%s has %zu bytes, expected %zu", expression, actual_bytes,
                     expected_bytes);
    }
    const unsigned char *a = actual;
    const unsigned char *e = expected;
    for (size_t i = 0; i < actual_bytes; i++) {
        if (a[i] != e[i]) {
            check_failed(file, line, "%s differs at byte %zu of %zu: %#x, expected %#x", expression,
                         i, actual_bytes, a[i], e[i]);
        }
    }
}

void check_text_contains(const char *file, int line, const char *expression, const char *text,
                         const char *part)
{
    if (strstr(text, part) == NULL) {
        check_failed(file, line, "%s does not contain \"%s\": \"%s\"", expression, part, text);
    }
}
