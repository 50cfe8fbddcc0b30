/*
 * Mapping: regions of shared memory: made, prefaulted, mapped, unmapped.
 * Invariants: where the kernel can, what is large lies in huge pages and is mapped where one entry
 *             of a page table covers each of them; where it can't, everything works with small
 *             ones.
 * Not here:   lanes, which are sealed memfds (lane.h).
 */
#ifndef TUSK_SHM_MAPPING_H
#define TUSK_SHM_MAPPING_H

#include <stdbool.h>
#include <stdint.h>

/* Of a huge page. Regions that are smaller have none. */
#define MAPPING_HUGE_BYTES (UINT64_C(2) << 20)

/* A mapped region; `fd` is -1 where the mapping alone is kept. */
struct mapping {
    void *base;
    uint64_t bytes;
    int fd;
    bool huge; /* made here, and in huge pages but for a rest smaller than one */
};

/*
 * Makes the file `name` in a directory on tmpfs, mode 0600, with all its pages allocated, so that a
 * full tmpfs is -ENOSPC here and never a SIGBUS later; replaces an older one. Maps it read-write.
 * Linux 6.1 and later give huge pages unless shmem_enabled says `deny` or memory is in pieces. The
 * default there, `never`, is about what is done unasked.
 */
int mapping_create(struct mapping *mapping, int directory_fd, const char *name, uint64_t bytes);

/*
 * The same for a region of which only a part is used as a rule, up to as many as there are of
 * something: the memory is all there, but what is not used is not mapped, and does not count as this
 * process's. `huge`: in huge pages, as above; else in small ones.
 */
int mapping_create_for_parts(struct mapping *mapping, int directory_fd, const char *name,
                             uint64_t bytes, bool huge);

/* Maps an fd that must have exactly `bytes` bytes (-EPROTO); the mapping takes no ownership of
 * it. */
int mapping_open(struct mapping *mapping, int fd, uint64_t bytes, bool writable);

/* Unmaps, closes the fd if there is one; accepts a zeroed or half-built mapping. */
void mapping_close(struct mapping *mapping);

/* A read-only descriptor of a region that this process made: the caller owns it. fd or -errno. */
int mapping_share(int directory_fd, const char *name);

#endif
