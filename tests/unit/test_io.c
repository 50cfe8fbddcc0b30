/*
 * I/O on real files, for each backend (TEST_BACKEND): results are all or an error, watches come and
 * go, locks exclude.
 * Every test runs on a file of its own in a temporary directory on disk.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/fault.h"
#include "broker/io.h"
#include "broker/io_posix.h"

#define SECOND_NS INT64_C(1000000000)

/* A tied lock after its descriptor was closed: a ring holds it on, for what is in flight there; a
 * thread's system call ends before the process's descriptors go. */
enum { TIED = TEST_BACKEND == IO_BACKEND_URING ? -EBUSY : 0 };

static char path[] = "/tmp/tusk-test-io-XXXXXX";
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

static int unlink_one(void *context, const char *name)
{
    (void)context;
    return io_unlink(io, dir, name);
}

static void tear_down(void)
{
    cr_assert_eq(io_dir_list(io, dir, unlink_one, NULL), 0);
    io_file_close(io, dir);
    io_close(io);
    cr_assert_eq(rmdir(path), 0);
}

TestSuite(io, .init = set_up, .fini = tear_down);

struct outcome {
    int result;
    int calls;
};

static void note(struct io_op *op, int result)
{
    struct outcome *outcome = op->context;
    outcome->result = result;
    outcome->calls++;
}

/* Runs one operation to its end and returns its result. */
static int run(struct io_op op)
{
    struct outcome outcome = {0};
    op.done = note;
    op.context = &outcome;
    io_submit(io, &op);
    cr_assert_eq(io_in_flight(io), 1);
    cr_assert_eq(outcome.calls, 0);
    while (outcome.calls == 0) {
        cr_assert_geq(io_wait(io, SECOND_NS), 0);
    }
    cr_assert_eq(outcome.calls, 1);
    cr_assert_eq(io_in_flight(io), 0);
    return outcome.result;
}

static struct io_file *open_new(unsigned flags)
{
    struct io_file *file = NULL;
    cr_assert_eq(io_file_open(io, dir, "file", flags | IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &file),
                 0);
    return file;
}

static void write_and_read_back(struct io_file *file, char *buffer)
{
    memset(buffer, 'x', 4096);
    cr_assert_eq(run((struct io_op){.kind = IO_ALLOCATE, .file = file, .bytes = 65536}), 0);
    cr_assert_eq(run((struct io_op){.kind = IO_WRITE,
                                    .file = file,
                                    .buffer = buffer,
                                    .bytes = 4096,
                                    .offset = 8192,
                                    .dsync = true}),
                 0);
    cr_assert_eq(run((struct io_op){.kind = IO_SYNC, .file = file}), 0);
    cr_assert_eq(run((struct io_op){.kind = IO_FSYNC, .file = file}), 0);
    memset(buffer, 0, 8192);
    cr_assert_eq(
        run((struct io_op){
            .kind = IO_READ, .file = file, .buffer = buffer, .bytes = 8192, .offset = 8192}),
        0);
    cr_assert_eq(buffer[0], 'x');
    cr_assert_eq(buffer[4095], 'x');
    cr_assert_eq(buffer[4096], 0);
}

Test(io, moves_bytes_through_the_page_cache_and_past_it)
{
    for (unsigned flags = 0; flags <= IO_OPEN_DIRECT; flags += IO_OPEN_DIRECT) {
        struct io_file *file = open_new(flags);
        cr_assert_eq(file->direct, flags != 0 && TEST_BACKEND != IO_BACKEND_MMAP);
        char *buffer = io_buffer_new(8192);
        write_and_read_back(file, buffer);
        uint64_t bytes = 0;
        cr_assert_eq(io_file_size(io, file, &bytes), 0);
        cr_assert_eq(bytes, 65536);
        free(buffer);
        io_file_close(io, file);
        cr_assert_eq(io_unlink(io, dir, "file"), 0);
    }
}

Test(io, registered_memory_works_like_any_other)
{
    char *shared = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
    const struct iovec region = {.iov_base = shared, .iov_len = 1 << 20};
    cr_assert_eq(io_register_buffers(io, &region, 1), 0);
    struct io_file *file = open_new(IO_OPEN_DIRECT);
    write_and_read_back(file, shared + (1 << 20) - 8192);
    char *other = io_buffer_new(8192);
    write_and_read_back(file, other);
    free(other);
    io_file_close(io, file);
}

