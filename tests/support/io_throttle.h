/*
 * I/O throttle: an I/O object whose disk is as slow as a test says, over a real one.
 * Runs on:    as io.h; the rate is written by the test's process, in a file that both map.
 * Invariants: writes and syncs go to the object below one after the other, in order, each when its
 *             turn has come at the rate of that moment; reads and everything else pass at once.
 *             Nothing is lost: what was held goes when the rate is raised.
 * Use:        tuskd_throttled is tuskd with io_open() wrapped (ld --wrap); $TUSK_TEST_THROTTLE names
 *             the file.
 */
#ifndef TUSK_TESTS_SUPPORT_IO_THROTTLE_H
#define TUSK_TESTS_SUPPORT_IO_THROTTLE_H

#include <stdint.h>

#include "broker/io.h"

#define THROTTLE_STALLED UINT64_C(0)
#define THROTTLE_NONE UINT64_MAX
#define THROTTLE_VARIABLE "TUSK_TEST_THROTTLE"

struct throttle {
    uint64_t bytes_per_s; /* or one of the above; one writer, any readers */
    uint64_t held;        /* operations that wait for their turn: written by the object */
};

/* Takes the object below over; both are closed together. */
struct io *io_throttle_new(struct io *below, struct throttle *throttle);

#endif
