/*
 * The superblock on a memory disk: whatever operation fails and whatever a power loss takes, the
 * last content that was written to the end is read back, and damage is told from foreign files.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/io_memory.h"
#include "broker/memory_disk.h"
#include "broker/superblock.h"

static struct superblock specimen(uint64_t sequence)
{
    struct superblock superblock = {
        .sequence = sequence,
        .chunk_bytes = 65536,
        .segment_bytes = 1 << 20,
        .system_slot = 17,
        .system_generation = 3,
        .replay = {.position = 64, .seq = 5},
        .system_tail = {.position = 128, .seq = 6},
        .system_salt_floor = 7,
        .salt_reserved = 8,
        .generation_reserved = 9,
        .topic_id_bound = 10,
    };
    memset(superblock.uuid, 0x5a, sizeof superblock.uuid);
    return superblock;
}

static struct io_file *open_store(struct io *io)
{
    struct io_file *dir = NULL;
    struct io_file *file = NULL;
    cr_assert_eq(io_dir_open(io, NULL, "/", &dir), 0);
    cr_assert_eq(io_file_open(io, dir, "STORE", IO_OPEN_CREATE | IO_OPEN_DIRECT, &file), 0);
    cr_assert_eq(io_sync_now(io, dir), 0);
    io_file_close(io, dir);
    return file;
}

static int read_store(struct memory_disk *disk, struct superblock *superblock, struct fault *fault)
{
    struct io *io = io_memory_open(disk);
    struct io_file *file = open_store(io);
    const int result = superblock_read(io, file, "STORE", superblock, fault);
    io_file_close(io, file);
    io_close(io);
    return result;
}

static void write_store(struct memory_disk *disk, struct superblock *superblock)
{
    struct io *io = io_memory_open(disk);
    struct io_file *file = open_store(io);
    cr_assert_eq(superblock_write_now(io, file, "STORE", superblock, NULL), 0);
    io_file_close(io, file);
    io_close(io);
}

Test(superblock, comes_back_as_it_was)
{
    struct memory_disk *disk = memory_disk_new(1);
    struct superblock written = specimen(0);
    write_store(disk, &written);
    cr_assert_eq(written.sequence, 1);
    memory_disk_power_off(disk, LOSE_UNSYNCED);
    struct superblock read = {0};
    cr_assert_eq(read_store(disk, &read, NULL), 0);
    cr_assert_eq(memcmp(&read, &written, sizeof read), 0);
    memory_disk_free(disk);
}

Test(superblock, one_damaged_copy_is_no_harm)
{
    for (size_t at = 0; at < SUPERBLOCK_FILE_BYTES; at += 13) {
        struct memory_disk *disk = memory_disk_new(1);
        struct superblock written = specimen(0);
        write_store(disk, &written);
        memory_disk_find(disk, "STORE")->bytes[at] ^= 0x10;
        struct superblock read = {0};
        cr_assert_eq(read_store(disk, &read, NULL), 0, "offset %zu", at);
        cr_assert_eq(read.sequence, written.sequence);
        memory_disk_free(disk);
    }
}

Test(superblock, damage_of_both_copies_a_newer_version_and_foreign_files_are_told_apart)
{
    struct superblock superblock = specimen(0);
    struct fault fault;
    struct memory_disk *disk = memory_disk_new(1);
    write_store(disk, &superblock);
    uint8_t *bytes = memory_disk_find(disk, "STORE")->bytes;
    bytes[100] ^= 1;
    bytes[SUPERBLOCK_BYTES + 200] ^= 1;
    cr_assert_eq(read_store(disk, &superblock, &fault), -EBADMSG);
    cr_assert_not_null(strstr(fault.text, "damaged"));

    memset(bytes, 0xab, SUPERBLOCK_FILE_BYTES);
    cr_assert_eq(read_store(disk, &superblock, &fault), -EBADMSG);
    cr_assert_not_null(strstr(fault.text, "not the superblock"));

    memory_disk_find(disk, "STORE")->size = 100;
    cr_assert_eq(read_store(disk, &superblock, &fault), -EBADMSG);
    cr_assert_not_null(strstr(fault.text, "100 bytes"));
    memory_disk_free(disk);
}

struct outcome {
    int result;
    int calls;
};

static void note(void *context, int result)
{
    struct outcome *outcome = context;
    outcome->result = result;
    outcome->calls++;
}

/* Writes one more through the engine's writer, with whatever fails on the way. */
static struct outcome write_async(struct memory_disk *disk, struct superblock *superblock)
{
    struct io *io = io_memory_open(disk);
    struct io_file *file = open_store(io);
    struct superblock_writer writer;
    struct outcome outcome = {0};
    cr_assert_eq(superblock_writer_init(&writer, io, file), 0);
    superblock_write(&writer, superblock, note, &outcome);
    cr_assert_eq(outcome.calls, 0);
    while (superblock_writer_busy(&writer)) {
        io_poll(io);
    }
    cr_assert_eq(outcome.calls, 1);
    superblock_writer_deinit(&writer);
    io_file_close(io, file);
    io_close(io);
    return outcome;
}

Test(superblock, a_write_that_fails_or_is_cut_leaves_the_content_before_or_the_new_one)
{
    /* Two writes, the first of which fails at operation `at`, then power goes; again and again, so
     * that a torn copy of one round meets a torn one of the next. */
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct memory_disk *disk = memory_disk_new(seed);
        struct superblock superblock = specimen(0);
        write_store(disk, &superblock);
        uint64_t certain = superblock.sequence;
        for (int round = 0; round < 6; round++) {
            const uint64_t attempt = certain + 1;
            superblock.sequence = certain;
            memory_disk_fail(disk, 3 + memory_disk_random(disk, 4), -EIO, true);
            const struct outcome outcome = write_async(disk, &superblock);
            disk->fail_at = 0;
            memory_disk_power_off(disk, LOSE_RANDOM);
            struct superblock read = {0};
            cr_assert_eq(read_store(disk, &read, NULL), 0);
            cr_assert(read.sequence == attempt ||
                      (outcome.result != 0 && read.sequence == certain));
            certain = read.sequence;
        }
        memory_disk_free(disk);
    }
}
