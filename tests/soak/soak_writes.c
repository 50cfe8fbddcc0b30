/*
 * Soak: entries of 1 KiB far beyond the arena reach the disk at 0.8 or more of what a program gets
 * that does nothing but write.
 * How:        one producer process appends SOAK_BYTES (10G) of entries to a broker with its default
 *             arena and --fsync 200ms, waiting for nothing but room, and then asks until all is
 *             durable. In turn with it a plain writer fills preallocated files with the same bytes:
 *             O_DIRECT, io_uring, 8 writes of 256 KiB in flight from registered memory, fdatasync
 *             at the end of each file; making the files is not counted. SOAK_RUNS (3) of each, the
 *             medians are compared. SOAK_OPTIONS are further options of tuskd, SOAK_LANE_BYTES the size of the
 *             producer's lane.
 * Accepts:    a ratio of SOAK_RATIO_PERCENT (80) or more: exit status 0, else 1.
 */
#include <fcntl.h>
#include <ftw.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/support/process.h"
#include "tests/support/session.h"

enum {
    ENTRY_BYTES = 1024,
    WRITE_BYTES = 256 * 1024,
    DEPTH = 8,
    RUNS_MAX = 15,
    SECONDS = 3600,
};
#define FILE_BYTES (UINT64_C(1) << 30)

struct run {
    double plain; /* bytes per second */
    double tusk;
};

static uint64_t setting(const char *name, uint64_t value)
{
    const char *text = getenv(name);
    if (text == NULL) {
        return value;
    }
    char *end = NULL;
    value = strtoull(text, &end, 10);
    const char *units = "KMG";
    const char *unit = *end != 0 ? strchr(units, *end) : NULL;
    check_say(end != text && (*end == 0 || unit != NULL), "%s=%s is no number", name, text);
    return unit != NULL ? value << 10 * (unit - units + 1) : value;
}

/* The plain writer. */

struct plain {
    struct io_uring ring;
    unsigned char *buffers; /* DEPTH of them, registered */
    uint64_t bytes;         /* of the file */
    uint64_t next;          /* offset of the next write */
    int fd;
};

static void plain_write(struct plain *plain, uint64_t buffer)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&plain->ring);
    check(sqe != NULL);
    io_uring_prep_write_fixed(sqe, plain->fd, plain->buffers + buffer * WRITE_BYTES, WRITE_BYTES,
                              plain->next, 0);
    io_uring_sqe_set_data64(sqe, buffer);
    plain->next += WRITE_BYTES;
}

/* Fills one file from its beginning to its end. */
static void plain_fill(struct plain *plain)
{
    uint64_t in_flight = 0;
    plain->next = 0;
    while (in_flight < DEPTH && plain->next < plain->bytes) {
        plain_write(plain, in_flight++);
    }
    while (in_flight > 0) {
        struct io_uring_cqe *cqe = NULL;
        check(io_uring_submit_and_wait(&plain->ring, 1) >= 0);
        while (io_uring_peek_cqe(&plain->ring, &cqe) == 0) {
            check_is(cqe->res, WRITE_BYTES);
            const uint64_t buffer = cqe->user_data;
            io_uring_cqe_seen(&plain->ring, cqe);
            in_flight--;
            if (plain->next < plain->bytes) {
                plain_write(plain, buffer);
                in_flight++;
            }
        }
    }
    check(fdatasync(plain->fd) == 0);
}

