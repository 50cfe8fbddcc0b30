/*
 * Checksum: CRC32C of what lies on disk, seeded so that a frame is valid in one life of one place.
 * Runs on:    any thread; pure functions.
 * Invariants: a frame's checksum covers its header, with the checksum field holding the seed, and its
 *             payload; of a PAD the header only. The seed comes from {topic id, chunk_no, generation}.
 * Trust:      none is needed: bytes in, a number out. The caller has checked that the bytes are there.
 * Not here:   what else makes a frame valid (frame_scan.h). A CRC finds accidents, not forgeries.
 */
#ifndef TUSK_BROKER_CHECKSUM_H
#define TUSK_BROKER_CHECKSUM_H

#include <stdint.h>

#include "shm/frame.h"

/* CRC32C of plain bytes, as everybody computes it. */
uint32_t checksum_bytes(const void *bytes, uint64_t count);

uint32_t checksum_seed(uint64_t topic_id, uint64_t chunk_no, uint64_t generation);

/* Fills the checksum of a frame whose header is complete and followed by its payload. */
void frame_seal(struct frame_header *frame, uint32_t seed);

/* The same for a frame whose checksum field holds the seed already. */
void frame_seal_seeded(struct frame_header *frame);

/* Does a frame carry its checksum? The payload (of a PAD none) lies behind the header. */
bool frame_intact(const struct frame_header *frame, uint32_t seed);

/* Fills the checksum of a chunk header that is complete otherwise. */
void chunk_header_seal(struct chunk_header *header);
bool chunk_header_intact(const struct chunk_header *header);

#endif
