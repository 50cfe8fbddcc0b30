/* I/O by io_uring: see io_uring.h. */
#include "broker/io_uring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/io_posix.h"
#include "broker/io_uring_probe.h"
#include "shm/layout.h"

enum {
    /* Pieces of memory that may be registered at a time; of at most REGION_BYTES_MAX each, which is
     * the kernel's limit. */
    REGIONS_MAX = 1024,
    /* Locks that may be registered at a time; fewer where RLIMIT_NOFILE is lower. */
    LOCKS_MAX = 1024,
    /* Completions handled in one poll, so that an engine's loop stays bounded. */
    REAP_MAX = 1024,
};
#define REGION_BYTES_MAX (UINT64_C(1) << 30)

/* Sizes of the rings' two queues. Each parked lane can have news at once; completions that do not fit
 * are kept by the kernel, at a cost. The small size fits the RLIMIT_MEMLOCK of 64 KiB of old
 * systems. */
static const struct ring_size {
    unsigned sq_entries;
    unsigned cq_entries;
} ring_sizes[] = {{256, 8192}, {64, 256}};

/* What a completion belongs to, in the low bits of its user data; the rest is the pointer. */
enum completion_kind {
    COMPLETION_OP = 0,
    COMPLETION_WATCH = 1,
    COMPLETION_CANCEL = 2,
    COMPLETION_KIND_MASK = 3,
};

struct uring {
    struct io io;
    struct io_uring ring;
    bool ring_open;
    bool started;
    /* Operations that found the submission queue full, oldest first. */
    struct io_op *waiting_first;
    struct io_op **waiting_end;
    /* Watches whose request found it full. */
    struct io_watch *watches_first;
    struct io_watch **watches_end;
    struct iovec *regions;  /* REGIONS_MAX as registered, a free one has length 0; NULL: no table */
    unsigned regions_count; /* those from here on are free */
    int *locks;             /* descriptors as registered, -1: free; NULL: no table */
    unsigned locks_count;
};

static struct uring *uring_of(struct io *io)
{
    return (struct uring *)io;
}

static void uring_close(struct io *io)
{
    struct uring *uring = uring_of(io);
    if (uring->ring_open) {
        io_uring_queue_exit(&uring->ring);
    }
    free(uring->regions);
    free(uring->locks);
    free(uring);
}

static int uring_start(struct io *io)
{
    struct uring *uring = uring_of(io);
    ensure(!uring->started);
    /* liburing 2.3 declares io_uring_enable_rings() but its shared library lacks it. */
    const int result =
        io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    uring->started = result == 0;
    return result;
}

/* Submission. */

static void submit_to_kernel(struct uring *uring)
{
    if (io_uring_sq_ready(&uring->ring) == 0) {
        return;
    }
    const int result = io_uring_submit(&uring->ring);
    /* Out of memory or the completion queue is full: what is left goes with the next pass. Anything
     * else says that this thread may not use the ring. */
    ensure(result >= 0 || result == -EAGAIN || result == -EBUSY || result == -EINTR ||
           result == -ENOMEM);
}

