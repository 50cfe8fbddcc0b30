/* I/O throttle: see io_throttle.h. */
#include "tests/support/io_throttle.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "shm/ensure.h"

/* While something is held the rate is looked at this often. */
#define LOOK_NS INT64_C(1000000)

/* The operation below stands for the caller's. */
struct slow_op {
    struct io_op op;
    struct io_op *above;
    struct slow_io *io;
    struct slow_op *next;
};

struct slow_io {
    struct io io;
    struct io_ops ops;
    struct io *below;
    struct throttle *throttle;
    struct slow_op *first; /* held, oldest first */
    struct slow_op **end;
    uint64_t turn_ns; /* when the last one that went had its turn */
};

static struct slow_io *slow_of(struct io *io)
{
    return (struct slow_io *)io;
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void slow_done(struct io_op *op, int result)
{
    struct slow_op *slow = op->context;
    struct io_op *above = slow->above;
    slow->io->io.in_flight--;
    free(slow);
    above->done(above, result);
}

static void slow_submit(struct io *io, struct io_op *op)
{
    struct slow_io *own = slow_of(io);
    struct slow_op *slow = malloc(sizeof *slow);
    ensure(slow != NULL);
    *slow = (struct slow_op){.op = *op, .above = op, .io = own};
    slow->op.done = slow_done;
    slow->op.context = slow;
    if (op->kind == IO_READ || op->kind == IO_ALLOCATE) {
        io_submit(own->below, &slow->op);
        return;
    }
    *own->end = slow;
    own->end = &slow->next;
    __atomic_store_n(&own->throttle->held, own->throttle->held + 1, __ATOMIC_RELAXED);
}

/* Has the oldest one its turn now? */
static bool turn_has_come(struct slow_io *own, uint64_t now_ns)
{
    const uint64_t rate = __atomic_load_n(&own->throttle->bytes_per_s, __ATOMIC_RELAXED);
    if (rate == THROTTLE_STALLED || rate == THROTTLE_NONE) {
        own->turn_ns = now_ns;
        return rate == THROTTLE_NONE;
    }
    const uint64_t takes_ns = own->first->op.bytes * UINT64_C(1000000000) / rate;
    if (now_ns < own->turn_ns + takes_ns) {
        return false;
    }
    own->turn_ns = own->turn_ns + 2 * takes_ns < now_ns ? now_ns : own->turn_ns + takes_ns;
    return true;
}

static void turns_take(struct slow_io *own)
{
    if (own->first == NULL) {
        return;
    }
    const uint64_t now_ns = clock_ns();
    while (own->first != NULL && turn_has_come(own, now_ns)) {
        struct slow_op *slow = own->first;
        own->first = slow->next;
        if (own->first == NULL) {
            own->end = &own->first;
        }
        __atomic_store_n(&own->throttle->held, own->throttle->held - 1, __ATOMIC_RELAXED);
        io_submit(own->below, &slow->op);
    }
}

static void slow_kick(struct io *io)
{
    turns_take(slow_of(io));
    io_kick(slow_of(io)->below);
}

static unsigned slow_poll(struct io *io)
{
    turns_take(slow_of(io));
    return io_poll(slow_of(io)->below);
}

static int slow_wait(struct io *io, int64_t timeout_ns)
{
    struct slow_io *own = slow_of(io);
    turns_take(own);
    const bool held = own->first != NULL;
    const int64_t limit_ns =
        held && (timeout_ns < 0 || timeout_ns > LOOK_NS) ? LOOK_NS : timeout_ns;
    return io_wait(own->below, limit_ns);
}

static void slow_close(struct io *io)
{
    io_close(slow_of(io)->below);
    free(io);
}

static int slow_start(struct io *io)
{
    return io_start(slow_of(io)->below);
}

static void slow_watch(struct io *io, struct io_watch *watch)
{
    io_watch(slow_of(io)->below, watch);
}

static void slow_unwatch(struct io *io, struct io_watch *watch)
{
    io_unwatch(slow_of(io)->below, watch);
}

static int slow_register_buffers(struct io *io, const struct iovec *regions, unsigned count)
{
    return io_register_buffers(slow_of(io)->below, regions, count);
}

static int slow_register_lock(struct io *io, struct io_file *lock)
{
    return io_register_lock(slow_of(io)->below, lock);
}

static void slow_forget_buffers(struct io *io, const struct iovec *regions, unsigned count)
{
    io_forget_buffers(slow_of(io)->below, regions, count);
}

static void slow_forget_lock(struct io *io, struct io_file *lock)
{
    io_forget_lock(slow_of(io)->below, lock);
}

static int slow_dir_make(struct io *io, struct io_file *dir, const char *name)
{
    return io_dir_make(slow_of(io)->below, dir, name);
}

static int slow_dir_open(struct io *io, struct io_file *dir, const char *name, struct io_file **out)
{
    return io_dir_open(slow_of(io)->below, dir, name, out);
}

static int slow_dir_list(struct io *io, struct io_file *dir, io_list_fn fn, void *context)
{
    return io_dir_list(slow_of(io)->below, dir, fn, context);
}

static int slow_file_open(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                          struct io_file **out)
{
    return io_file_open(slow_of(io)->below, dir, name, flags, out);
}

static void slow_file_close(struct io *io, struct io_file *file)
{
    io_file_close(slow_of(io)->below, file);
}

static int slow_file_size(struct io *io, struct io_file *file, uint64_t *bytes)
{
    return io_file_size(slow_of(io)->below, file, bytes);
}

static int slow_file_lock(struct io *io, struct io_file *file, int64_t timeout_ns)
{
    return io_file_lock(slow_of(io)->below, file, timeout_ns);
}

static int slow_rename(struct io *io, struct io_file *dir, const char *from, const char *to)
{
    return io_rename(slow_of(io)->below, dir, from, to);
}

static int slow_unlink(struct io *io, struct io_file *dir, const char *name)
{
    return io_unlink(slow_of(io)->below, dir, name);
}

static int slow_now(struct io *io, struct io_op *op)
{
    return io_now(slow_of(io)->below, op);
}

struct io *io_throttle_new(struct io *below, struct throttle *throttle)
{
    struct slow_io *own = malloc(sizeof *own);
    ensure(own != NULL);
    *own = (struct slow_io){
        .ops = {.name = below->ops->name,
                .close = slow_close,
                .start = slow_start,
                .submit = slow_submit,
                .kick = slow_kick,
                .poll = slow_poll,
                .wait = slow_wait,
                .watch = slow_watch,
                .unwatch = slow_unwatch,
                .register_buffers = slow_register_buffers,
                .register_lock = slow_register_lock,
                .forget_buffers = slow_forget_buffers,
                .forget_lock = slow_forget_lock,
                .dir_make = slow_dir_make,
                .dir_open = slow_dir_open,
                .dir_list = slow_dir_list,
                .file_open = slow_file_open,
                .file_close = slow_file_close,
                .file_size = slow_file_size,
                .file_lock = slow_file_lock,
                .rename = slow_rename,
                .unlink = slow_unlink,
                .now = slow_now},
        .below = below,
        .throttle = throttle,
    };
    own->io.ops = &own->ops;
    own->end = &own->first;
    return &own->io;
}

/* Instead of io_open() in tuskd_throttled. */

static struct throttle *throttle_of_environment(void)
{
    const char *path = getenv(THROTTLE_VARIABLE);
    const int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    ensure(fd >= 0);
    void *memory = mmap(NULL, sizeof(struct throttle), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ensure(memory != MAP_FAILED);
    close(fd);
    return memory;
}

int __real_io_open(struct io **out, enum io_backend wanted, enum io_direct direct,
                   struct fault *fault);
int __wrap_io_open(struct io **out, enum io_backend wanted, enum io_direct direct,
                   struct fault *fault);

int __wrap_io_open(struct io **out, enum io_backend wanted, enum io_direct direct,
                   struct fault *fault)
{
    const int answer = __real_io_open(out, wanted, direct, fault);
    if (answer >= 0) {
        *out = io_throttle_new(*out, throttle_of_environment());
    }
    return answer;
}
