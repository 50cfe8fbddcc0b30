/*
 * Maps: which of this process's mappings are backed by files of some name, from /proc/self/maps.
 * Runs on:    anywhere.
 */
#ifndef TUSK_TESTS_UNIT_MAPS_H
#define TUSK_TESTS_UNIT_MAPS_H

/* As lane_create() names its memory. */
#define MAPS_LANE "memfd:tusk-lane"

/* How many have that part in their path. */
unsigned maps_of(const char *path_part);

#endif
