/*
 * Oracle: holds diaries against a topic's log.
 * Runs on:    the checker, when the writers of the diaries have ended.
 * Invariants: what is checked: acknowledged entries are in the log at their seq, no entry twice,
 *             each producer's entries in order, every byte right, seqs dense.
 * Trust:      the log is what is under test.
 * Not here:   writing diaries (diary.h).
 */
#ifndef TUSK_TESTS_SUPPORT_ORACLE_H
#define TUSK_TESTS_SUPPORT_ORACLE_H

#include <tusk/tusk.h>

#include "tests/support/diary.h"

/* Which acknowledgements bind: after a client's death all, after a cold start the durable ones. */
struct oracle_report {
    uint64_t first_seq; /* of the log as found */
    uint64_t next_seq;
    uint64_t acked; /* entries that had to be there, and were */
};

/*
 * Read the whole topic and check it against the diaries of all that appended to it. An entry that
 * was trimmed (below first_seq) must have been given to a reader of the diaries.
 */
struct oracle_report oracle_check(struct tusk_topic *topic, struct diary *const diaries[],
                                  size_t count, enum diary_state level);

/*
 * The default cursor: each seq was given at most once over all diaries, ascending in each. Returns
 * how many were given. Up to `repeats_max` may have been given twice (at-least-once).
 */
uint64_t oracle_check_cursor(struct diary *const diaries[], size_t count, uint64_t repeats_max);

#endif