Test(io, regions_come_and_go_while_others_stay)
{
    enum { BYTES = 1 << 20, COUNT = 5 };
    char *shared[COUNT];
    struct iovec regions[COUNT];
    struct io_file *file = open_new(IO_OPEN_DIRECT);
    for (int i = 0; i < COUNT; i++) {
        shared[i] = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(shared[i], MAP_FAILED);
        regions[i] = (struct iovec){.iov_base = shared[i], .iov_len = BYTES};
    }
    cr_assert_eq(io_register_buffers(io, regions, 2), 0);
    cr_assert_eq(io_register_buffers(io, regions + 2, 1), 0);
    io_forget_buffers(io, regions + 1, 1);
    /* Where the forgotten one was, another one lies now: at once, or a thread of the implementation
     * could take the place. */
    char *again = mmap(shared[1], BYTES, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    cr_assert_eq(again, shared[1]);
    write_and_read_back(file, shared[0]);
    write_and_read_back(file, shared[2]);
    write_and_read_back(file, again);
    cr_assert_eq(io_register_buffers(io, regions + 3, 2), 0);
    for (int i = 0; i < COUNT; i++) {
        write_and_read_back(file, shared[i]);
    }
    io_forget_buffers(io, regions, COUNT);
    write_and_read_back(file, shared[4]);
    io_file_close(io, file);
}

/* Without the suite's own I/O object: its threads would not be in the child, but locks that they
 * hold would. */
Test(io_alone, memory_that_may_not_be_locked_is_used_unregistered)
{
    /* Root is exempt from RLIMIT_MEMLOCK. */
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit few = {65536, 65536};
        struct io *own = NULL;
        if (setrlimit(RLIMIT_MEMLOCK, &few) != 0 || (getuid() == 0 && setuid(65534) != 0) ||
            io_open(&own, TEST_BACKEND, IO_DIRECT_AUTO, NULL) != 0) {
            _exit(2);
        }
        void *memory =
            mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        const struct iovec region = {.iov_base = memory, .iov_len = 1 << 20};
        const int result = io_register_buffers(own, &region, 1);
        io_close(own);
        _exit(result == (TEST_BACKEND == IO_BACKEND_URING ? IO_BUFFERS_UNREGISTERED : 0) ? 0 : 1);
    }
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
}

Test(io, a_read_behind_the_end_is_an_error_not_a_short_count)
{
    struct io_file *file = open_new(0);
    char buffer[8192];
    memset(buffer, 'x', sizeof buffer);
    cr_assert_eq(io_write_now(io, file, buffer, 5000, 0), 0);
    cr_assert_eq(
        run((struct io_op){.kind = IO_READ, .file = file, .buffer = buffer, .bytes = 8192}),
        -ENODATA);
    cr_assert_eq(io_read_now(io, file, buffer, 8192, 0), -ENODATA);
    cr_assert_eq(io_read_now(io, file, buffer, 5000, 0), 0);
    io_file_close(io, file);
}

Test(io, a_write_cut_short_by_a_limit_is_that_error)
{
    struct io_file *file = open_new(0);
    cr_assert_neq(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){6000, 6000}), 0);
    char buffer[8192] = {0};
    cr_assert_eq(
        run((struct io_op){.kind = IO_WRITE, .file = file, .buffer = buffer, .bytes = 8192}),
        -EFBIG);
    cr_assert_eq(io_write_now(io, file, buffer, 8192, 0), -EFBIG);
    io_file_close(io, file);
}

Test(io, errors_come_back_as_they_are)
{
    char buffer[64];
    cr_assert_eq(run((struct io_op){.kind = IO_READ, .file = dir, .buffer = buffer, .bytes = 64}),
                 -EISDIR);
    struct io_file *file = open_new(0);
    cr_assert_eq(run((struct io_op){.kind = IO_ALLOCATE, .file = file, .bytes = 0}), -EINVAL);
    io_file_close(io, file);
}

