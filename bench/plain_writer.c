/*
 * Plain writer: see plain_writer.h. Records follow each other through a file, those of the processes
 * in turn where they share it, and begin anew at its end. Files have no names once they are open, so
 * nothing can be left behind.
 */
#include "bench/plain_writer.h"

#include "bench/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_BYTES (4 << 20)
#define BLOCK_BYTES (64 << 10)

struct plain {
    int fd;
    char *record;
};

static int file_fill(int fd)
{
    static const char zeros[BLOCK_BYTES];

    for (off_t at = 0; at < FILE_BYTES; at += BLOCK_BYTES) {
        if (pwrite(fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros) {
            return -EIO;
        }
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int plain_file_make(const char *directory)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/tusk-bench-plain-XXXXXX", directory);
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    unlink(path);
    const int result = file_fill(fd);
    if (result < 0) {
        close(fd);
        return result;
    }
    return fd;
}

/* Another description of the same file, with O_DSYNC. */
static int file_open_synced(int fd)
{
    char link[64];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const int synced = open(link, O_WRONLY | O_DSYNC | O_CLOEXEC);
    return synced < 0 ? -errno : synced;
}

static int plain_prepare(struct worker *worker)
{
    const struct plain_plan *plan = worker->arg;
    struct plain *plain = calloc(1, sizeof *plain);

    if (!plain || !(plain->record = calloc(1, plan->size))) {
        return worker_fail(worker, -ENOMEM, "making a record");
    }
    worker->state = plain;
    const int file = plan->shared_fd < 0 ? plain_file_make(plan->directory) : plan->shared_fd;
    if (file < 0) {
        return worker_fail(worker, file, "making a file");
    }
    plain->fd = file_open_synced(file);
    close(file);
    return plain->fd < 0 ? worker_fail(worker, plain->fd, "opening a file with O_DSYNC") : 0;
}

static int plain_work(struct worker *worker)
{
    const struct plain_plan *plan = worker->arg;
    struct plain *plain = worker->state;
    struct worker_result *sum = worker->result;
    const bool shared = plan->shared_fd >= 0;
    const off_t begin = shared ? (off_t)(worker->number * plan->size) : 0;
    const off_t step = (off_t)((shared ? plan->processes : 1) * plan->size);
    off_t at = begin;
    uint64_t before_ns = clock_now_ns();

    while (sum->entries == 0 || !worker_stopped(worker)) {
        if (pwrite(plain->fd, plain->record, plan->size, at) != (ssize_t)plan->size) {
            return worker_fail(worker, errno ? -errno : -EIO, "pwrite");
        }
        const uint64_t now_ns = clock_now_ns();
        histogram_add(&sum->latency_ns, now_ns - before_ns);
        before_ns = now_ns;
        at += step;
        at = at + (off_t)plan->size > FILE_BYTES ? begin : at;
        sum->entries++;
    }
    sum->operations = sum->entries;
    sum->bytes = sum->entries * plan->size;
    return 0;
}

static void plain_finish(struct worker *worker)
{
    struct plain *plain = worker->state;

    close(plain->fd);
    free(plain->record);
    free(plain);
}

struct role plain_role(const struct plain_plan *plan)
{
    return (struct role){.processes = plan->processes,
                         .threads = 1,
                         .offline = true,
                         .prepare = plain_prepare,
                         .work = plain_work,
                         .finish = plain_finish,
                         .arg = plan};
}