static int plain_file_new(const char *dir, uint64_t bytes)
{
    char path[SCRATCH_PATH_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/plain", dir);
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
    check_say(fd >= 0, "cannot make %s: %m", path);
    check_say(fallocate(fd, 0, 0, (off_t)bytes) == 0, "no room for %s: %m", path);
    check(fsync(fd) == 0);
    return fd;
}

/* All files stay until the end, so that no block is given back and written again. */
static double plain_run(const char *dir, uint64_t bytes)
{
    char path[SCRATCH_PATH_BYTES + 16];
    int fds[1024];
    struct plain plain = {.fd = -1};
    size_t files = 0;
    uint64_t spent_ns = 0;
    plain.buffers = aligned_alloc(4096, (size_t)DEPTH * WRITE_BYTES);
    check(plain.buffers != NULL);
    memset(plain.buffers, 0x5a, (size_t)DEPTH * WRITE_BYTES);
    const struct iovec region = {plain.buffers, (size_t)DEPTH * WRITE_BYTES};
    check(io_uring_queue_init(2 * DEPTH, &plain.ring, 0) == 0);
    check(io_uring_register_buffers(&plain.ring, &region, 1) == 0);
    (void)snprintf(path, sizeof path, "%s/plain", dir);
    for (uint64_t done = 0; done < bytes; done += plain.bytes) {
        plain.bytes = bytes - done < FILE_BYTES ? bytes - done : FILE_BYTES;
        check(files < sizeof fds / sizeof *fds);
        plain.fd = plain_file_new(dir, plain.bytes);
        check(unlink(path) == 0);
        fds[files++] = plain.fd;
        const uint64_t begin_ns = now_ns();
        plain_fill(&plain);
        spent_ns += now_ns() - begin_ns;
    }
    while (files > 0) {
        (void)close(fds[--files]);
    }
    io_uring_queue_exit(&plain.ring);
    free(plain.buffers);
    return (double)bytes * 1e9 / (double)spent_ns;
}

/* Tusk. */

static void append_all(struct tusk_topic *topic, uint64_t count)
{
    static unsigned char data[ENTRY_BYTES];
    for (uint64_t n = 0; n < count; n++) {
        memcpy(data, &n, sizeof n);
        int result = tusk_submit(topic, data, sizeof data, 0);
        while (result == -EAGAIN) {
            check_is(tusk_wait(tusk, 30000), 1);
            result = tusk_submit(topic, data, sizeof data, 0);
        }
        check_ok(result);
    }
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static double tusk_run(uint64_t bytes, const char *options)
{
    const uint64_t count = bytes / ENTRY_BYTES;
    broker = tuskd_start(options);
    struct tusk_options lane = TUSK_OPTIONS_INIT;
    lane.lane_bytes = setting("SOAK_LANE_BYTES", 0);
    tusk = attach_with(broker, lane);
    struct tusk_topic *topic = topic_of(tusk, "t");
    const uint64_t cpu_ms = process_count(getpid()).cpu_ms;
    const uint64_t begin_ns = now_ns();
    append_all(topic, count);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    const uint64_t spent_ns = now_ns() - begin_ns;
    check_is(info_of(topic).durable_seq, count);
    const uint64_t syncs = counter_of(tusk, "syncs_total");
    printf(
        "  %llu syncs of %.1f ms, %llu times no room in the arena; busy: broker %.0f%%, producer "
        "%.0f%%\n",
        (unsigned long long)syncs,
        (double)counter_of(tusk, "sync_ns_total") / 1e6 / (double)(syncs > 0 ? syncs : 1),
        (unsigned long long)counter_of(tusk, "arena_waits_total"),
        (double)process_count(broker->pid).cpu_ms * 1e8 / (double)spent_ns,
        (double)(process_count(getpid()).cpu_ms - cpu_ms) * 1e8 / (double)spent_ns);
    tusk_disconnect(tusk);
    tuskd_kill(broker);
    check(nftw(broker->data, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
    return (double)bytes * 1e9 / (double)spent_ns;
}

static int by_size(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(const struct run *runs, size_t count, size_t member)
{
    double values[RUNS_MAX];
    for (size_t i = 0; i < count; i++) {
        memcpy(&values[i], (const char *)&runs[i] + member, sizeof values[i]);
    }
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

int main(void)
{
    const uint64_t bytes = setting("SOAK_BYTES", UINT64_C(10) << 30) / WRITE_BYTES * WRITE_BYTES;
    const uint64_t count = setting("SOAK_RUNS", 3);
    const uint64_t percent_min = setting("SOAK_RATIO_PERCENT", 80);
    const char *more = getenv("SOAK_OPTIONS");
    char options[512];
    struct run runs[RUNS_MAX];
    char dir[SCRATCH_PATH_BYTES];
    check(count >= 1 && count <= RUNS_MAX && bytes > 0);
    (void)snprintf(options, sizeof options, "--arena 128M --fsync 200ms %s",
                   more != NULL ? more : "");
    deadline_set(SECONDS);
    scratch_on_disk(dir);
    printf("%.1f GiB in entries of %d bytes, tuskd %s\n", (double)bytes / (1 << 30), ENTRY_BYTES,
           options);
    for (size_t i = 0; i < count; i++) {
        runs[i].plain = plain_run(dir, bytes);
        runs[i].tusk = tusk_run(bytes, options);
        printf("run %zu: plain %.0f MB/s, tusk %.0f MB/s, ratio %.2f\n", i + 1, runs[i].plain / 1e6,
               runs[i].tusk / 1e6, runs[i].tusk / runs[i].plain);
        (void)fflush(stdout);
    }
    const double plain = median(runs, count, offsetof(struct run, plain));
    const double ratio = median(runs, count, offsetof(struct run, tusk)) / plain;
    printf("median: plain %.0f MB/s, tusk %.0f MB/s, ratio %.2f, wanted %.2f\n", plain / 1e6,
           ratio * plain / 1e6, ratio, (double)percent_min / 100);
    return ratio * 100 >= (double)percent_min ? 0 : 1;
}