/* As large as a segment, so that a backend that maps files does. */
Test(io, what_was_written_is_read_back_and_is_there_after_opening_again)
{
    enum { BYTES = 2 << 20, WRITES = 64 };
    struct io_file *file = open_new(IO_OPEN_DIRECT);
    char *buffer = io_buffer_new(BYTES);
    char *expected = calloc(1, BYTES);
    cr_assert_eq(run((struct io_op){.kind = IO_ALLOCATE, .file = file, .bytes = BYTES}), 0);
    for (unsigned i = 0; i < WRITES; i++) {
        const uint64_t offset = (uint64_t)(i * 7 % WRITES) * (BYTES / WRITES);
        const uint64_t bytes = (uint64_t)(1 + i % 8) * 4096;
        memset(buffer, 'a' + (int)(i % 26), bytes);
        memset(expected + offset, 'a' + (int)(i % 26), bytes);
        cr_assert_eq(run((struct io_op){.kind = IO_WRITE,
                                        .file = file,
                                        .buffer = buffer,
                                        .bytes = bytes,
                                        .offset = offset,
                                        .dsync = i % 2 == 0}),
                     0);
    }
    cr_assert_eq(run((struct io_op){.kind = IO_SYNC, .file = file}), 0);
    cr_assert_eq(
        run((struct io_op){.kind = IO_READ, .file = file, .buffer = buffer, .bytes = BYTES}), 0);
    cr_assert_arr_eq(buffer, expected, BYTES);
    io_file_close(io, file);
    cr_assert_eq(io_file_open(io, dir, "file", IO_OPEN_DIRECT, &file), 0);
    cr_assert_eq(io_read_now(io, file, buffer, BYTES, 0), 0);
    cr_assert_arr_eq(buffer, expected, BYTES);
    io_file_close(io, file);
    free(buffer);
    free(expected);
}

/* A mapping that reaches behind the file's end must not end the process. */
Test(io, a_file_that_was_cut_is_written_all_the_same)
{
    enum { BYTES = 2 << 20 };
    struct io_file *file = open_new(IO_OPEN_DIRECT);
    char *buffer = io_buffer_new(4096);
    const struct io_op last = {
        .kind = IO_WRITE, .file = file, .buffer = buffer, .bytes = 4096, .offset = BYTES - 4096};
    cr_assert_eq(run((struct io_op){.kind = IO_ALLOCATE, .file = file, .bytes = BYTES}), 0);
    cr_assert_eq(run(last), 0);
    cr_assert_eq(ftruncate(posix_fd(file), 4096), 0);
    cr_assert_eq(run(last), 0);
    uint64_t bytes = 0;
    cr_assert_eq(io_file_size(io, file, &bytes), 0);
    cr_assert_eq(bytes, BYTES);
    io_file_close(io, file);
    free(buffer);
}

/* How many of the file's pages are in the page cache. */
static unsigned pages_cached(int fd, size_t bytes)
{
    unsigned char resident[512];
    unsigned count = 0;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    cr_assert_neq(map, MAP_FAILED);
    cr_assert_leq(bytes / 4096, sizeof resident);
    cr_assert_eq(mincore(map, bytes, resident), 0);
    for (size_t i = 0; i < bytes / 4096; i++) {
        count += resident[i] & 1;
    }
    munmap(map, bytes);
    return count;
}

/* The page cache may hold what a failed sync never wrote. */
Test(io, a_file_that_is_not_direct_is_read_from_the_device_at_first)
{
    enum { BYTES = 1 << 20 };
    struct statfs fs;
    io->direct = IO_DIRECT_OFF;
    struct io_file *file = open_new(IO_OPEN_DIRECT);
    char *buffer = io_buffer_new(BYTES);
    memset(buffer, 'x', BYTES);
    cr_assert_eq(io_write_now(io, file, buffer, BYTES, 0), 0);
    cr_assert_eq(pages_cached(posix_fd(file), BYTES), BYTES / 4096);
    io_file_close(io, file);
    cr_assert_eq(statfs(path, &fs), 0);
    if (fs.f_type != TMPFS_MAGIC) {
        cr_assert_eq(io_file_open(io, dir, "file", IO_OPEN_DIRECT, &file), 0);
        cr_assert_eq(pages_cached(posix_fd(file), BYTES), 0);
        cr_assert_eq(io_read_now(io, file, buffer, BYTES, 0), 0);
        cr_assert_eq(buffer[BYTES - 1], 'x');
        io_file_close(io, file);
    }
    free(buffer);
}

