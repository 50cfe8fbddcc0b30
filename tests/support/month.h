/*
 * Month: the life that a store leads, day by day in little time: topics that come and go, cursors that
 * move durably one entry at a time, and data that is produced and consumed, while the disk is watched.
 * Runs on:    the test's main thread, with a broker and a connection of its own (session.h).
 * Invariants: every entry that is consumed is the one that was appended next.
 * Trust:      not applicable.
 */
#ifndef TUSK_TESTS_SUPPORT_MONTH_H
#define TUSK_TESTS_SUPPORT_MONTH_H

#include <stdint.h>

struct month {
    uint32_t days;
    uint32_t topics;        /* of each day: created, appended to, read, deleted in its end */
    uint32_t cursor_moves;  /* of each day: strict reads of one entry, each durable by itself */
    uint64_t bytes;         /* of each day: produced and consumed, in pieces of step_bytes */
    uint64_t step_bytes;    /* that wait to be consumed at the most */
    uint64_t disk_bytes;    /* the data directory never takes more */
    uint32_t restart_every; /* days; every second time by a kill */
    const char *options;    /* of the broker */
};

/* What was seen. */
struct month_report {
    uint64_t bytes;
    uint64_t disk_bytes_max;
    uint64_t disk_bytes_end; /* after the last restart */
    uint64_t topics;
    uint64_t cursor_moves;
    uint64_t restarts;
};

/* The broker runs with `options`. Fails the test where the disk takes more. */
struct month_report month_live(const struct month *month);

#endif
