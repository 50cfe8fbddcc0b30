/*
 * Plain writer: see plain_writer.h. Records follow each other through the file and begin anew at
 * its end. The file has no name once it is open, so nothing can be left behind.
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

static int file_prepare(int fd)
{
    static const char zeros[BLOCK_BYTES];

    for (off_t at = 0; at < FILE_BYTES; at += BLOCK_BYTES) {
        if (pwrite(fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros) {
            return -EIO;
        }
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int plain_prepare(struct worker *worker)
{
    const struct plain_plan *plan = worker->arg;
    struct plain *plain = calloc(1, sizeof *plain);
    char path[PATH_MAX];
    char link[64];

    if (!plain || !(plain->record = calloc(1, plan->size))) {
        return worker_fail(worker, -ENOMEM, "making a record");
    }
    worker->state = plain;
    snprintf(path, sizeof path, "%s/tusk-bench-plain-XXXXXX", plan->directory);
    const int made = mkstemp(path);
    if (made < 0) {
        return worker_fail(worker, -errno, "making a file");
    }
    int result = file_prepare(made);
    snprintf(link, sizeof link, "/proc/self/fd/%d", made);
    plain->fd = open(link, O_WRONLY | O_DSYNC | O_CLOEXEC);
    result = plain->fd < 0 ? -errno : result;
    unlink(path);
    close(made);
    return result < 0 ? worker_fail(worker, result, "preparing a file") : 0;
}

static int plain_work(struct worker *worker)
{
    const struct plain_plan *plan = worker->arg;
    struct plain *plain = worker->state;
    struct worker_result *sum = worker->result;
    off_t at = 0;
    uint64_t before_ns = clock_now_ns();

    while (!worker_stopped(worker)) {
        if (pwrite(plain->fd, plain->record, plan->size, at) != (ssize_t)plan->size) {
            return worker_fail(worker, errno ? -errno : -EIO, "pwrite");
        }
        const uint64_t now_ns = clock_now_ns();
        histogram_add(&sum->latency_ns, now_ns - before_ns);
        before_ns = now_ns;
        at += (off_t)plan->size;
        at = at + (off_t)plan->size > FILE_BYTES ? 0 : at;
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

struct role plain_role(unsigned processes, const struct plain_plan *plan)
{
    return (struct role){.processes = processes,
                         .threads = 1,
                         .offline = true,
                         .prepare = plain_prepare,
                         .work = plain_work,
                         .finish = plain_finish,
                         .arg = plan};
}
