/*
 * Mapping: regions of shared memory: made, prefaulted, mapped, unmapped.
 * Not here: lanes, which are sealed memfds (lane.h).
 */
#ifndef TUSK_SHM_MAPPING_H
#define TUSK_SHM_MAPPING_H

#include <stdbool.h>
#include <stdint.h>

/* A mapped region; `fd` is -1 where the mapping alone is kept. */
struct mapping {
    void *base;
    uint64_t bytes;
    int fd;
};

/*
 * Makes the file `name` in a directory on tmpfs, mode 0600, with all its pages allocated, so that a
 * full tmpfs is -ENOSPC here and never a SIGBUS later; replaces an older one. Maps it read-write.
 */
int mapping_create(struct mapping *mapping, int directory_fd, const char *name, uint64_t bytes);

/* Maps an fd that must have exactly `bytes` bytes (-EPROTO); the mapping takes no ownership of it. */
int mapping_open(struct mapping *mapping, int fd, uint64_t bytes, bool writable);

/* Unmaps, closes the fd if there is one; accepts a zeroed or half-built mapping. */
void mapping_close(struct mapping *mapping);

/* A read-only descriptor of a region that this process made: the caller owns it. fd or -errno. */
int mapping_share(int directory_fd, const char *name);

#endif
