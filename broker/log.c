/* Log: see log.h for the contract. */
#include "broker/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/clock.h"
#include "shm/ensure.h"

/* What is left of a line after a formatter has used some of it; a full line takes no more. */
struct line {
    char text[LOG_LINE_BYTES];
    size_t bytes;
};

/* The journal tells its services which stream it reads, as "device:inode". */
static bool fd_is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device;
    unsigned long long inode;
    struct stat status;
    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(fd, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARNING:
        return "warning";
    case LOG_LEVEL_INFO:
        return "info";
    }
    return "unknown";
}

static void line_add_list(struct line *line, const char *format, va_list arguments)
{
    const size_t room = sizeof line->text - 1 - line->bytes; /* one byte is the newline's */
    const int length = vsnprintf(line->text + line->bytes, room, format, arguments);
    if (length > 0) {
        line->bytes += (size_t)length < room ? (size_t)length : room - 1;
    }
}

__attribute__((format(printf, 2, 3))) static void line_add(struct line *line, const char *format,
                                                           ...)
{
    va_list arguments;
    va_start(arguments, format);
    line_add_list(line, format, arguments);
    va_end(arguments);
}

static void line_begin(struct line *line, const struct log *log, enum log_level level,
                       const char *event)
{
    line->bytes = 0;
    if (log->journal) {
        line_add(line, "<%d>%s", (int)level, event);
        return;
    }
    const uint64_t now_ns = clock_ns(CLOCK_REALTIME);
    const time_t seconds = (time_t)(now_ns / UINT64_C(1000000000));
    const unsigned milliseconds = (unsigned)(now_ns / UINT64_C(1000000) % 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    line_add(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ %s %s", utc.tm_year + 1900, utc.tm_mon + 1,
             utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, milliseconds, level_name(level),
             event);
}

/* Ends the line and makes it one line, whatever was put into it. */
static void line_end(struct line *line)
{
    for (size_t at = 0; at < line->bytes; at++) {
        const unsigned char byte = (unsigned char)line->text[at];
        if (byte < 0x20 || byte == 0x7f) {
            line->text[at] = '?';
        }
    }
    line->text[line->bytes++] = '\n';
}

/* 0, or -EAGAIN when whoever reads the other end is behind, or another -errno. */
static int line_send(const struct line *line, int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    if (poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) {
        return -EAGAIN;
    }
    ssize_t written;
    do {
        written = write(fd, line->text, line->bytes);
    } while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : 0;
}

/* Under the lock. The place that counts the event's lines. */
static struct log_rate *rate_of(struct log *log, const char *event)
{
    size_t at = 0;
    while (at < LOG_EVENTS_MAX - 1 && log->rates[at].event != NULL &&
           strcmp(log->rates[at].event, event) != 0) {
        at++;
    }
    struct log_rate *rate = &log->rates[at];
    if (rate->event == NULL) {
        rate->event = event;
    }
    return rate;
}

/* Whether the event may have a line now; then *suppressed is how many it had none for before. */
static bool rate_admits(struct log *log, enum log_level level, const char *event,
                        uint64_t *suppressed)
{
    const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    pthread_mutex_lock(&log->lock);
    struct log_rate *rate = rate_of(log, event);
    rate->level = level;
    if (rate->written == 0 || now_ns - rate->window_start_ns >= log->window_ns) {
        rate->window_start_ns = now_ns;
        rate->written = 0;
    }
    const bool admitted = rate->written < LOG_BURST;
    if (admitted) {
        rate->written++;
        *suppressed = rate->suppressed;
        rate->suppressed = 0;
    } else {
        rate->suppressed++;
    }
    pthread_mutex_unlock(&log->lock);
    return admitted;
}

static uint64_t dropped_take(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    const uint64_t dropped = log->dropped;
    log->dropped = 0;
    pthread_mutex_unlock(&log->lock);
    return dropped;
}

static void dropped_add(struct log *log, uint64_t lines)
{
    pthread_mutex_lock(&log->lock);
    log->dropped += lines;
    pthread_mutex_unlock(&log->lock);
}

static void line_finish(struct line *line, struct log *log, uint64_t suppressed)
{
    const uint64_t dropped = dropped_take(log);
    if (suppressed > 0) {
        line_add(line, " suppressed=%llu", (unsigned long long)suppressed);
    }
    if (dropped > 0) {
        line_add(line, " dropped=%llu", (unsigned long long)dropped);
    }
    line_end(line);
    if (line_send(line, log->fd) < 0) {
        dropped_add(log, dropped + 1);
    }
}

void log_init(struct log *log, int fd, bool quiet)
{
    memset(log, 0, sizeof *log);
    log->fd = fd;
    log->quiet = quiet;
    log->journal = fd_is_journal(fd);
    log->window_ns = LOG_WINDOW_NS;
    ensure(pthread_mutex_init(&log->lock, NULL) == 0);
}

void log_deinit(struct log *log)
{
    for (size_t at = 0; at < LOG_EVENTS_MAX && log->rates[at].event != NULL; at++) {
        const struct log_rate *rate = &log->rates[at];
        if (rate->suppressed > 0) {
            struct line line;
            line_begin(&line, log, rate->level, rate->event);
            line_finish(&line, log, rate->suppressed);
        }
    }
    pthread_mutex_destroy(&log->lock);
}

void log_write(struct log *log, enum log_level level, const char *event, const char *format, ...)
{
    uint64_t suppressed;
    if (log == NULL || (log->quiet && level == LOG_LEVEL_INFO) ||
        !rate_admits(log, level, event, &suppressed)) {
        return;
    }
    struct line line;
    line_begin(&line, log, level, event);
    if (format[0] != '\0') {
        line_add(&line, " ");
        va_list arguments;
        va_start(arguments, format);
        line_add_list(&line, format, arguments);
        va_end(arguments);
    }
    line_finish(&line, log, suppressed);
}

static bool text_is_word(const unsigned char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++) {
        if (text[at] <= ' ' || text[at] >= 0x7f || text[at] == '"' || text[at] == '\\' ||
            text[at] == '=') {
            return false;
        }
    }
    return bytes > 0;
}

const char *log_quote(struct log_quote *quote, const void *text, size_t bytes)
{
    static const char ending[] = "...\"";
    const unsigned char *const from = text;
    if (bytes < sizeof quote->text && text_is_word(from, bytes)) {
        memcpy(quote->text, from, bytes);
        quote->text[bytes] = '\0';
        return quote->text;
    }
    char *to = quote->text;
    const char *const limit = quote->text + sizeof quote->text - sizeof "\\xff" - sizeof ending;
    *to++ = '"';
    size_t at = 0;
    for (; at < bytes && to < limit; at++) {
        const unsigned char byte = from[at];
        if (byte == '"' || byte == '\\') {
            *to++ = '\\';
            *to++ = (char)byte;
        } else if (byte < ' ' || byte >= 0x7f) {
            to += sprintf(to, "\\x%02x", byte);
        } else {
            *to++ = (char)byte;
        }
    }
    strcpy(to, at < bytes ? ending : "\"");
    return quote->text;
}