Test(io, files_are_direct_as_asked_for)
{
    struct io_file *file = open_new(IO_OPEN_DIRECT);
    const bool can = file->direct;
    io_file_close(io, file);
    io->direct = IO_DIRECT_OFF;
    cr_assert_eq(io_file_open(io, dir, "file", IO_OPEN_DIRECT, &file), 0);
    cr_assert(!file->direct);
    cr_assert_eq(io_write_now(io, file, "odd", 3, 1), 0);
    io_file_close(io, file);
    io->direct = IO_DIRECT_ON;
    const int result = io_file_open(io, dir, "file", IO_OPEN_DIRECT, &file);
    cr_assert_eq(result, can || TEST_BACKEND == IO_BACKEND_MMAP ? 0 : -EOPNOTSUPP);
    if (result == 0) {
        io_file_close(io, file);
    }
}

Test(io, more_operations_than_the_ring_holds_all_complete)
{
    enum { OPS = 3000 };
    struct io_file *file = open_new(0);
    static char buffer[OPS][16];
    static struct io_op ops[OPS];
    struct outcome outcome = {0};
    for (int i = 0; i < OPS; i++) {
        memcpy(buffer[i], &i, sizeof i);
        ops[i] = (struct io_op){.kind = IO_WRITE,
                                .file = file,
                                .buffer = buffer[i],
                                .bytes = 16,
                                .offset = (uint64_t)i * 16,
                                .done = note,
                                .context = &outcome};
        io_submit(io, &ops[i]);
    }
    cr_assert_eq(outcome.calls, 0);
    while (outcome.calls < OPS) {
        cr_assert_gt(io_wait(io, SECOND_NS), 0);
        cr_assert_eq(outcome.result, 0);
    }
    for (int i = 0; i < OPS; i++) {
        int found = -1;
        cr_assert_eq(io_read_now(io, file, &found, sizeof found, (uint64_t)i * 16), 0);
        cr_assert_eq(found, i);
    }
    io_file_close(io, file);
}

Test(io, polling_alone_reaps_completions)
{
    struct io_file *file = open_new(IO_OPEN_DIRECT);
    char *buffer = io_buffer_new(4096);
    struct outcome outcome = {0};
    struct io_op op = {.kind = IO_WRITE,
                       .file = file,
                       .buffer = buffer,
                       .bytes = 4096,
                       .done = note,
                       .context = &outcome};
    io_submit(io, &op);
    io_kick(io);
    while (outcome.calls == 0) {
        io_poll(io);
    }
    cr_assert_eq(outcome.result, 0);
    cr_assert_eq(io_poll(io), 0);
    free(buffer);
    io_file_close(io, file);
}

struct bell {
    struct io_watch watch;
    int rung;
    int removed;
};

static void bell_rings(struct io_watch *watch)
{
    struct bell *bell = watch->context;
    char bytes[64];
    while (recv(watch->fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
    bell->rung++;
}

static void bell_removed(struct io_watch *watch)
{
    struct bell *bell = watch->context;
    bell->removed++;
}

static void bell_init(struct bell *bell, int fd)
{
    *bell = (struct bell){
        .watch = {.fd = fd, .fn = bell_rings, .removed = bell_removed, .context = bell}};
    io_watch(io, &bell->watch);
}

Test(io, a_watch_tells_of_every_byte_and_of_the_end)
{
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct bell bell;
    bell_init(&bell, pair[0]);
    for (int i = 1; i <= 100; i++) {
        cr_assert_eq(send(pair[1], "x", 1, 0), 1);
        while (bell.rung < i) {
            cr_assert_gt(io_wait(io, SECOND_NS), 0);
        }
    }
    close(pair[1]);
    const int before = bell.rung;
    while (bell.rung == before) {
        cr_assert_gt(io_wait(io, SECOND_NS), 0);
    }
    io_unwatch(io, &bell.watch);
    cr_assert_eq(bell.removed, 0);
    while (bell.removed == 0) {
        cr_assert_gt(io_wait(io, SECOND_NS), 0);
    }
    cr_assert_eq(bell.removed, 1);
    close(pair[0]);
}

Test(io, watches_by_the_thousand_come_and_go)
{
    enum { BELLS = 2000 };
    static struct bell bells[BELLS];
    static int pairs[BELLS][2];
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){5000, 5000}), 0);
    for (int i = 0; i < BELLS; i++) {
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        bell_init(&bells[i], pairs[i][0]);
    }
    for (int i = 0; i < BELLS; i++) {
        cr_assert_eq(send(pairs[i][1], "x", 1, 0), 1);
    }
    for (int i = 0; i < BELLS; i++) {
        while (bells[i].rung == 0) {
            cr_assert_gt(io_wait(io, SECOND_NS), 0);
        }
    }
    for (int i = 0; i < BELLS; i++) {
        io_unwatch(io, &bells[i].watch);
    }
    for (int i = 0; i < BELLS; i++) {
        while (bells[i].removed == 0) {
            cr_assert_gt(io_wait(io, SECOND_NS), 0);
        }
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    cr_assert_eq(io_wait(io, 1000000), 0);
}

