/* Directory: see directory.h. */
#include "shm/directory.h"

#include <errno.h>

#include "shm/frame.h"

static struct directory_header_shm header_make(const struct directory_geometry *geometry)
{
    struct directory_header_shm header = {
        .magic = DIRECTORY_MAGIC,
        .digest = layout_digest(),
        .chunk_bytes = geometry->chunk_bytes,
        .arena_bytes = geometry->arena_bytes,
        .topics_max = geometry->topics_max,
        .units = geometry->arena_bytes / small_chunk_bytes(geometry->chunk_bytes),
        .counters_max = COUNTERS_MAX,
    };
    header.counters_offset = align_up(sizeof(struct directory_shm), WRITER_STRIDE);
    header.stamps_offset =
        header.counters_offset + header.counters_max * sizeof(struct counter_shm);
    header.topics_offset =
        align_up(header.stamps_offset + header.units * sizeof(struct atom), WRITER_STRIDE);
    header.bytes =
        align_up(header.topics_offset + header.topics_max * sizeof(struct topic_shm), BLOCK_BYTES);
    return header;
}

uint64_t directory_bytes(const struct directory_geometry *geometry)
{
    return header_make(geometry).bytes;
}

void directory_format(struct directory_shm *directory, const struct directory_geometry *geometry,
                      uint64_t epoch, uint64_t pid)
{
    directory->header = header_make(geometry);
    directory->header.epoch = epoch;
    directory->header.pid = pid;
}

int directory_check(const struct directory_shm *directory, uint64_t bytes)
{
    if (bytes < sizeof(struct directory_shm)) {
        return -EPROTO;
    }
    const struct directory_header_shm *header = &directory->header;
    if (header->magic != DIRECTORY_MAGIC || header->digest != layout_digest() ||
        !is_power_of_two(header->chunk_bytes) || header->chunk_bytes < CHUNK_BYTES_MIN ||
        header->chunk_bytes > CHUNK_BYTES_MAX || header->arena_bytes % header->chunk_bytes != 0 ||
        header->arena_bytes / small_chunk_bytes(header->chunk_bytes) > bytes ||
        header->topics_max > bytes) {
        return -EPROTO; /* with counts in these bounds, their sizes cannot wrap */
    }
    const struct directory_geometry geometry = {
        .chunk_bytes = header->chunk_bytes,
        .arena_bytes = header->arena_bytes,
        .topics_max = header->topics_max,
    };
    const struct directory_header_shm expected = header_make(&geometry);
    if (header->bytes != bytes || expected.bytes != bytes ||
        header->topics_offset != expected.topics_offset ||
        header->stamps_offset != expected.stamps_offset ||
        header->counters_offset != expected.counters_offset || header->units != expected.units ||
        header->counters_max != expected.counters_max) {
        return -EPROTO;
    }
    return 0;
}
