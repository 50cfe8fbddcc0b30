/*
 * Maps: which of this process's mappings are backed by files of some name, and how, from
 * /proc/self/smaps.
 * Runs on:    anywhere.
 */
#ifndef TUSK_TESTS_UNIT_MAPS_H
#define TUSK_TESTS_UNIT_MAPS_H

#include <stdint.h>

/* As lane_create() names its memory. */
#define MAPS_LANE "memfd:tusk-lane"

/* How many have that part in their path. */
unsigned maps_of(const char *path_part);

/* How many bytes of those are mapped by entries for huge pages. */
uint64_t maps_huge_bytes(const char *path_part);

#endif
