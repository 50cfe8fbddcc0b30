/* Mapping: see mapping.h. */
#include "shm/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/cleanup.h"
#include "shm/layout.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* An address that is free now and on which a huge page can be mapped as one; NULL: any will do. If
 * another thread is faster, the kernel maps the region somewhere else, in small pieces. */
static void *huge_address(uint64_t bytes)
{
    if (bytes < MAPPING_HUGE_BYTES || bytes > SIZE_MAX - MAPPING_HUGE_BYTES) {
        return NULL;
    }
    const size_t room = bytes + MAPPING_HUGE_BYTES;
    void *base = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return NULL;
    }
    (void)munmap(base, room);
    const uintptr_t past = (uintptr_t)base % MAPPING_HUGE_BYTES;
    return past == 0 ? base : (unsigned char *)base + (MAPPING_HUGE_BYTES - past);
}

/*
 * Gives the file, which is empty yet, memory in huge pages as far as there are any; true: all of it
 * but a rest. The kernel makes one only where there is a page already, the first one here; the
 * others need not be there, so that it copies nothing.
 */
static bool huge_allocate(int fd, uint64_t bytes)
{
    const uint64_t whole = align_down(bytes, MAPPING_HUGE_BYTES);
    for (uint64_t at = 0; at < whole; at += MAPPING_HUGE_BYTES) {
        if (fallocate(fd, 0, (off_t)at, 1) != 0) {
            return false;
        }
    }
    if (whole == 0) {
        return false;
    }
    void *base = mmap(huge_address(whole), whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return false;
    }
    const bool huge = madvise(base, whole, MADV_COLLAPSE) == 0;
    (void)munmap(base, whole);
    return huge;
}

static int map(struct mapping *mapping, int fd, uint64_t bytes, bool writable, int populate)
{
    const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    void *base = mmap(huge_address(bytes), bytes, protection, MAP_SHARED | populate, fd, 0);
    if (base == MAP_FAILED) {
        return -errno;
    }
    *mapping = (struct mapping){.base = base, .bytes = bytes, .fd = -1};
    return 0;
}

static int create(struct mapping *mapping, int directory_fd, const char *name, uint64_t bytes,
                  bool in_huge, int populate)
{
    if (unlinkat(directory_fd, name, 0) != 0 && errno != ENOENT) {
        return -errno;
    }
    cleanup_fd int fd =
        openat(directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    int error = ftruncate(fd, (off_t)bytes) == 0 ? 0 : -errno;
    const bool huge = error == 0 && in_huge && huge_allocate(fd, bytes);
    if (error == 0) {
        error = fallocate(fd, 0, 0, (off_t)bytes) == 0 ? 0 : -errno;
    }
    if (error == 0) {
        error = map(mapping, fd, bytes, true, populate);
    }
    if (error != 0) {
        unlinkat(directory_fd, name, 0);
        return error;
    }
    mapping->fd = take_fd(&fd);
    mapping->huge = huge;
    return 0;
}

int mapping_create(struct mapping *mapping, int directory_fd, const char *name, uint64_t bytes)
{
    return create(mapping, directory_fd, name, bytes, true, MAP_POPULATE);
}

int mapping_create_for_parts(struct mapping *mapping, int directory_fd, const char *name,
                             uint64_t bytes, bool huge)
{
    return create(mapping, directory_fd, name, bytes, huge, 0);
}

int mapping_open(struct mapping *mapping, int fd, uint64_t bytes, bool writable)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return -errno;
    }
    if (bytes == 0 || status.st_size < 0 || (uint64_t)status.st_size != bytes) {
        return -EPROTO;
    }
    return map(mapping, fd, bytes, writable, MAP_POPULATE);
}

void mapping_close(struct mapping *mapping)
{
    if (mapping->base == NULL) {
        return;
    }
    munmap(mapping->base, mapping->bytes);
    if (mapping->fd >= 0) {
        close(mapping->fd);
    }
    *mapping = (struct mapping){.fd = -1};
}

int mapping_share(int directory_fd, const char *name)
{
    const int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : -errno;
}
