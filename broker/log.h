/*
 * Log: one line for each event that an operator may want to know of, as "event.name key=value ...".
 * Runs on:    any thread, several at once; never on the hot path, which only counts (counters.h).
 * Invariants: a line is one write; it holds no control character but its final newline; a reader
 *             that has stopped reading never blocks the caller, the line is dropped and counted.
 * Form:       to a journal      "<6>store.recovered topics=12 seconds=0.4"
 *             anywhere else     "2025-01-31T12:00:00.123Z info store.recovered topics=12 seconds=0.4"
 * Rate:       of each event up to LOG_BURST lines per LOG_WINDOW_NS are written; the next one after
 *             that says suppressed=N, and so does log_deinit() for what was never followed.
 * Trust:      bytes that a client chose (topic names) are passed through LOG_QUOTE.
 * Not here:   errors of options, said by main.c before there is a log.
 */
#ifndef TUSK_BROKER_LOG_H
#define TUSK_BROKER_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6 }; /* syslog's */

enum {
    LOG_LINE_BYTES = 2048,  /* below PIPE_BUF, so that lines of several processes don't mix */
    LOG_QUOTE_BYTES = 1056, /* a topic name of 255 bytes, each of them escaped, in quotes */
    LOG_EVENTS_MAX = 96,    /* distinct event names; further ones share the last place's rate */
    LOG_BURST = 10
};
#define LOG_WINDOW_NS UINT64_C(5000000000)

struct log_rate {
    const char *event;
    uint64_t window_start_ns;
    uint64_t suppressed;
    uint32_t written;
    enum log_level level;
};

struct log {
    int fd;
    bool quiet;   /* warnings and errors only */
    bool journal; /* fd is a stream of the journal, which adds the time itself */
    pthread_mutex_t lock;
    uint64_t window_ns;
    uint64_t dropped; /* lines since the last one that could be written */
    struct log_rate rates[LOG_EVENTS_MAX];
};

struct log_quote {
    char text[LOG_QUOTE_BYTES];
};

/* fd stays the caller's. */
void log_init(struct log *log, int fd, bool quiet);
void log_deinit(struct log *log);

/*
 * Writes one line. event is a string that lives as long as the log, nearly always a literal, as
 * "area.what_happened". format gives the rest, as "key=value key=value"; it may be "".
 * log may be NULL: nothing is written.
 */
void log_write(struct log *log, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define log_error(log, event, ...) log_write(log, LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warning(log, event, ...) log_write(log, LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define log_info(log, event, ...) log_write(log, LOG_LEVEL_INFO, event, __VA_ARGS__)

/*
 * A value that may hold anything, made fit for "key=%s": in quotes unless it is a plain word, with
 * quotes, backslashes and all bytes outside printable ASCII escaped (\xNN), cut where it is too long.
 * The result lives as long as quote; LOG_QUOTE(text) lasts until the end of the enclosing block.
 */
const char *log_quote(struct log_quote *quote, const void *text, size_t bytes);
#define LOG_QUOTE(text) log_quote(&(struct log_quote){{0}}, text, strlen(text))

#endif
