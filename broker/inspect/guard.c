/* Guard: see guard.h. */
#include "broker/inspect/guard.h"

#include <errno.h>

static const struct io_ops *original(const struct io *io)
{
    return ((const struct guard *)(const void *)io->ops)->original;
}

static void guard_submit(struct io *io, struct io_op *op)
{
    ensure(op->kind != IO_WRITE && op->kind != IO_ALLOCATE);
    original(io)->submit(io, op);
}

static int guard_now(struct io *io, struct io_op *op)
{
    switch (op->kind) {
    case IO_READ:
    case IO_SYNC:
    case IO_FSYNC:
        return original(io)->now(io, op);
    case IO_WRITE:
    case IO_ALLOCATE:
        break;
    }
    return -EROFS;
}

static int guard_dir_make(struct io *io, struct io_file *dir, const char *name)
{
    (void)io;
    (void)dir;
    (void)name;
    return -EROFS;
}

static int guard_file_open(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                           struct io_file **out)
{
    const unsigned kept = flags & ~(unsigned)(IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE);
    const int result = original(io)->file_open(io, dir, name, kept | IO_OPEN_READ, out);
    return result == -ENOENT && flags & IO_OPEN_CREATE ? -EROFS : result;
}

static int guard_rename(struct io *io, struct io_file *dir, const char *from, const char *to)
{
    (void)io;
    (void)dir;
    (void)from;
    (void)to;
    return -EROFS;
}

static int guard_unlink(struct io *io, struct io_file *dir, const char *name)
{
    (void)io;
    (void)dir;
    (void)name;
    return 0;
}

void guard_put(struct guard *guard, struct io *io)
{
    *guard = (struct guard){.ops = *io->ops, .original = io->ops};
    guard->ops.submit = guard_submit;
    guard->ops.now = guard_now;
    guard->ops.dir_make = guard_dir_make;
    guard->ops.file_open = guard_file_open;
    guard->ops.rename = guard_rename;
    guard->ops.unlink = guard_unlink;
    io->ops = &guard->ops;
}

void guard_remove(struct guard *guard, struct io *io)
{
    ensure(io->ops == &guard->ops && io_in_flight(io) == 0);
    io->ops = guard->original;
}
