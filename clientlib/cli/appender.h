/*
 * Appender: many entries to one topic without waiting for each that fits half a lane.
 * Runs on:    the tool's one thread.
 * Invariants: completed + failed <= submitted, equal after appender_finish(); memory does not grow.
 * Not here:   where the entries come from (source.h), what is said about failures.
 */
#ifndef TUSK_CLI_APPENDER_H
#define TUSK_CLI_APPENDER_H

#include <stddef.h>
#include <stdint.h>
#include <tusk/tusk.h>

struct appender {
    struct tusk *tusk;
    struct tusk_topic *topic;
    int timeout_ms; /* how long the broker may take nothing at all */
    uint64_t submitted;
    uint64_t completed;
    uint64_t failed;
    uint64_t bytes;         /* of the payloads submitted */
    uint64_t failed_number; /* of the first that failed, counted from 0 */
    int call_error;         /* of a call that failed, after which there is nothing to wait for */
    int failed_error;       /* why; 0 if none has */
};

/* Submit one entry, waiting for room where there is none, and a large one until it is committed. 0; or
 * the error of the call or of the first earlier entry that failed, after which nothing more is to be
 * added. */
int appender_add(struct appender *appender, const void *data, size_t size);

/* Append one entry behind all others and wait for it; expected_seq as in tusk_append_at(), or
 * TUSK_ANY_SEQ. 0 or the error of the call; -ECANCELED: the broker gave a large one up, because this
 * process sent nothing for too long. */
int appender_add_now(struct appender *appender, uint64_t expected_seq, const void *data,
                     size_t size);

/* Wait for everything that was submitted to end, and for the level. 0 or the first error. */
int appender_finish(struct appender *appender, enum tusk_level level);

#endif
