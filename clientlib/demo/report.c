/* Report: see report.h. */
#include "clientlib/demo/report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TICK_TERMINAL_MS = 250, TICK_FILE_MS = 1000 };

enum { WORDS_BYTES = 32 };

struct totals {
    uint64_t lines_sent;
    uint64_t bytes_sent;
    uint64_t lines_read;
    uint64_t bytes_read;
    uint64_t latency[HISTOGRAM_BUCKETS];
};

static void totals_take(const struct report *report, struct totals *totals)
{
    memset(totals, 0, sizeof *totals);
    for (unsigned i = 0; i < report->plan->producers; i++) {
        totals->lines_sent += atomic_load(&report->board->producers[i].lines);
        totals->bytes_sent += atomic_load(&report->board->producers[i].bytes);
    }
    for (unsigned i = 0; i < report->plan->consumers; i++) {
        totals->lines_read += atomic_load(&report->board->consumers[i].lines);
        totals->bytes_read += atomic_load(&report->board->consumers[i].bytes);
        histogram_sum(totals->latency, &report->board->consumers[i].latency);
    }
}

static const char *duration_words(char words[WORDS_BYTES], uint64_t ns)
{
    if (ns == 0) {
        snprintf(words, WORDS_BYTES, "-");
    } else if (ns < 10000) {
        snprintf(words, WORDS_BYTES, "%.2f us", (double)ns / 1e3);
    } else if (ns < 1000000) {
        snprintf(words, WORDS_BYTES, "%.0f us", (double)ns / 1e3);
    } else if (ns < 10000000000u) {
        snprintf(words, WORDS_BYTES, "%.1f ms", (double)ns / 1e6);
    } else {
        snprintf(words, WORDS_BYTES, "%.1f s", (double)ns / 1e9);
    }
    return words;
}

/* Groups of three digits. */
static const char *count_words(char words[WORDS_BYTES], uint64_t count)
{
    char digits[WORDS_BYTES];
    const int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    size_t used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            words[used++] = ' ';
        }
        words[used++] = digits[i];
    }
    words[used] = '\0';
    return words;
}

void report_begin(struct report *report, const struct plan *plan, const struct board *board)
{
    char lines[WORDS_BYTES];
    *report = (struct report){
        .plan = plan,
        .board = board,
        .terminal = isatty(STDOUT_FILENO),
        .start_ns = clock_ns(),
    };
    report->shown_ns = report->start_ns;
    printf("%u producer processes append the %s lines of %zu text files, over and over,\n",
           plan->producers, count_words(lines, plan->corpus->line_count), plan->corpus->file_count);
    printf("to %u topics; %u consumer processes read them as they come and check each line.\n",
           plan->consumers, plan->consumers);
    printf("A producer gets at most %s lines ahead of its consumer.\n\n",
           count_words(lines, LEAD_LINES_MAX));
    printf("%7s %13s %13s %10s %8s   %s\n", "time", "appended", "read", "lines/s", "MB/s",
           "from append to read: p50, p99");
    fflush(stdout);
}

static void line_show(struct report *report, uint64_t now_ns)
{
    struct totals totals;
    uint64_t latency[HISTOGRAM_BUCKETS];
    char sent[WORDS_BYTES];
    char read[WORDS_BYTES];
    char middle[WORDS_BYTES];
    char high[WORDS_BYTES];
    const double seconds = (double)(now_ns - report->shown_ns) / 1e9;

    totals_take(report, &totals);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        latency[i] = totals.latency[i] - report->shown_latency[i];
    }
    const double rate = (double)(totals.lines_read - report->shown_lines) / seconds;
    const double bytes_rate = (double)(totals.bytes_read - report->shown_bytes) / seconds;
    printf("%s%5.1f s %13s %13s %8.2f M %8.0f   %9s %9s%s", report->terminal ? "\r" : "",
           (double)(now_ns - report->start_ns) / 1e9, count_words(sent, totals.lines_sent),
           count_words(read, totals.lines_read), rate / 1e6, bytes_rate / 1e6,
           duration_words(middle, histogram_percentile(latency, 50)),
           duration_words(high, histogram_percentile(latency, 99)), report->terminal ? "" : "\n");
    fflush(stdout);
    report->line_open = report->terminal;
    report->shown_ns = now_ns;
    report->shown_lines = totals.lines_read;
    report->shown_bytes = totals.bytes_read;
    memcpy(report->shown_latency, totals.latency, sizeof report->shown_latency);
}

void report_tick(struct report *report)
{
    const uint64_t now_ns = clock_ns();
    const uint64_t tick_ms = report->terminal ? TICK_TERMINAL_MS : TICK_FILE_MS;
    if (now_ns - report->shown_ns >= tick_ms * 1000000) {
        line_show(report, now_ns);
    }
}

void report_end(struct report *report)
{
    if (report->line_open) {
        printf("\n");
        report->line_open = false;
    }
    printf("\n");
    fflush(stdout);
}

void report_success(const struct report *report, double seconds)
{
    struct totals totals;
    uint64_t round_trip[HISTOGRAM_BUCKETS] = {0};
    char lines[WORDS_BYTES];
    char middle[WORDS_BYTES];
    char high[WORDS_BYTES];

    totals_take(report, &totals);
    histogram_sum(round_trip, &report->board->round_trip);
    printf("From append to read, under full load:         p50 %s, p99 %s\n",
           duration_words(middle, histogram_percentile(totals.latency, 50)),
           duration_words(high, histogram_percentile(totals.latency, 99)));
    printf("From append to acknowledged, nobody else busy: p50 %s, p99 %s\n",
           duration_words(middle, histogram_percentile(round_trip, 50)),
           duration_words(high, histogram_percentile(round_trip, 99)));
    printf("%s lines, %.2f GiB, in %.1f s; all of them are on disk.\n",
           count_words(lines, totals.lines_read), (double)totals.bytes_read / (1u << 30), seconds);
    printf("Every line arrived once and in order, byte for byte.\n");
    fflush(stdout);
}
