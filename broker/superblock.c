/* Superblock: see superblock.h. */
#include "broker/superblock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/fault.h"
#include "shm/cleanup.h"

#define SUPERBLOCK_MAGIC UINT64_C(0x45524f54534b5554) /* "TUKSTORE" */

/* Magic, version and checksum keep their places in all versions, and the checksum covers the whole
 * block with its own field zero, so that a newer store can be told from a damaged one. */
struct superblock_disk {
    uint64_t magic;
    uint32_t version;
    uint32_t checksum;
    uint64_t sequence;
    uint8_t uuid[STORE_UUID_BYTES];
    uint64_t chunk_bytes;
    uint64_t segment_bytes;
    uint64_t system_generation;
    uint64_t replay_position;
    uint64_t replay_seq;
    uint64_t system_tail_position;
    uint64_t system_tail_seq;
    uint32_t system_slot;
    uint32_t system_salt_floor;
    uint32_t salt_reserved;
    uint32_t zero;
    uint64_t generation_reserved;
    uint64_t topic_id_bound;
    uint64_t snapshot_generation;
    uint32_t snapshot_slot;
    uint32_t snapshot_sync;
    uint64_t snapshot_end;
    uint64_t snapshot_until;
    uint64_t clean_position;
    uint8_t zeros[SUPERBLOCK_BYTES - 168];
};
LAYOUT_SIZE(struct superblock_disk, SUPERBLOCK_BYTES);
LAYOUT_AT(struct superblock_disk, system_slot, 96);
LAYOUT_AT(struct superblock_disk, topic_id_bound, 120);

static uint32_t block_checksum(struct superblock_disk disk)
{
    disk.checksum = 0;
    return checksum_bytes(&disk, sizeof disk);
}

void superblock_encode(const struct superblock *superblock, uint8_t block[SUPERBLOCK_BYTES])
{
    struct superblock_disk disk = {
        .magic = SUPERBLOCK_MAGIC,
        .version = STORE_LAYOUT_VERSION,
        .sequence = superblock->sequence,
        .chunk_bytes = superblock->chunk_bytes,
        .segment_bytes = superblock->segment_bytes,
        .system_generation = superblock->system_generation,
        .replay_position = superblock->replay.position,
        .replay_seq = superblock->replay.seq,
        .system_tail_position = superblock->system_tail.position,
        .system_tail_seq = superblock->system_tail.seq,
        .system_slot = superblock->system_slot,
        .system_salt_floor = superblock->system_salt_floor,
        .salt_reserved = superblock->salt_reserved,
        .generation_reserved = superblock->generation_reserved,
        .topic_id_bound = superblock->topic_id_bound,
        .snapshot_generation = superblock->snapshot.generation,
        .snapshot_slot = superblock->snapshot.slot,
        .snapshot_sync = superblock->snapshot.sync,
        .snapshot_end = superblock->snapshot.end,
        .snapshot_until = superblock->snapshot.until,
        .clean_position = superblock->clean_position,
    };
    memcpy(disk.uuid, superblock->uuid, sizeof disk.uuid);
    disk.checksum = block_checksum(disk);
    memcpy(block, &disk, sizeof disk);
}

int superblock_decode(struct superblock *superblock, const uint8_t block[SUPERBLOCK_BYTES])
{
    struct superblock_disk disk;
    memcpy(&disk, block, sizeof disk);
    if (disk.magic != SUPERBLOCK_MAGIC || disk.checksum != block_checksum(disk)) {
        return -EBADMSG;
    }
    if (disk.version != STORE_LAYOUT_VERSION) {
        return -EPROTO;
    }
    *superblock = (struct superblock){
        .sequence = disk.sequence,
        .chunk_bytes = disk.chunk_bytes,
        .segment_bytes = disk.segment_bytes,
        .system_slot = disk.system_slot,
        .system_generation = disk.system_generation,
        .replay = {.position = disk.replay_position, .seq = disk.replay_seq},
        .system_tail = {.position = disk.system_tail_position, .seq = disk.system_tail_seq},
        .system_salt_floor = disk.system_salt_floor,
        .salt_reserved = disk.salt_reserved,
        .generation_reserved = disk.generation_reserved,
        .topic_id_bound = disk.topic_id_bound,
        .snapshot = {.generation = disk.snapshot_generation,
                     .slot = disk.snapshot_slot,
                     .sync = disk.snapshot_sync,
                     .end = disk.snapshot_end,
                     .until = disk.snapshot_until},
        .clean_position = disk.clean_position,
    };
    memcpy(superblock->uuid, disk.uuid, sizeof disk.uuid);
    return 0;
}

static bool has_magic(const uint8_t *block)
{
    uint64_t magic;
    memcpy(&magic, block, sizeof magic);
    return magic == SUPERBLOCK_MAGIC;
}

