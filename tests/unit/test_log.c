/*
 * Proves that a log line is one line in the promised form whatever goes into it, that a noisy event
 * silences only itself and says how often, that a reader who stopped reading costs lines and never
 * time. How: the log writes into a pipe that the test reads.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/log.h"

enum { OUTPUT_BYTES = 256 * 1024, THREADS = 4 };

static int pipe_fds[2];
static char output[OUTPUT_BYTES];

static void pipe_open(void)
{
    unsetenv("JOURNAL_STREAM");
    cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
}

static void pipe_close(void)
{
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

TestSuite(log, .init = pipe_open, .fini = pipe_close, .timeout = 600);

/* What has been written up to now, as a string. */
static const char *output_take(void)
{
    cr_assert_eq(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
    size_t bytes = 0;
    ssize_t got;
    while ((got = read(pipe_fds[0], output + bytes, sizeof output - 1 - bytes)) > 0) {
        bytes += (size_t)got;
    }
    output[bytes] = '\0';
    return output;
}

static size_t lines_in(const char *text)
{
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n';
    }
    return lines;
}

static bool text_matches(const char *text, const char *pattern)
{
    regex_t regex;
    cr_assert_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    const int result = regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    return result == 0;
}

Test(log, line_has_time_level_event_and_values)
{
    struct log log;
    log_init(&log, pipe_fds[1], false);
    log_info(&log, "store.opened", "topics=%d data=%s", 12, LOG_QUOTE("/var/lib/tusk"));
    const char *line = output_take();
    cr_expect(text_matches(line,
                           "^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
                           "\\.[0-9]{3}Z info store\\.opened topics=12 data=/var/lib/tusk\n$"),
              "got: %s", line);
    log_error(&log, "store.fenced", "%s", "");
    cr_expect(text_matches(output_take(), "Z error store\\.fenced "));
    log_deinit(&log);
}

Test(log, stream_of_the_journal_gets_a_priority_and_no_time)
{
    struct stat status;
    char stream[64];
    cr_assert_eq(fstat(pipe_fds[1], &status), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)status.st_dev,
             (unsigned long long)status.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    struct log log;
    log_init(&log, pipe_fds[1], false);
    log_warning(&log, "arena.small", "bytes=%d", 64);
    cr_expect_str_eq(output_take(), "<4>arena.small bytes=64\n");
    log_deinit(&log);
}

Test(log, another_stream_of_the_journal_is_not_this_one)
{
    setenv("JOURNAL_STREAM", "1:1", 1);
    struct log log;
    log_init(&log, pipe_fds[1], false);
    log_info(&log, "broker.ready", "pid=%d", 1);
    cr_expect(text_matches(output_take(), "^[0-9]{4}-.*Z info broker\\.ready pid=1\n$"));
    log_deinit(&log);
}

Test(log, quiet_leaves_warnings_and_errors)
{
    struct log log;
    log_init(&log, pipe_fds[1], true);
    log_info(&log, "broker.ready", "pid=%d", 1);
    cr_expect_str_empty(output_take());
    log_warning(&log, "a.warning", "n=%d", 1);
    log_error(&log, "an.error", "n=%d", 1);
    cr_expect_eq(lines_in(output_take()), 2);
    log_deinit(&log);
}

Test(log, no_log_is_no_output)
{
    log_info(NULL, "broker.ready", "pid=%d", 1);
    cr_expect_str_empty(output_take());
}

Test(log, control_characters_cannot_forge_a_line)
{
    struct log log;
    log_init(&log, pipe_fds[1], false);
    log_info(&log, "session.closed", "reason=%s", "x\n<3>forged line\033[2J\x7f");
    const char *line = output_take();
    cr_expect_eq(lines_in(line), 1);
    cr_expect(text_matches(line, "reason=x\\?<3>forged line\\?\\[2J\\?\n$"), "got: %s", line);
    log_deinit(&log);
}

Test(log, line_that_is_too_long_is_cut_and_still_ends)
{
    static char long_text[3 * LOG_LINE_BYTES];
    memset(long_text, 'x', sizeof long_text - 1);
    struct log log;
    log_init(&log, pipe_fds[1], false);
    log_info(&log, "a.long_one", "text=%s", long_text);
    log_info(&log, "a.short_one", "n=%d", 1);
    const char *text = output_take();
    const char *end = strchr(text, '\n');
    cr_assert_not_null(end);
    cr_expect_leq(end + 1 - text, LOG_LINE_BYTES);
    cr_expect_geq(end + 1 - text, LOG_LINE_BYTES - 2);
    cr_expect(text_matches(end + 1, "a\\.short_one n=1\n$"));
    log_deinit(&log);
}

Test(log, noisy_event_silences_only_itself_and_is_counted)
{
    struct log log;
    log_init(&log, pipe_fds[1], false);
    for (int n = 0; n < LOG_BURST + 15; n++) {
        log_info(&log, "a.noisy_one", "n=%d", n);
    }
    log_info(&log, "another.event", "n=%d", 0);
    const char *text = output_take();
    cr_expect_eq(lines_in(text), LOG_BURST + 1);
    cr_expect_not_null(strstr(text, "another.event n=0\n"));
    cr_expect_null(strstr(text, "suppressed="));

    log.window_ns = 0; /* as if the window were over */
    log_info(&log, "a.noisy_one", "n=%d", 99);
    cr_expect_not_null(strstr(output_take(), "a.noisy_one n=99 suppressed=15\n"));
    log_info(&log, "a.noisy_one", "n=%d", 100);
    cr_expect_not_null(strstr(output_take(), "a.noisy_one n=100\n"));
    log_deinit(&log);
    cr_expect_str_empty(output_take());
}

