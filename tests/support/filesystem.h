/*
 * Filesystem: a new file system of some kind for one test, in an image on a loop device, or a tmpfs.
 * Runs on:    the test's main thread, before it starts processes that are to see it.
 * Invariants: the mount is in a namespace of this process and goes with it, and so do the loop
 *             device and the image.
 * Trust:      needs root, loop devices and the mkfs of its kind; where one is missing, says so.
 * Not here:   small tmpfs for users without privileges (scratch.h).
 */
#ifndef TUSK_TESTS_SUPPORT_FILESYSTEM_H
#define TUSK_TESTS_SUPPORT_FILESYSTEM_H

#include <stdint.h>

#include "tests/support/scratch.h"

/* kind: "ext4", "xfs", "btrfs", "tmpfs". NULL and the mount's path, or why there is none. */
const char *filesystem_mount(char path[SCRATCH_PATH_BYTES], const char *kind, uint64_t bytes);

/* Takes all of its free space but so many bytes, in a file; returns the file's descriptor, whose
 * close gives the space back. */
int filesystem_fill(const char *path, uint64_t bytes_left);

#endif
