/*
 * I/O and kills, for each backend (TEST_BACKEND): what a process that is killed was writing has landed
 * when the lock that it held is free.
 * How:        processes that write for ever, killed at random times; what the file holds when the lock
 *             is taken is compared with what it holds a little later.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/fault.h"
#include "broker/io.h"

#define SECOND_NS INT64_C(1000000000)

static char path[] = "/tmp/tusk-test-io-kill-XXXXXX";
static struct io *io;
static struct io_file *dir;

static void set_up(void)
{
    cr_assert_not_null(mkdtemp(path));
    struct fault fault = {0};
    cr_assert_eq(io_open(&io, TEST_BACKEND, IO_DIRECT_AUTO, &fault), 0, "%s", fault.text);
    cr_assert_eq(io_dir_open(io, NULL, path, &dir), 0);
    cr_assert_eq(io_start(io), 0);
}

static void tear_down(void)
{
    cr_assert_eq(io_unlink(io, dir, "LOCK"), 0);
    cr_assert_eq(io_unlink(io, dir, "data"), 0);
    io_file_close(io, dir);
    io_close(io);
    cr_assert_eq(rmdir(path), 0);
}

TestSuite(io_kill, .init = set_up, .fini = tear_down);

static void count_call(struct io_op *op, int result)
{
    unsigned *calls = op->context;
    if (result != 0) {
        _exit(2);
    }
    (*calls)++;
}

/* Keeps writing, several writes at a time, until it is killed. */
static void write_for_ever(int ready)
{
    enum { WRITES = 8, WRITE_BYTES = 256 << 10 };
    struct fault fault = {0};
    struct io_file *lock = NULL;
    struct io_file *file = NULL;
    static struct io_op ops[WRITES];
    unsigned calls = 0;
    if (io_open(&io, TEST_BACKEND, IO_DIRECT_AUTO, &fault) != 0 || io_start(io) != 0 ||
        io_file_open(io, dir, "LOCK", IO_OPEN_CREATE, &lock) != 0 ||
        io_file_lock(io, lock, SECOND_NS) != 0 || io_register_lock(io, lock) != 0 ||
        io_file_open(io, dir, "data", IO_OPEN_CREATE | IO_OPEN_DIRECT, &file) != 0 ||
        write(ready, "r", 1) != 1) {
        _exit(1);
    }
    for (unsigned round = 0;; round++) {
        calls = 0;
        for (unsigned i = 0; i < WRITES; i++) {
            ops[i] = (struct io_op){.kind = IO_WRITE,
                                    .file = file,
                                    .buffer = ops[i].buffer,
                                    .bytes = WRITE_BYTES,
                                    .offset = (uint64_t)i * WRITE_BYTES,
                                    .dsync = i == 0,
                                    .done = count_call,
                                    .context = &calls};
            if (ops[i].buffer == NULL) {
                ops[i].buffer = io_buffer_new(WRITE_BYTES);
            }
            memset(ops[i].buffer, (int)(round * WRITES + i), WRITE_BYTES);
            io_submit(io, &ops[i]);
        }
        while (calls < WRITES) {
            io_wait(io, SECOND_NS);
        }
    }
}

/* Kills one that writes; returns once its lock could be taken, with what the file holds then. */
static void kill_a_writer(char *bytes, uint64_t count, unsigned round)
{
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        write_for_ever(ready[1]);
    }
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    usleep(2000 + round * 997 % 20000);
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    struct io_file *lock = NULL;
    struct io_file *file = NULL;
    cr_assert_eq(io_file_open(io, dir, "LOCK", 0, &lock), 0);
    cr_assert_eq(io_file_lock(io, lock, 10 * SECOND_NS), 0);
    cr_assert_eq(io_file_open(io, dir, "data", IO_OPEN_DIRECT, &file), 0);
    cr_assert_eq(io_read_now(io, file, bytes, count, 0), 0);
    char *later = io_buffer_new(count);
    usleep(20000); /* what lands after the lock was free, lands about now */
    cr_assert_eq(io_read_now(io, file, later, count, 0), 0);
    cr_assert_arr_eq(bytes, later, count);
    free(later);
    io_file_close(io, file);
    io_file_close(io, lock);
}

Test(io_kill, a_killed_process_s_writes_have_landed_when_its_lock_is_free)
{
    enum { BYTES = 2 << 20, ROUNDS = 25 };
    struct io_file *file = NULL;
    char *bytes = io_buffer_new(BYTES);
    cr_assert_eq(io_file_open(io, dir, "data", IO_OPEN_CREATE | IO_OPEN_DIRECT, &file), 0);
    struct io_op allocate = {.kind = IO_ALLOCATE, .file = file, .bytes = BYTES};
    cr_assert_eq(io_now(io, &allocate), 0);
    io_file_close(io, file);
    for (unsigned round = 0; round < ROUNDS; round++) {
        kill_a_writer(bytes, BYTES, round);
    }
    free(bytes);
}
