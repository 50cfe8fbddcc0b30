/*
 * Segment header: the first block of a segment file, which says whose it is.
 * Runs on:    as segment.h.
 * Invariants: the header is written once, before the file gets its name.
 * Trust:      checked whole: magic, version, store, number, sizes, checksum.
 */
#ifndef TUSK_BROKER_SEGMENT_HEADER_H
#define TUSK_BROKER_SEGMENT_HEADER_H

#include <stdint.h>

#include "broker/superblock.h"
#include "shm/limits.h"

struct fault;
struct segment_set;

enum { SEGMENT_HEADER_BYTES = BLOCK_BYTES };

struct segment_header {
    uint8_t uuid[STORE_UUID_BYTES];
    uint64_t number;
    uint64_t chunk_bytes;
    uint64_t segment_bytes;
};

/* What a segment's first block says: 0, -EBADMSG (damaged, or no segment's), -EPROTO (newer). */
int segment_header_decode(struct segment_header *header, const uint8_t block[SEGMENT_HEADER_BYTES]);

/* Fills set->header for segment `number`. */
void segment_header_fill(struct segment_set *set, uint32_t number);

/* Checks what was read into set->header. -EBADMSG, -EPROTO. */
int segment_header_check(const struct segment_set *set, uint32_t number, const char *path,
                         struct fault *fault);

#endif
