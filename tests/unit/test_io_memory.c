/*
 * The memory disk itself, since crash tests are only as good as it is: what was synced stays, what
 * was not may go, in any combination, and failures happen where they were asked for.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "broker/io.h"
#include "broker/io_memory.h"
#include "broker/memory_disk.h"

static struct memory_disk *disk;
static struct io *io;
static struct io_file *root;

static void set_up(void)
{
    disk = memory_disk_new(1);
    io = io_memory_open(disk);
    cr_assert_eq(io_dir_open(io, NULL, "/", &root), 0);
}

static void tear_down(void)
{
    memory_disk_free(disk);
}

TestSuite(io_memory, .init = set_up, .fini = tear_down);

static void power_off(enum memory_loss loss)
{
    io_memory_kill(io);
    memory_disk_power_off(disk, loss);
    io = io_memory_open(disk);
    cr_assert_eq(io_dir_open(io, NULL, "/", &root), 0);
}

static void close_all(void)
{
    io_memory_kill(io);
}

static struct io_file *open_file(const char *name, unsigned flags)
{
    struct io_file *file = NULL;
    cr_assert_eq(io_file_open(io, root, name, flags, &file), 0);
    return file;
}

static char first_byte(const char *name)
{
    return (char)memory_disk_find(disk, name)->bytes[0];
}

static void fill(struct io_file *file, char byte, uint64_t bytes, uint64_t offset)
{
    static char buffer[65536];
    memset(buffer, byte, sizeof buffer);
    cr_assert_eq(io_write_now(io, file, buffer, bytes, offset), 0);
}

Test(io_memory, names_are_lost_without_a_sync_of_their_directory)
{
    struct io_file *file = open_file("f", IO_OPEN_CREATE);
    fill(file, 'x', 512, 0);
    cr_assert_eq(io_sync_now(io, file), 0);
    power_off(LOSE_UNSYNCED);
    cr_assert_null(memory_disk_find(disk, "f"));

    file = open_file("f", IO_OPEN_CREATE);
    fill(file, 'x', 512, 0);
    cr_assert_eq(io_sync_now(io, file), 0);
    cr_assert_eq(io_sync_now(io, root), 0);
    cr_assert_eq(io_rename(io, root, "f", "g"), 0);
    power_off(LOSE_UNSYNCED);
    cr_assert_not_null(memory_disk_find(disk, "f"));
    cr_assert_null(memory_disk_find(disk, "g"));
    cr_assert_eq(first_byte("f"), 'x');
    close_all();
}

Test(io_memory, content_is_old_or_new_by_sector_and_all_combinations_occur)
{
    struct io_file *file = open_file("f", IO_OPEN_CREATE);
    cr_assert_eq(io_sync_now(io, root), 0);
    fill(file, 'a', 1024, 0);
    cr_assert_eq(io_sync_now(io, file), 0);
    fill(file, 'b', 1024, 0);
    bool seen[2][2] = {{false}};
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct memory_disk *clone = memory_disk_clone(disk, seed);
        memory_disk_power_off(clone, LOSE_RANDOM);
        const uint8_t *bytes = memory_disk_find(clone, "f")->bytes;
        for (int sector = 0; sector < 2; sector++) {
            for (int i = 1; i < 512; i++) {
                cr_assert_eq(bytes[sector * 512 + i], bytes[sector * 512], "a sector is whole");
            }
        }
        seen[bytes[0] == 'b'][bytes[512] == 'b'] = true;
        memory_disk_free(clone);
    }
    cr_assert(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1]);
    close_all();
}

Test(io_memory, a_dsync_write_is_durable_and_only_that_write)
{
    struct io_file *file = open_file("f", IO_OPEN_CREATE);
    cr_assert_eq(io_sync_now(io, root), 0);
    char bytes[512] = "d";
    fill(file, 'a', 1024, 0);
    struct io_op op = {
        .kind = IO_WRITE, .dsync = true, .file = file, .buffer = bytes, .bytes = 512};
    cr_assert_eq(io_now(io, &op), 0);
    power_off(LOSE_UNSYNCED);
    cr_assert_eq(memory_disk_find(disk, "f")->size, 512);
    cr_assert_eq(first_byte("f"), 'd');
    close_all();
}

struct outcome {
    int result;
    int order;
};

static int completed;

static void note(struct io_op *op, int result)
{
    struct outcome *outcome = op->context;
    outcome->result = result;
    outcome->order = ++completed;
}

Test(io_memory, completions_come_from_poll_only_in_order_or_shuffled)
{
    struct io_file *file = open_file("f", IO_OPEN_CREATE);
    enum { OPS = 32 };
    struct io_op ops[OPS];
    struct outcome outcomes[OPS];
    char bytes[512] = {0};
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        if (shuffled) {
            io_memory_shuffle(io);
        }
        completed = 0;
        memset(outcomes, 0, sizeof outcomes);
        for (int i = 0; i < OPS; i++) {
            ops[i] = (struct io_op){.kind = IO_WRITE,
                                    .file = file,
                                    .buffer = bytes,
                                    .bytes = 512,
                                    .offset = (uint64_t)i * 512,
                                    .done = note,
                                    .context = &outcomes[i]};
            io_submit(io, &ops[i]);
        }
        io_kick(io);
        cr_assert_eq(completed, 0);
        cr_assert_eq(io_in_flight(io), OPS);
        while (io_in_flight(io) > 0) {
            cr_assert_gt(io_poll(io), 0);
        }
        bool in_order = true;
        for (int i = 0; i < OPS; i++) {
            cr_assert_eq(outcomes[i].result, 0);
            in_order &= outcomes[i].order == i + 1;
        }
        cr_assert_eq(in_order, !shuffled);
    }
    close_all();
}

Test(io_memory, the_chosen_operation_fails_once_or_from_then_on)
{
    struct io_file *file = open_file("f", IO_OPEN_CREATE);
    char bytes[1024] = "x";
    memory_disk_fail(disk, 1, -EIO, false);
    cr_assert_eq(io_write_now(io, file, bytes, 1024, 0), 0);
    cr_assert_eq(io_write_now(io, file, bytes, 1024, 1024), -EIO);
    cr_assert_eq(memory_disk_find(disk, "f")->size, 1536, "half of it was written");
    cr_assert_eq(io_write_now(io, file, bytes, 1024, 1024), 0);
    memory_disk_fail(disk, 0, -ENOSPC, true);
    cr_assert_eq(io_write_now(io, file, bytes, 1024, 0), -ENOSPC);
    cr_assert_eq(io_sync_now(io, file), -ENOSPC);
    close_all();
}

Test(io_memory, a_sync_that_failed_is_not_made_up_for)
{
    struct io_file *file = open_file("f", IO_OPEN_CREATE);
    cr_assert_eq(io_sync_now(io, root), 0);
    fill(file, 'x', 512, 0);
    memory_disk_fail(disk, 0, -EIO, false);
    cr_assert_eq(io_sync_now(io, file), -EIO);
    cr_assert_eq(io_sync_now(io, file), 0);
    power_off(LOSE_UNSYNCED);
    cr_assert_eq(first_byte("f"), 0);
    close_all();
}

Test(io_memory, a_full_disk_says_so)
{
    disk->capacity = 100000;
    struct io_file *file = open_file("f", IO_OPEN_CREATE);
    struct io_op op = {.kind = IO_ALLOCATE, .file = file, .bytes = 100001};
    cr_assert_eq(io_now(io, &op), -ENOSPC);
    op.bytes = 100000;
    cr_assert_eq(io_now(io, &op), 0);
    close_all();
}

Test(io_memory, a_lock_is_one_holder_s)
{
    struct io_file *first = open_file("f", IO_OPEN_CREATE);
    struct io_file *second = open_file("f", 0);
    cr_assert_eq(io_file_lock(io, first, 0), 0);
    cr_assert_eq(io_file_lock(io, second, 0), -EBUSY);
    io_file_close(io, first);
    cr_assert_eq(io_file_lock(io, second, 0), 0);
    close_all();
}

Test(io_memory, direct_transfers_must_be_aligned)
{
    struct io_file *file = open_file("f", IO_OPEN_CREATE | IO_OPEN_DIRECT);
    char *buffer = io_buffer_new(8192);
    cr_assert_eq(io_write_now(io, file, buffer, 8192, 0), 0);
    cr_assert_eq(io_write_now(io, file, buffer + 512, 4096, 0), -EINVAL);
    cr_assert_eq(io_read_now(io, file, buffer, 4096, 512), -EINVAL);
    free(buffer);
    close_all();
}
