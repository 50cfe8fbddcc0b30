/*
 * Segment header: the first block of a segment file, which says whose it is.
 * Runs on:    as segment.h.
 * Invariants: the header is written once, before the file gets its name.
 * Trust:      checked whole: magic, version, store, number, sizes, checksum.
 */
#ifndef TUSK_BROKER_SEGMENT_HEADER_H
#define TUSK_BROKER_SEGMENT_HEADER_H

#include <stdint.h>

#include "shm/limits.h"

struct fault;
struct segment_set;

enum { SEGMENT_HEADER_BYTES = BLOCK_BYTES };

/* Fills set->header for segment `number`. */
void segment_header_fill(struct segment_set *set, uint32_t number);

/* Checks what was read into set->header. -EBADMSG, -EPROTO. */
int segment_header_check(const struct segment_set *set, uint32_t number, const char *path,
                         struct fault *fault);

#endif