static struct io_uring_sqe *sqe_get(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL) {
        submit_to_kernel(uring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

/* The registered region that holds [buffer, buffer + bytes), or -1. */
static int region_of(const struct uring *uring, const void *buffer, uint64_t bytes)
{
    const uintptr_t at = (uintptr_t)buffer;
    for (unsigned i = 0; i < uring->regions_count; i++) {
        const uintptr_t base = (uintptr_t)uring->regions[i].iov_base;
        if (at >= base && layout_inside(at - base, bytes, uring->regions[i].iov_len)) {
            return (int)i;
        }
    }
    return -1;
}

static void prepare_transfer(const struct uring *uring, struct io_uring_sqe *sqe,
                             const struct io_op *op)
{
    char *buffer = (char *)op->buffer + op->moved;
    const unsigned bytes = (unsigned)(op->bytes - op->moved);
    const uint64_t at = op->offset + op->moved;
    const int fd = posix_fd(op->file);
    const int region = region_of(uring, buffer, bytes);
    if (op->kind == IO_READ) {
        if (region >= 0) {
            io_uring_prep_read_fixed(sqe, fd, buffer, bytes, at, region);
        } else {
            io_uring_prep_read(sqe, fd, buffer, bytes, at);
        }
        return;
    }
    if (region >= 0) {
        io_uring_prep_write_fixed(sqe, fd, buffer, bytes, at, region);
    } else {
        io_uring_prep_write(sqe, fd, buffer, bytes, at);
    }
    sqe->rw_flags = op->dsync ? RWF_DSYNC : 0;
}

static void prepare_op(const struct uring *uring, struct io_uring_sqe *sqe, struct io_op *op)
{
    const int fd = posix_fd(op->file);
    switch (op->kind) {
    case IO_READ:
    case IO_WRITE:
        prepare_transfer(uring, sqe, op);
        break;
    case IO_SYNC:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        break;
    case IO_FSYNC:
        io_uring_prep_fsync(sqe, fd, 0);
        break;
    case IO_ALLOCATE:
        io_uring_prep_fallocate(sqe, fd, 0, (off_t)op->offset, (off_t)op->bytes);
        break;
    }
    io_uring_sqe_set_data64(sqe, (uintptr_t)op | COMPLETION_OP);
}

static void op_queue(struct uring *uring, struct io_op *op)
{
    struct io_uring_sqe *sqe = uring->waiting_first == NULL ? sqe_get(uring) : NULL;
    if (sqe != NULL) {
        prepare_op(uring, sqe, op);
        return;
    }
    op->next = NULL;
    *uring->waiting_end = op;
    uring->waiting_end = &op->next;
}

static void uring_submit(struct io *io, struct io_op *op)
{
    op_queue(uring_of(io), op);
}

static void watch_prepare(struct io_uring_sqe *sqe, struct io_watch *watch)
{
    if (watch->removing) {
        io_uring_prep_cancel64(sqe, (uintptr_t)watch | COMPLETION_WATCH, 0);
        io_uring_sqe_set_data64(sqe, (uintptr_t)watch | COMPLETION_CANCEL);
        return;
    }
    io_uring_prep_poll_multishot(sqe, watch->fd, POLLIN | POLLRDHUP);
    io_uring_sqe_set_data64(sqe, (uintptr_t)watch | COMPLETION_WATCH);
    watch->armed = true;
}

/* Asks the kernel to arm the watch, or to cancel it if it is being removed. */
static void watch_queue(struct uring *uring, struct io_watch *watch)
{
    struct io_uring_sqe *sqe = uring->watches_first == NULL ? sqe_get(uring) : NULL;
    if (sqe != NULL) {
        watch_prepare(sqe, watch);
        return;
    }
    watch->next = NULL;
    *uring->watches_end = watch;
    uring->watches_end = &watch->next;
}

static bool watch_is_queued(const struct uring *uring, const struct io_watch *watch)
{
    const struct io_watch *queued = uring->watches_first;
    while (queued != NULL && queued != watch) {
        queued = queued->next;
    }
    return queued != NULL;
}

static void uring_watch(struct io *io, struct io_watch *watch)
{
    watch->armed = false;
    watch->removing = false;
    watch_queue(uring_of(io), watch);
}

static void uring_unwatch(struct io *io, struct io_watch *watch)
{
    struct uring *uring = uring_of(io);
    ensure(!watch->removing);
    watch->removing = true;
    /* If it is still queued for arming, watch_prepare() sees `removing`: the cancel finds nothing
     * and its completion reports the removal. */
    if (!watch_is_queued(uring, watch)) {
        watch_queue(uring, watch);
    }
}

static void queue_drain(struct uring *uring)
{
    struct io_uring_sqe *sqe;
    while (uring->watches_first != NULL && (sqe = sqe_get(uring)) != NULL) {
        struct io_watch *watch = uring->watches_first;
        uring->watches_first = watch->next;
        watch_prepare(sqe, watch);
    }
    if (uring->watches_first == NULL) {
        uring->watches_end = &uring->watches_first;
    }
    while (uring->waiting_first != NULL && (sqe = sqe_get(uring)) != NULL) {
        struct io_op *op = uring->waiting_first;
        uring->waiting_first = op->next;
        prepare_op(uring, sqe, op);
    }
    if (uring->waiting_first == NULL) {
        uring->waiting_end = &uring->waiting_first;
    }
}

static void uring_kick(struct io *io)
{
    struct uring *uring = uring_of(io);
    queue_drain(uring);
    submit_to_kernel(uring);
}

/* Completion. */

static void op_complete(struct uring *uring, struct io_op *op, int result)
{
    const int step = posix_step(op, result);
    if (step == IO_STEP_AGAIN) {
        op_queue(uring, op);
        return;
    }
    uring->io.in_flight--;
    op->done(op, step);
}

static void watch_complete(struct uring *uring, struct io_watch *watch, int result, unsigned flags)
{
    ensure(result != -EBADF);
    const bool more = flags & IORING_CQE_F_MORE;
    if (!more) {
        watch->armed = false;
    }
    if (watch->removing) {
        return; /* the cancel's completion says that it is over */
    }
    if (!more) {
        watch_queue(uring, watch);
    }
    watch->fn(watch);
}

/*
 * The kernel posts the cancelled poll's last completion before or after this one, so the watch is
 * removed by whichever comes second: while `armed`, the cancel is simply repeated. It finds nothing
 * more once the poll is gone.
 */
static void cancel_complete(struct uring *uring, struct io_watch *watch)
{
    if (watch->armed) {
        watch_queue(uring, watch);
        return;
    }
    watch->removed(watch);
}

static void cqe_handle(struct uring *uring, uint64_t data, int result, unsigned flags)
{
    void *object = (void *)(uintptr_t)(data & ~(uint64_t)COMPLETION_KIND_MASK);
    switch ((enum completion_kind)(data & COMPLETION_KIND_MASK)) {
    case COMPLETION_OP:
        op_complete(uring, object, result);
        break;
    case COMPLETION_WATCH:
        watch_complete(uring, object, result, flags);
        break;
    case COMPLETION_CANCEL:
        cancel_complete(uring, object);
        break;
    case COMPLETION_KIND_MASK:
    default:
        ensure(!"a completion of no kind");
    }
}

/* io_uring_peek_cqe() enters the kernel only when the ring's flags say that it must: task work to
 * run, or completions that did not fit. */
static unsigned reap(struct uring *uring)
{
    unsigned handled = 0;
    struct io_uring_cqe *cqe;
    while (handled < REAP_MAX && io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
        const uint64_t data = cqe->user_data;
        const int result = cqe->res;
        const unsigned flags = cqe->flags;
        io_uring_cqe_seen(&uring->ring, cqe);
        cqe_handle(uring, data, result, flags);
        handled++;
    }
    return handled;
}

/* Looks at the ring's memory only: completions, or a flag that says that the kernel has some. */
static bool has_news(const struct uring *uring)
{
    const unsigned flags = IO_URING_READ_ONCE(*uring->ring.sq.kflags);
    return io_uring_cq_ready(&uring->ring) != 0 ||
           (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

static unsigned uring_poll(struct io *io)
{
    struct uring *uring = uring_of(io);
    uring_kick(io);
    if (!has_news(uring)) {
        return 0;
    }
    const unsigned handled = reap(uring);
    if (handled != 0) {
        uring_kick(io);
    }
    return handled;
}

static int uring_wait(struct io *io, int64_t timeout_ns)
{
    struct uring *uring = uring_of(io);
    queue_drain(uring);
    struct __kernel_timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                        .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_cqe *cqe = NULL;
    const int result = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1,
                                                        timeout_ns < 0 ? NULL : &timeout, NULL);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN &&
        result != -EBUSY && result != -ENOMEM) {
        return result;
    }
    const unsigned handled = reap(uring);
    uring_kick(io);
    return (int)handled;
}

/* Registration. */

/* Kernels before 5.19 know no table to fill in later: there every region is used unregistered. */
static int regions_prepare(struct uring *uring)
{
    if (uring->regions != NULL) {
        return 0;
    }
    struct iovec *regions = calloc(REGIONS_MAX, sizeof *regions);
    if (regions == NULL) {
        return -ENOMEM;
    }
    const int result = io_uring_register_buffers_sparse(&uring->ring, REGIONS_MAX);
    if (result < 0) {
        free(regions);
        return IO_BUFFERS_UNREGISTERED;
    }
    uring->regions = regions;
    return 0;
}

/* Puts a piece into a place of the table; one of length 0 empties it. */
static int region_put(struct uring *uring, unsigned at, struct iovec piece)
{
    const int result = io_uring_register_buffers_update_tag(&uring->ring, at, &piece, NULL, 1);
    if (result != 1) {
        return result == -EFAULT ? result : IO_BUFFERS_UNREGISTERED;
    }
    uring->regions[at] = piece;
    if (at >= uring->regions_count) {
        uring->regions_count = at + 1;
    }
    while (uring->regions_count > 0 && uring->regions[uring->regions_count - 1].iov_len == 0) {
        uring->regions_count--;
    }
    return 0;
}

static int region_add(struct uring *uring, struct iovec piece)
{
    unsigned at = 0;
    while (at < uring->regions_count && uring->regions[at].iov_len != 0) {
        at++;
    }
    return at < REGIONS_MAX ? region_put(uring, at, piece) : IO_BUFFERS_UNREGISTERED;
}

static void uring_forget_buffers(struct io *io, const struct iovec *regions, unsigned count)
{
    struct uring *uring = uring_of(io);
    for (unsigned at = uring->regions_count; at-- > 0;) {
        const struct iovec piece = uring->regions[at];
        for (unsigned i = 0; i < count && piece.iov_len != 0; i++) {
            const uintptr_t from = (uintptr_t)piece.iov_base - (uintptr_t)regions[i].iov_base;
            if (layout_inside(from, piece.iov_len, regions[i].iov_len)) {
                (void)region_put(uring, at, (struct iovec){0});
                break;
            }
        }
    }
}

static int uring_register_buffers(struct io *io, const struct iovec *regions, unsigned count)
{
    struct uring *uring = uring_of(io);
    int result = regions_prepare(uring);
    for (unsigned i = 0; i < count && result == 0; i++) {
        for (size_t from = 0; from < regions[i].iov_len && result == 0; from += REGION_BYTES_MAX) {
            const size_t rest = regions[i].iov_len - from;
            result = region_add(
                uring,
                (struct iovec){.iov_base = (char *)regions[i].iov_base + from,
                               .iov_len = rest < REGION_BYTES_MAX ? rest : REGION_BYTES_MAX});
        }
    }
    if (result != 0) {
        uring_forget_buffers(io, regions, count);
    }
    return result;
}

/* A table without locks, as large as the limit of descriptors allows. */
static int locks_prepare(struct uring *uring)
{
    if (uring->locks != NULL) {
        return 0;
    }
    int *locks = malloc(LOCKS_MAX * sizeof *locks);
    if (locks == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < LOCKS_MAX; i++) {
        locks[i] = -1;
    }
    int result = -EMFILE;
    unsigned count = 2 * LOCKS_MAX;
    while (result == -EMFILE && count > 1) {
        count /= 2;
        result = io_uring_register_files(&uring->ring, locks, count);
    }
    if (result != 0) {
        free(locks);
        return result;
    }
    uring->locks = locks;
    uring->locks_count = count;
    return 0;
}

static int lock_put(struct uring *uring, unsigned at, int fd)
{
    const int result = io_uring_register_files_update(&uring->ring, at, &fd, 1);
    if (result != 1) {
        return result < 0 ? result : -EIO;
    }
    uring->locks[at] = fd;
    return 0;
}

static int uring_register_lock(struct io *io, struct io_file *lock)
{
    struct uring *uring = uring_of(io);
    const int result = locks_prepare(uring);
    for (unsigned at = 0; at < uring->locks_count && result == 0; at++) {
        if (uring->locks[at] == -1) {
            return lock_put(uring, at, posix_fd(lock));
        }
    }
    return result != 0 ? result : -ENOSPC;
}

static void uring_forget_lock(struct io *io, struct io_file *lock)
{
    struct uring *uring = uring_of(io);
    for (unsigned at = 0; at < uring->locks_count; at++) {
        if (uring->locks[at] == posix_fd(lock)) {
            (void)lock_put(uring, at, -1);
            return;
        }
    }
}

static const struct io_ops uring_ops = {
    .name = "uring",
    .close = uring_close,
    .start = uring_start,
    .submit = uring_submit,
    .kick = uring_kick,
    .poll = uring_poll,
    .wait = uring_wait,
    .watch = uring_watch,
    .unwatch = uring_unwatch,
    .register_buffers = uring_register_buffers,
    .register_lock = uring_register_lock,
    .forget_buffers = uring_forget_buffers,
    .forget_lock = uring_forget_lock,
    .dir_make = posix_dir_make,
    .dir_open = posix_dir_open,
    .dir_list = posix_dir_list,
    .file_open = posix_file_open,
    .file_close = posix_file_close,
    .file_size = posix_file_size,
    .file_lock = posix_file_lock,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .dir_remove = posix_dir_remove,
    .now = posix_now,
};

/* Best first: 6.1, 6.0, 5.19, 5.10. An older kernel answers -EINVAL to flags it does not know. */
static const unsigned ring_flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    0,
};

static int ring_open_sized(struct uring *uring, struct ring_size size)
{
    int result = -EINVAL;
    for (size_t i = 0; i < sizeof ring_flags / sizeof *ring_flags && result == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = ring_flags[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE,
            .cq_entries = size.cq_entries,
        };
        result = io_uring_queue_init_params(size.sq_entries, &uring->ring, &params);
    }
    return result;
}

static int ring_open(struct uring *uring)
{
    int result = -ENOMEM;
    for (size_t i = 0; i < sizeof ring_sizes / sizeof *ring_sizes && result == -ENOMEM; i++) {
        result = ring_open_sized(uring, ring_sizes[i]);
    }
    uring->ring_open = result == 0;
    return result;
}

int io_uring_open(struct io **out, struct fault *fault)
{
    struct uring *uring = calloc(1, sizeof *uring);
    if (uring == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for an io_uring");
    }
    uring->io.ops = &uring_ops;
    uring->waiting_end = &uring->waiting_first;
    uring->watches_end = &uring->watches_first;
    int result = io_uring_try();
    if (result == 0) {
        result = ring_open(uring);
    }
    if (result != 0) {
        char reason[IO_URING_REFUSAL_BYTES];
        io_uring_refusal(result, IO_URING_SYSCTL, reason, sizeof reason);
        uring_close(&uring->io);
        return fault_set(fault, -ENOSYS, "%s", reason);
    }
    *out = &uring->io;
    return 0;
}