Test(log, end_says_what_was_suppressed_last)
{
    struct log log;
    log_init(&log, pipe_fds[1], false);
    for (int n = 0; n < LOG_BURST + 3; n++) {
        log_warning(&log, "a.noisy_one", "n=%d", n);
    }
    output_take();
    log_deinit(&log);
    const char *text = output_take();
    cr_expect(text_matches(text, "warning a\\.noisy_one suppressed=3\n$"), "got: %s", text);
    cr_expect_eq(lines_in(text), 1);
}

Test(log, more_events_than_places_share_the_last_one)
{
    static char names[LOG_EVENTS_MAX + 40][16];
    struct log log;
    log_init(&log, pipe_fds[1], false);
    for (size_t at = 0; at < sizeof names / sizeof names[0]; at++) {
        snprintf(names[at], sizeof names[at], "event.%zu", at);
        log_info(&log, names[at], "n=%d", 0);
    }
    cr_expect_eq(lines_in(output_take()), LOG_EVENTS_MAX - 1 + LOG_BURST);
    log_deinit(&log);
}

Test(log, reader_that_stopped_costs_lines_and_no_time)
{
    static const char filler[4096];
    struct log log;
    log_init(&log, pipe_fds[1], false);
    cr_assert_eq(fcntl(pipe_fds[1], F_SETFL, O_NONBLOCK), 0);
    while (write(pipe_fds[1], filler, sizeof filler) > 0) {
    }
    cr_assert_eq(fcntl(pipe_fds[1], F_SETFL, 0), 0); /* a write would now block for ever */
    log_info(&log, "lost.one", "n=%d", 1);
    log_info(&log, "lost.two", "n=%d", 2);
    output_take();
    log_info(&log, "seen.one", "n=%d", 3);
    cr_expect_not_null(strstr(output_take(), "seen.one n=3 dropped=2\n"));
    log_info(&log, "seen.two", "n=%d", 4);
    cr_expect_not_null(strstr(output_take(), "seen.two n=4\n"));
    log_deinit(&log);
}

static void *lines_write(void *argument)
{
    static const char *const events[LOG_BURST] = {"e.0", "e.1", "e.2", "e.3", "e.4",
                                                  "e.5", "e.6", "e.7", "e.8", "e.9"};
    for (int n = 0; n < LOG_BURST; n++) {
        log_info(argument, events[n], "begin=%d %s end=%d", n, "some words between the two", n);
    }
    return NULL;
}

Test(log, lines_of_several_threads_stay_whole)
{
    struct log log;
    log_init(&log, pipe_fds[1], false);
    pthread_t threads[THREADS];
    for (int at = 0; at < THREADS; at++) {
        cr_assert_eq(pthread_create(&threads[at], NULL, lines_write, &log), 0);
    }
    for (int at = 0; at < THREADS; at++) {
        pthread_join(threads[at], NULL);
    }
    char *rest = strdup(output_take());
    char *scan = rest;
    size_t lines = 0;
    for (char *line; (line = strsep(&scan, "\n")) != NULL && *line != '\0'; lines++) {
        cr_expect(text_matches(line, "Z info e\\.([0-9]) begin=\\1 some words between the two "
                                     "end=\\1$"),
                  "got: %s", line);
    }
    cr_expect_eq(lines, THREADS * LOG_BURST);
    free(rest);
    log_deinit(&log);
}

Test(log, quote_keeps_words_and_escapes_the_rest)
{
    cr_expect_str_eq(LOG_QUOTE("plain-word_1.5/x"), "plain-word_1.5/x");
    cr_expect_str_eq(LOG_QUOTE(""), "\"\"");
    cr_expect_str_eq(LOG_QUOTE("two words"), "\"two words\"");
    cr_expect_str_eq(LOG_QUOTE("a=b"), "\"a=b\"");
    cr_expect_str_eq(LOG_QUOTE("q\"b\\"), "\"q\\\"b\\\\\"");
    cr_expect_str_eq(LOG_QUOTE("\n\x7f\xc3\xa9"), "\"\\x0a\\x7f\\xc3\\xa9\"");
}

Test(log, quote_holds_the_longest_topic_name_and_cuts_what_is_longer)
{
    static char name[4096];
    struct log_quote quote;
    memset(name, '\xff', sizeof name);
    const char *longest = log_quote(&quote, name, 255);
    cr_expect_eq(strlen(longest), 255 * 4 + 2);
    const char *cut = log_quote(&quote, name, sizeof name);
    cr_expect_lt(strlen(cut), LOG_QUOTE_BYTES);
    cr_expect_str_eq(cut + strlen(cut) - 4, "...\"");
    memset(name, 'w', sizeof name);
    cut = log_quote(&quote, name, sizeof name);
    cr_expect_lt(strlen(cut), LOG_QUOTE_BYTES);
    cr_expect_str_eq(cut + strlen(cut) - 4, "...\"");
}