Test(io, a_watch_removed_before_it_was_armed_is_removed_once)
{
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct bell bell;
    bell_init(&bell, pair[0]);
    io_unwatch(io, &bell.watch);
    while (bell.removed == 0) {
        cr_assert_gt(io_wait(io, SECOND_NS), 0);
    }
    cr_assert_eq(io_wait(io, 1000000), 0);
    cr_assert_eq(bell.removed, 1);
    close(pair[0]);
    close(pair[1]);
}

Test(io, waiting_ends_with_its_time)
{
    cr_assert_eq(io_wait(io, 1000000), 0);
}

Test(io, what_is_no_regular_file_is_refused)
{
    char name[128];
    struct io_file *file = NULL;
    snprintf(name, sizeof name, "%s/link", path);
    cr_assert_eq(symlink("/dev/null", name), 0);
    cr_assert_eq(io_file_open(io, dir, "link", 0, &file), -ELOOP);
    cr_assert_eq(io_dir_open(io, dir, "link", &file), -ENOTDIR);
    snprintf(name, sizeof name, "%s/fifo", path);
    cr_assert_eq(mkfifo(name, 0600), 0);
    cr_assert_eq(io_file_open(io, dir, "fifo", 0, &file), -EINVAL);
    cr_assert_eq(io_dir_make(io, dir, "sub"), 0);
    cr_assert_eq(io_file_open(io, dir, "sub", 0, &file), -EISDIR);
    snprintf(name, sizeof name, "%s/sub", path);
    cr_assert_eq(rmdir(name), 0);
}

Test(io, names_can_be_changed_and_are_exclusive)
{
    struct io_file *file = open_new(0);
    struct io_file *again = NULL;
    cr_assert_eq(io_file_open(io, dir, "file", IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &again),
                 -EEXIST);
    cr_assert_eq(io_rename(io, dir, "file", "other"), 0);
    cr_assert_eq(io_file_open(io, dir, "file", 0, &again), -ENOENT);
    cr_assert_eq(io_file_open(io, dir, "other", 0, &again), 0);
    cr_assert_eq(io_sync_now(io, dir), 0);
    io_file_close(io, again);
    io_file_close(io, file);
}

Test(io, a_lock_is_one_holder_s_and_is_waited_for_until_the_deadline)
{
    struct io_file *holder = open_new(0);
    struct io_file *other = NULL;
    cr_assert_eq(io_file_open(io, dir, "file", 0, &other), 0);
    cr_assert_eq(io_file_lock(io, holder, 0), 0);
    cr_assert_eq(io_register_lock(io, holder), 0);
    cr_assert_eq(io_file_lock(io, other, 10000000), -EBUSY);
    io_file_close(io, holder);
    cr_assert_eq(io_file_lock(io, other, 10000000), TIED);
    io_file_close(io, other);
}

Test(io, locks_come_and_go_while_others_stay)
{
    enum { COUNT = 3 };
    struct io_file *holders[COUNT];
    struct io_file *others[COUNT];
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "lock-%d", i);
        cr_assert_eq(io_file_open(io, dir, name, IO_OPEN_CREATE, &holders[i]), 0);
        cr_assert_eq(io_file_open(io, dir, name, 0, &others[i]), 0);
        cr_assert_eq(io_file_lock(io, holders[i], 0), 0);
        cr_assert_eq(io_register_lock(io, holders[i]), 0);
    }
    io_forget_lock(io, holders[1]);
    for (int i = 0; i < COUNT; i++) {
        io_file_close(io, holders[i]);
    }
    cr_expect_eq(io_file_lock(io, others[0], 10000000), TIED);
    cr_expect_eq(io_file_lock(io, others[1], INT64_C(5000000000)), 0);
    cr_expect_eq(io_file_lock(io, others[2], 10000000), TIED);
    cr_expect_eq(io_register_lock(io, others[1]), 0);
    for (int i = 0; i < COUNT; i++) {
        io_file_close(io, others[i]);
    }
}