static int choose_copy(const uint8_t *blocks, const char *name, struct superblock *superblock,
                       struct fault *fault)
{
    bool found = false;
    bool known = false;
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
        const uint8_t *block = blocks + (size_t)i * SUPERBLOCK_BYTES;
        struct superblock copy;
        const int result = superblock_decode(&copy, block);
        if (result == -EPROTO) {
            return fault_set(
                fault, -EPROTO,
                "%s was written by a newer version of Tusk; this one reads layout %" PRIu32
                ": use the version that wrote the store",
                name, STORE_LAYOUT_VERSION);
        }
        known |= has_magic(block);
        if (result == 0 && (!found || copy.sequence > superblock->sequence)) {
            *superblock = copy;
            found = true;
        }
    }
    if (found) {
        return 0;
    }
    return fault_set(fault, -EBADMSG,
                     known
                         ? "both copies in %s (offsets 0 and 4096) are damaged: restore the store "
                           "from a backup"
                         : "%s is not the superblock of a Tusk store: is this the right directory?",
                     name);
}

int superblock_read(struct io *io, struct io_file *file, const char *name,
                    struct superblock *superblock, struct fault *fault)
{
    uint64_t bytes;
    int result = io_file_size(io, file, &bytes);
    if (result != 0) {
        return fault_set(fault, result, "%s cannot be read: %s", name, strerror(-result));
    }
    if (bytes != SUPERBLOCK_FILE_BYTES) {
        return fault_set(fault, -EBADMSG,
                         "%s has %" PRIu64 " bytes, %d were expected: it is damaged, or not the "
                         "superblock of a Tusk store",
                         name, bytes, SUPERBLOCK_FILE_BYTES);
    }
    cleanup_free uint8_t *blocks = io_buffer_new(SUPERBLOCK_FILE_BYTES);
    if (blocks == NULL) {
        return fault_set(fault, -ENOMEM, "no memory to read %s", name);
    }
    result = io_read_now(io, file, blocks, SUPERBLOCK_FILE_BYTES, 0);
    if (result != 0) {
        return fault_set(fault, result, "%s cannot be read: %s", name, strerror(-result));
    }
    return choose_copy(blocks, name, superblock, fault);
}

/* Write n begins with copy n mod 2 and ends with the other one. */
static uint64_t copy_offset(uint64_t sequence, unsigned copies_left)
{
    return (sequence + copies_left) % SUPERBLOCK_COPIES * SUPERBLOCK_BYTES;
}

int superblock_write_now(struct io *io, struct io_file *file, const char *name,
                         struct superblock *superblock, struct fault *fault)
{
    cleanup_free uint8_t *block = io_buffer_new(SUPERBLOCK_BYTES);
    if (block == NULL) {
        return fault_set(fault, -ENOMEM, "no memory to write %s", name);
    }
    superblock->sequence++;
    superblock_encode(superblock, block);
    for (unsigned left = SUPERBLOCK_COPIES; left > 0; left--) {
        int result = io_write_now(io, file, block, SUPERBLOCK_BYTES,
                                  copy_offset(superblock->sequence, left));
        if (result == 0) {
            result = io_sync_now(io, file);
        }
        if (result != 0) {
            return fault_set(fault, result, "%s cannot be written: %s", name, strerror(-result));
        }
    }
    return 0;
}

int superblock_writer_init(struct superblock_writer *writer, struct io *io, struct io_file *file)
{
    *writer = (struct superblock_writer){
        .io = io, .file = file, .block = io_buffer_new(SUPERBLOCK_BYTES)};
    return writer->block == NULL ? -ENOMEM : 0;
}

void superblock_writer_deinit(struct superblock_writer *writer)
{
    ensure(!superblock_writer_busy(writer));
    free(writer->block);
    writer->block = NULL;
}

static void copy_written(struct io_op *op, int result);

static void write_copy(struct superblock_writer *writer)
{
    writer->op = (struct io_op){
        .kind = IO_WRITE,
        .dsync = true,
        .file = writer->file,
        .buffer = writer->block,
        .bytes = SUPERBLOCK_BYTES,
        .offset = copy_offset(writer->sequence, writer->copies_left),
        .done = copy_written,
        .context = writer,
    };
    io_submit(writer->io, &writer->op);
}

static void copy_written(struct io_op *op, int result)
{
    struct superblock_writer *writer = op->context;
    writer->copies_left = result == 0 ? writer->copies_left - 1 : 0;
    if (writer->copies_left != 0) {
        write_copy(writer);
        return;
    }
    writer->done(writer->context, result);
}

void superblock_write(struct superblock_writer *writer, struct superblock *superblock,
                      void (*done)(void *context, int result), void *context)
{
    ensure(!superblock_writer_busy(writer));
    superblock->sequence++;
    superblock_encode(superblock, writer->block);
    writer->sequence = superblock->sequence;
    writer->copies_left = SUPERBLOCK_COPIES;
    writer->done = done;
    writer->context = context;
    write_copy(writer);
}
