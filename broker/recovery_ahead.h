/*
 * Recovery's reading ahead: the blocks in which topics' tails are looked for, many reads in flight.
 * Runs on:    as recovery.h, whose part this is.
 * Invariants: topics are asked for in their order; each read is taken or dropped, none is in flight
 *             after ahead_free().
 */
#ifndef TUSK_BROKER_RECOVERY_AHEAD_H
#define TUSK_BROKER_RECOVERY_AHEAD_H

#include "broker/io.h"
#include "broker/recovery_scan.h"

enum { AHEAD_READS = 32 };
/* Images in memory at once, unless one alone is larger. Bytes. */
#define AHEAD_BYTES_MAX (UINT64_C(16) << 20)

struct ahead_read {
    struct io_op op;
    bool wanted; /* read, or being read, and not taken */
    bool done;
    int result;
    uint8_t *image;
    uint32_t topic; /* index in recovery.topics */
    uint64_t chunk_no;
    uint64_t from; /* offset in the image, below it nothing is read */
};

struct recovery_ahead {
    struct recovery_scan *scan;
    uint32_t reads_count;
    uint32_t next; /* topic to read for */
    struct ahead_read reads[AHEAD_READS];
};

/* NULL: no memory. */
struct recovery_ahead *ahead_new(struct recovery_scan *scan);
void ahead_free(struct recovery_ahead *ahead);

/* The image that was read for this topic's tail, and for those behind it reading begins: NULL where
 * none was. Its result is as of the read. It stays until the next call. */
const struct ahead_read *ahead_take(struct recovery_ahead *ahead, uint32_t topic);

#endif
