/*
 * Payload: the bytes of entry n of a producer, a function of (producer, n, size) alone.
 * Runs on:    anywhere.
 * Invariants: an entry of at least PAYLOAD_BYTES_MIN names its producer, number and size, and all
 *             its other bytes follow from them, so a wrong, torn or mixed one is found.
 * Trust:      what is checked may be anything.
 * Not here:   which entries must be there (oracle.h).
 */
#ifndef TUSK_TESTS_SUPPORT_PAYLOAD_H
#define TUSK_TESTS_SUPPORT_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAYLOAD_BYTES_MIN = 16 };

struct payload_id {
    uint32_t producer;
    uint32_t n;
};

/* Fill size bytes, PAYLOAD_BYTES_MIN or more. */
void payload_fill(void *data, size_t size, uint32_t producer, uint32_t n);

/* Whether the bytes are what payload_fill() wrote, and of which entry. */
bool payload_verify(const void *data, size_t size, struct payload_id *id);

/* A size between min and max that follows from producer and n. */
size_t payload_size(uint32_t producer, uint32_t n, size_t min, size_t max);

/* A well mixed number that follows from x. */
uint64_t payload_mix(uint64_t x);

#endif
