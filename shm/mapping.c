/* Mapping: see mapping.h. */
#include "shm/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/cleanup.h"

static int map(struct mapping *mapping, int fd, uint64_t bytes, bool writable)
{
    const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    void *base = mmap(NULL, bytes, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED) {
        return -errno;
    }
    *mapping = (struct mapping){.base = base, .bytes = bytes, .fd = -1};
    return 0;
}

int mapping_create(struct mapping *mapping, int directory_fd, const char *name, uint64_t bytes)
{
    if (unlinkat(directory_fd, name, 0) != 0 && errno != ENOENT) {
        return -errno;
    }
    cleanup_fd int fd =
        openat(directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    int error = 0;
    if (ftruncate(fd, (off_t)bytes) != 0 || fallocate(fd, 0, 0, (off_t)bytes) != 0) {
        error = -errno;
    } else {
        error = map(mapping, fd, bytes, true);
    }
    if (error != 0) {
        unlinkat(directory_fd, name, 0);
        return error;
    }
    mapping->fd = take_fd(&fd);
    return 0;
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
    return map(mapping, fd, bytes, writable);
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
