/* Segment header: see segment_header.h. */
#include "broker/segment_header.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/fault.h"
#include "broker/segment.h"

#define SEGMENT_MAGIC UINT64_C(0x4745534b53555431) /* "1TUSKSEG" */

/* Magic, version and checksum keep their places in all versions. */
struct segment_header_disk {
    uint64_t magic;
    uint32_t version; /* STORE_LAYOUT_VERSION */
    uint32_t checksum;
    uint8_t uuid[STORE_UUID_BYTES];
    uint64_t number;
    uint64_t chunk_bytes;
    uint64_t segment_bytes;
    uint8_t zeros[SEGMENT_HEADER_BYTES - 56];
};
LAYOUT_SIZE(struct segment_header_disk, SEGMENT_HEADER_BYTES);
LAYOUT_AT(struct segment_header_disk, number, 32);

static uint32_t header_checksum(struct segment_header_disk disk)
{
    disk.checksum = 0;
    return checksum_bytes(&disk, sizeof disk);
}

void segment_header_fill(struct segment_set *set, uint32_t number)
{
    struct segment_header_disk disk = {
        .magic = SEGMENT_MAGIC,
        .version = STORE_LAYOUT_VERSION,
        .number = number,
        .chunk_bytes = set->chunk_bytes,
        .segment_bytes = set->segment_bytes,
    };
    memcpy(disk.uuid, set->uuid, sizeof disk.uuid);
    disk.checksum = header_checksum(disk);
    memcpy(set->header, &disk, sizeof disk);
}

int segment_header_decode(struct segment_header *header, const uint8_t block[SEGMENT_HEADER_BYTES])
{
    struct segment_header_disk disk;
    memcpy(&disk, block, sizeof disk);
    if (disk.magic != SEGMENT_MAGIC || disk.checksum != header_checksum(disk)) {
        return -EBADMSG;
    }
    if (disk.version != STORE_LAYOUT_VERSION) {
        return -EPROTO;
    }
    *header = (struct segment_header){
        .number = disk.number,
        .chunk_bytes = disk.chunk_bytes,
        .segment_bytes = disk.segment_bytes,
    };
    memcpy(header->uuid, disk.uuid, sizeof header->uuid);
    return 0;
}

int segment_header_check(const struct segment_set *set, uint32_t number, const char *path,
                         struct fault *fault)
{
    struct segment_header header;
    const int result = segment_header_decode(&header, set->header);
    if (result == -EBADMSG) {
        return fault_set(fault, -EBADMSG,
                         "the header of %s (offset 0) is damaged, or it is not a segment of a Tusk "
                         "store: restore the store from a backup",
                         path);
    }
    if (result != 0) {
        return fault_set(fault, -EPROTO,
                         "%s was written by another version of Tusk: use the one that wrote the "
                         "store",
                         path);
    }
    if (memcmp(header.uuid, set->uuid, sizeof header.uuid) != 0) {
        return fault_set(fault, -EBADMSG,
                         "%s belongs to another store: put the store's own segment back", path);
    }
    if (header.number != number) {
        return fault_set(fault, -EBADMSG,
                         "%s holds segment %" PRIx64
                         ": segments were renamed or swapped; give each "
                         "its own name back",
                         path, header.number);
    }
    if (header.chunk_bytes != set->chunk_bytes || header.segment_bytes != set->segment_bytes) {
        return fault_set(fault, -EBADMSG, "%s has other sizes than its store", path);
    }
    return 0;
}
