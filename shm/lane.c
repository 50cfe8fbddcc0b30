/* Lane: see lane.h. */
#include "shm/lane.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/cleanup.h"

enum {
    LANE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
    LANE_PAGE_BYTES = 4096,
};
static_assert(SQ_PIECE_BYTES_MIN % LANE_PAGE_BYTES == 0, "what is mapped twice is whole pages");

static struct lane_header_shm lane_header_make(uint64_t lane_id, uint64_t sq_bytes)
{
    const uint64_t cq_offset = LANE_PAGE_BYTES;
    const uint64_t sq_offset =
        cq_offset + align_up(CQ_SLOTS * sizeof(struct completion_shm), LANE_PAGE_BYTES);
    return (struct lane_header_shm){
        .magic = LANE_MAGIC,
        .digest = layout_digest(),
        .lane_id = lane_id,
        .sq_bytes = sq_bytes,
        .sq_offset = sq_offset,
        .cq_slots = CQ_SLOTS,
        .cq_offset = cq_offset,
        .bytes = sq_offset + sq_bytes,
    };
}

int lane_create(uint64_t lane_id, uint64_t sq_bytes)
{
    if (!is_power_of_two(sq_bytes) || sq_bytes < SQ_BYTES_MIN || sq_bytes > SQ_BYTES_MAX) {
        return -EINVAL;
    }
    const struct lane_header_shm header = lane_header_make(lane_id, sq_bytes);
    cleanup_fd int fd = memfd_create("tusk-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)header.bytes) != 0 || fallocate(fd, 0, 0, (off_t)header.bytes) != 0) {
        return -errno;
    }
    const ssize_t written = pwrite(fd, &header, sizeof header, 0);
    if (written != (ssize_t)sizeof header) {
        return written < 0 ? -errno : -ENOSPC;
    }
    if (fcntl(fd, F_ADD_SEALS, LANE_SEALS) != 0) {
        return -errno;
    }
    return take_fd(&fd);
}

static int lane_header_check(int fd, struct lane_header_shm *header)
{
    struct stat status;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & LANE_SEALS) != LANE_SEALS || fstat(fd, &status) != 0 ||
        pread(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header) {
        return -EPROTO;
    }
    const struct lane_header_shm expected = lane_header_make(header->lane_id, header->sq_bytes);
    if (!is_power_of_two(header->sq_bytes) || header->sq_bytes < SQ_BYTES_MIN ||
        header->sq_bytes > SQ_BYTES_MAX || (uint64_t)status.st_size != expected.bytes ||
        memcmp(header, &expected, sizeof expected) != 0) {
        return -EPROTO;
    }
    return 0;
}

static int lane_map_open(struct lane_map *map, int fd, uint64_t mirror_part, int populate)
{
    struct lane_header_shm header;
    const int error = lane_header_check(fd, &header);
    if (error != 0) {
        return error;
    }
    const uint64_t mirror_bytes = header.sq_bytes / mirror_part;
    const uint64_t span = header.bytes + mirror_bytes;
    unsigned char *base = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return -ENOMEM;
    }
    const int flags = MAP_SHARED | MAP_FIXED | populate;
    if (mmap(base, header.bytes, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED ||
        mmap(base + header.bytes, mirror_bytes, PROT_READ | PROT_WRITE, flags, fd,
             (off_t)header.sq_offset) == MAP_FAILED) {
        munmap(base, span);
        return -ENOMEM;
    }
    *map = (struct lane_map){
        .shm = (struct lane_shm *)(void *)base,
        .sq = base + header.sq_offset,
        .cq = (struct completion_shm *)(void *)(base + header.cq_offset),
        .sq_bytes = header.sq_bytes,
        .mirror_bytes = mirror_bytes,
        .cq_slots = header.cq_slots,
        .mapped_bytes = span,
    };
    return 0;
}

int lane_open(struct lane_map *map, int fd)
{
    return lane_map_open(map, fd, 1, MAP_POPULATE);
}

int lane_open_engine(struct lane_map *map, int fd)
{
    return lane_map_open(map, fd, LANE_MIRROR_PART, 0);
}

void lane_close(struct lane_map *map)
{
    if (map->shm != NULL) {
        munmap(map->shm, map->mapped_bytes);
        *map = (struct lane_map){0};
    }
}
