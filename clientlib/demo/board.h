/*
 * Board: what the demo's processes tell each other: counts, ends, failures and time stamps of every
 * STAMP_EVERY-th line, from which consumers compute the latency.
 * Runs on:    all processes, in one shared anonymous mapping made before the forks.
 * Invariants: one writer per slot, slots on cache lines of their own; counts only grow.
 * Ordering:   a stamp's number is stored after its time and loaded before it; `ended` is stored
 *             after the counts that it ends.
 * Not here:   how the numbers are shown (report.h).
 */
#ifndef TUSK_DEMO_BOARD_H
#define TUSK_DEMO_BOARD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "clientlib/demo/corpus.h"
#include "clientlib/demo/histogram.h"

enum {
    PRODUCERS_MAX = 64,
    CONSUMERS_MAX = 16,
    LEAD_LINES_MAX = 16384, /* that a producer may be ahead of its consumer */
    STAMP_EVERY = 256,
    STAMP_SLOTS = 4096,
    FAILURE_BYTES = 256,
    WRITER_STRIDE = 128
};

/* What the options and the machine decide; read-only once processes are forked. */
struct plan {
    const char *socket_path;
    const struct corpus *corpus;
    unsigned producers;
    unsigned consumers; /* as many topics: each consumer reads one, from several producers */
    uint64_t bytes_max; /* of all producers together */
};

struct stamp {
    _Atomic uint64_t number; /* of the line, plus one */
    _Atomic uint64_t time_ns;
};

struct producer_slot {
    alignas(WRITER_STRIDE) _Atomic uint64_t lines;
    _Atomic uint64_t bytes;
    _Atomic bool loaded; /* the part at full speed is over */
    _Atomic bool ended;  /* lines is final, and all of them are durable */
    struct stamp stamps[STAMP_SLOTS];
};

struct consumer_slot {
    alignas(WRITER_STRIDE) _Atomic uint64_t lines;
    _Atomic uint64_t bytes;
    _Atomic bool ended;                      /* every line of its producers has arrived */
    _Atomic uint64_t arrived[PRODUCERS_MAX]; /* of the lines, how many from each producer */
    struct histogram latency;
};

struct board {
    _Atomic bool load_over; /* producers stop appending at full speed */
    _Atomic bool stop;      /* everybody leaves */
    alignas(WRITER_STRIDE) _Atomic uint64_t failures;
    char failure[FAILURE_BYTES]; /* the first one; written once */
    _Atomic bool failure_written;
    struct histogram round_trip; /* of tusk_append, producer 0 alone */
    struct producer_slot producers[PRODUCERS_MAX];
    struct consumer_slot consumers[CONSUMERS_MAX];
};

/* A new board, or NULL. It lives as long as its processes. */
struct board *board_new(void);

/* Report what went wrong; the first report is kept, and the demo ends. */
void board_fail(struct board *board, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Producer: remember when line `number` is handed over, if it is one of those that count. */
void board_stamp(struct producer_slot *slot, uint64_t number);

/* Consumer: the time since line `number` was handed over; 0 when it wasn't remembered. */
uint64_t board_age(struct producer_slot *slot, uint64_t number);

/* The monotonic clock. */
uint64_t clock_ns(void);

#endif
