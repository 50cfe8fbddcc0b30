/*
 * Segments ahead of need: the next file before the slots run out, zeros before they are asked for.
 * Runs on:    as segment.h, whose parts these are; the struct is there.
 * Invariants: at most one segment is being made and one group being zeroed.
 */
#ifndef TUSK_BROKER_SEGMENT_AHEAD_H
#define TUSK_BROKER_SEGMENT_AHEAD_H

#include "broker/io.h"

struct segment_set;

/* Zeros are written in pieces, so that they don't hold up the device. Bytes. */
#define SEGMENT_ZERO_BYTES (UINT64_C(64) * 1024)

/* Starts what should be under way and is not. */
void segment_ahead(struct segment_set *set);

/* segment.c: puts an open, complete segment in its place. */
int segment_set_insert(struct segment_set *set, uint32_t number, struct io_file *file);

#endif
