/*
 * I/O, the same bytes: one sequence of operations leaves the same files behind on every backend,
 * through the page cache and past it, and every read among them returns the same.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/checksum.h"
#include "broker/fault.h"
#include "broker/io.h"

enum { FILE_BYTES = 3 << 20, OPERATIONS = 600, BATCH = 7, WRITE_BLOCKS_MAX = 40 };

static char path[] = "/tmp/tusk-test-io-same-XXXXXX";

static void set_up(void)
{
    cr_assert_not_null(mkdtemp(path));
}

static void tear_down(void)
{
    cr_assert_eq(rmdir(path), 0);
}

TestSuite(io_same, .init = set_up, .fini = tear_down);

static uint64_t state;

static uint64_t below(uint64_t limit)
{
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (state >> 33) % limit;
}

static void count_down(struct io_op *op, int result)
{
    int *left = op->context;
    cr_assert_eq(result, 0);
    (*left)--;
}

/* A batch of writes that do not overlap, for they end in any order. */
static void write_batch(struct io *io, struct io_file *file, char *buffers)
{
    struct io_op ops[BATCH];
    int left = BATCH;
    for (uint64_t i = 0; i < BATCH; i++) {
        const uint64_t part = FILE_BYTES / BATCH / IO_ALIGNMENT;
        const uint64_t blocks = 1 + below(WRITE_BLOCKS_MAX);
        char *buffer = buffers + i * WRITE_BLOCKS_MAX * IO_ALIGNMENT;
        for (uint64_t at = 0; at < blocks * IO_ALIGNMENT; at += sizeof(uint64_t)) {
            const uint64_t word = below(UINT64_MAX);
            memcpy(buffer + at, &word, sizeof word);
        }
        ops[i] = (struct io_op){
            .kind = IO_WRITE,
            .file = file,
            .buffer = buffer,
            .bytes = blocks * IO_ALIGNMENT,
            .offset = (i * part + below(part - WRITE_BLOCKS_MAX)) * IO_ALIGNMENT,
            .dsync = below(5) == 0,
            .done = count_down,
            .context = &left,
        };
        io_submit(io, &ops[i]);
    }
    while (left > 0) {
        cr_assert_geq(io_wait(io, IO_FOREVER), 0);
    }
}

static void do_one(struct io *io, enum io_kind kind, struct io_file *file, uint64_t bytes)
{
    int left = 1;
    struct io_op op = {
        .kind = kind, .file = file, .bytes = bytes, .done = count_down, .context = &left};
    io_submit(io, &op);
    while (left > 0) {
        cr_assert_geq(io_wait(io, IO_FOREVER), 0);
    }
}

static uint32_t read_some(struct io *io, struct io_file *file, char *all)
{
    const uint64_t blocks = 1 + below(WRITE_BLOCKS_MAX);
    const uint64_t from = below(FILE_BYTES / IO_ALIGNMENT - blocks);
    cr_assert_eq(io_read_now(io, file, all, blocks * IO_ALIGNMENT, from * IO_ALIGNMENT), 0);
    return checksum_bytes(all, blocks * IO_ALIGNMENT);
}

/* The whole sequence; returns what all reads have seen, in one number. */
static uint64_t run_all(struct io *io, struct io_file *file, char *all)
{
    char *buffers = io_buffer_new((uint64_t)BATCH * WRITE_BLOCKS_MAX * IO_ALIGNMENT);
    uint64_t seen = 0;
    state = 7;
    do_one(io, IO_ALLOCATE, file, FILE_BYTES);
    for (int i = 0; i < OPERATIONS / BATCH; i++) {
        write_batch(io, file, buffers);
        seen = seen * 31 + read_some(io, file, all);
        if (below(4) == 0) {
            do_one(io, below(2) == 0 ? IO_SYNC : IO_FSYNC, file, 0);
        }
    }
    free(buffers);
    return seen;
}

Test(io_same, seed_row_14_the_same_bytes_on_disk)
{
    static const struct {
        enum io_backend backend;
        enum io_direct direct;
    } cases[] = {
        {IO_BACKEND_URING, IO_DIRECT_AUTO},  {IO_BACKEND_URING, IO_DIRECT_OFF},
        {IO_BACKEND_PWRITE, IO_DIRECT_AUTO}, {IO_BACKEND_PWRITE, IO_DIRECT_OFF},
        {IO_BACKEND_MMAP, IO_DIRECT_AUTO},
    };
    char *all = io_buffer_new(FILE_BYTES);
    char *expected = NULL;
    uint64_t expected_seen = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fault fault = {0};
        struct io *io = NULL;
        struct io_file *dir = NULL;
        struct io_file *file = NULL;
        uint64_t bytes = 0;
        cr_assert_eq(io_open(&io, cases[i].backend, cases[i].direct, &fault), 0, "%s", fault.text);
        cr_assert_eq(io_start(io), 0);
        cr_assert_eq(io_dir_open(io, NULL, path, &dir), 0);
        cr_assert_eq(io_file_open(io, dir, "file", IO_OPEN_CREATE | IO_OPEN_DIRECT, &file), 0);
        const uint64_t seen = run_all(io, file, all);
        cr_assert_eq(io_file_size(io, file, &bytes), 0);
        cr_assert_eq(bytes, FILE_BYTES);
        cr_assert_eq(io_read_now(io, file, all, FILE_BYTES, 0), 0);
        if (expected == NULL) {
            expected = malloc(FILE_BYTES);
            memcpy(expected, all, FILE_BYTES);
            expected_seen = seen;
        }
        cr_assert_eq(seen, expected_seen, "case %zu", i);
        cr_assert_arr_eq(all, expected, FILE_BYTES);
        io_file_close(io, file);
        cr_assert_eq(io_unlink(io, dir, "file"), 0);
        io_file_close(io, dir);
        io_close(io);
    }
    free(expected);
    free(all);
}
