/*
 * Stream: an entry or a batch that is larger than half a lane, sent piece by piece: all or nothing.
 * Runs on:    the lane's thread.
 * Invariants: until its COMMIT is published it can be given up, and is, by an ABORT, when the call ends
 *             early: then nothing of it was appended or will be. From COMMIT on it is an append like
 *             others (append.h). What the lane's ABORT needs is left free by all that is sent.
 * Not here:   the limits, which the caller has checked, and the broker checks again.
 */
#ifndef TUSK_CLIENTLIB_STREAM_H
#define TUSK_CLIENTLIB_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "clientlib/topic.h"

/* Appends count >= 1 entries, and waits as append_finish() does. flags: SUBMIT_AT or 0. */
int stream_append(struct tusk_topic *topic, unsigned flags, uint64_t expected_seq,
                  const struct iovec *entries, size_t count, uint64_t *seq);

#endif
