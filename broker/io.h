/*
 * I/O: the one way to the disk and to the sockets an engine sleeps on, behind a table of operations,
 * so that tests can run it in memory, fail its n-th operation or lose power under it.
 * Runs on:    asynchronous operations, watches, poll and wait on the engine's thread, after io_start()
 *             there; the rest (the cold path) on the engine's thread, or before io_start() on any
 *             other.
 * Invariants: an operation is the caller's until io_submit() and again from its done() on; done() runs
 *             inside io_poll() or io_wait(), once, never inside io_submit(). Its result is 0 only when
 *             all its bytes were moved, else a negative errno: nothing is "partly written".
 *             io_in_flight() counts operations between io_submit() and done(); watches don't count.
 *             A file that one object has opened may be used with, and closed by, another one of the
 *             same implementation, once nothing is in flight on it with the first.
 * Trust:      the kernel. What the disk returns is bytes: who reads them checks them.
 * Not here:   what is written and when (flush, segment.h, superblock.h).
 */
#ifndef TUSK_BROKER_IO_H
#define TUSK_BROKER_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "broker/io_backend.h"
#include "shm/ensure.h"
#include "shm/limits.h"

struct io;
struct io_op;
struct io_watch;

enum {
    /* Buffers, offsets and sizes of operations on a file opened with IO_OPEN_DIRECT. Bytes. */
    IO_ALIGNMENT = BLOCK_BYTES,
    IO_NAME_BYTES_MAX = 255,
};

/* The most that one READ or WRITE moves. Bytes. */
#define IO_TRANSFER_BYTES_MAX (UINT64_C(1) << 30)

/* For io_wait(): no limit. */
#define IO_FOREVER INT64_C(-1)

enum io_kind {
    IO_READ,
    IO_WRITE,
    IO_SYNC,     /* fdatasync */
    IO_FSYNC,    /* fsync; also of a directory */
    IO_ALLOCATE, /* fallocate of [offset, offset + bytes), growing the file */
};

enum io_open_flag {
    IO_OPEN_CREATE = 1,    /* make the file if it is missing */
    IO_OPEN_EXCLUSIVE = 2, /* with CREATE: -EEXIST if it is not */
    IO_OPEN_DIRECT = 4,    /* past the page cache, as far as enum io_direct says */
    IO_OPEN_READ = 8,      /* for reading only; else for both */
};

/* What io_register_buffers() answers besides 0 and errors. */
enum io_register_outcome {
    IO_BUFFERS_UNREGISTERED = 1, /* RLIMIT_MEMLOCK or the kernel forbids it: works, but slower */
};

/* An open file or directory. Implementations put it first in a struct of their own. */
struct io_file {
    bool direct; /* IO_OPEN_DIRECT was asked for and granted */
};

struct io_op {
    enum io_kind kind;
    bool dsync; /* WRITE: done only when it is on stable storage */
    struct io_file *file;
    void *buffer; /* of READ and WRITE */
    uint64_t bytes;
    uint64_t offset;
    void (*done)(struct io_op *op, int result);
    void *context;

    /* The implementation's, while the operation is in flight. */
    struct io_op *next;
    uint64_t moved; /* bytes so far */
    uint32_t retries;
    int result;
};

/*
 * Tells when a descriptor is readable, has hung up or failed. fn is called at least once after each
 * change and must then read until -EAGAIN, or it may not hear of what is left.
 * The struct stays valid until `removed` is called, after io_unwatch().
 */
struct io_watch {
    int fd;
    void (*fn)(struct io_watch *watch);
    void (*removed)(struct io_watch *watch);
    void *context;

    /* The implementation's. */
    struct io_watch *next;
    bool armed;
    bool removing;
};

/* Called for each name in a directory but "." and ".."; a non-zero result ends the listing. */
typedef int (*io_list_fn)(void *context, const char *name);

struct io_ops {
    const char *name; /* for words: "uring" */
    void (*close)(struct io *io);
    int (*start)(struct io *io);

    void (*submit)(struct io *io, struct io_op *op);
    void (*kick)(struct io *io);
    unsigned (*poll)(struct io *io);
    int (*wait)(struct io *io, int64_t timeout_ns);
    void (*watch)(struct io *io, struct io_watch *watch);
    void (*unwatch)(struct io *io, struct io_watch *watch);
    int (*register_buffers)(struct io *io, const struct iovec *regions, unsigned count);
    int (*register_lock)(struct io *io, struct io_file *lock);
    /* NULL where there is nothing to undo. */
    void (*forget_buffers)(struct io *io, const struct iovec *regions, unsigned count);
    void (*forget_lock)(struct io *io, struct io_file *lock);

    int (*dir_make)(struct io *io, struct io_file *dir, const char *name);
    int (*dir_open)(struct io *io, struct io_file *dir, const char *name, struct io_file **out);
    int (*dir_list)(struct io *io, struct io_file *dir, io_list_fn fn, void *context);
    int (*file_open)(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                     struct io_file **out);
    void (*file_close)(struct io *io, struct io_file *file);
    int (*file_size)(struct io *io, struct io_file *file, uint64_t *bytes);
    int (*file_lock)(struct io *io, struct io_file *file, int64_t timeout_ns);
    int (*rename)(struct io *io, struct io_file *dir, const char *from, const char *to);
    int (*unlink)(struct io *io, struct io_file *dir, const char *name);
    int (*dir_remove)(struct io *io, struct io_file *dir, const char *name);
    int (*now)(struct io *io, struct io_op *op);
};

/* Implementations put it first in a struct of their own. io_open() makes one (io_backend.h). */
struct io {
    const struct io_ops *ops;
    enum io_direct direct;
    uint32_t in_flight;
};

/* Frees an I/O object on which nothing is in flight; files are closed before. NULL is fine. */
void io_close(struct io *io);

/* Claims the object for the calling thread, the engine's, before its first asynchronous operation. */
static inline int io_start(struct io *io)
{
    return io->ops->start(io);
}

/* Asynchronous operations. */

/* Queues an operation. It goes to the kernel with the next kick, poll or wait at the latest. */
static inline void io_submit(struct io *io, struct io_op *op)
{
    ensure(op->file != NULL && op->done != NULL);
    ensure(op->kind == IO_ALLOCATE || op->bytes <= IO_TRANSFER_BYTES_MAX);
    op->next = NULL;
    op->moved = 0;
    op->retries = 0;
    io->in_flight++;
    io->ops->submit(io, op);
}

static inline void io_kick(struct io *io)
{
    io->ops->kick(io);
}

/* Handles what is complete without blocking; returns how many completions and events it handled. */
static inline unsigned io_poll(struct io *io)
{
    return io->ops->poll(io);
}

/*
 * Kicks, blocks until something completes, a watch has news or the time is over (IO_FOREVER: never),
 * and handles what there is. The number handled, 0 also after a signal; or a negative errno.
 */
static inline int io_wait(struct io *io, int64_t timeout_ns)
{
    return io->ops->wait(io, timeout_ns);
}

static inline uint32_t io_in_flight(const struct io *io)
{
    return io->in_flight;
}

static inline void io_watch(struct io *io, struct io_watch *watch)
{
    io->ops->watch(io, watch);
}

/* fn is not called any more; removed is, from a later poll or wait, and may free the watch. */
static inline void io_unwatch(struct io *io, struct io_watch *watch)
{
    io->ops->unwatch(io, watch);
}

/*
 * Lets the kernel pin memory that is read and written often; before io_start() or on the engine's
 * thread. Operations whose buffer lies inside a region use that by themselves.
 * 0, IO_BUFFERS_UNREGISTERED, or a negative errno.
 */
static inline int io_register_buffers(struct io *io, const struct iovec *regions, unsigned count)
{
    return io->ops->register_buffers(io, regions, count);
}

/* Undoes it for the same regions, registered or not; nothing is in flight that uses them. */
static inline void io_forget_buffers(struct io *io, const struct iovec *regions, unsigned count)
{
    if (io->ops->forget_buffers != NULL) {
        io->ops->forget_buffers(io, regions, count);
    }
}

/*
 * Ties a lock taken by io_file_lock() to the object, before the first write that it protects: when
 * the process is killed the kernel keeps the lock until the last write has landed.
 */
static inline int io_register_lock(struct io *io, struct io_file *lock)
{
    return io->ops->register_lock(io, lock);
}

/* Undoes it, also of a lock that was not registered; what it protects is not written any more. */
static inline void io_forget_lock(struct io *io, struct io_file *lock)
{
    if (io->ops->forget_lock != NULL) {
        io->ops->forget_lock(io, lock);
    }
}

/* The cold path: blocks, and returns 0 or a negative errno. dir NULL: name is a path as the operator
 * wrote it, symbolic links followed; else a name in dir, and a symbolic link is refused. */

static inline int io_dir_make(struct io *io, struct io_file *dir, const char *name)
{
    return io->ops->dir_make(io, dir, name);
}

static inline int io_dir_open(struct io *io, struct io_file *dir, const char *name,
                              struct io_file **out)
{
    return io->ops->dir_open(io, dir, name, out);
}

static inline int io_dir_list(struct io *io, struct io_file *dir, io_list_fn fn, void *context)
{
    return io->ops->dir_list(io, dir, fn, context);
}

/* flags: enum io_open_flag. -ELOOP: a symbolic link; -EISDIR or -EINVAL: no regular file;
 * -EOPNOTSUPP: IO_DIRECT_ON, and the file system does not grant it. */
static inline int io_file_open(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                               struct io_file **out)
{
    return io->ops->file_open(io, dir, name, flags, out);
}

/* Of files and directories. NULL is fine. */
static inline void io_file_close(struct io *io, struct io_file *file)
{
    if (file != NULL) {
        io->ops->file_close(io, file);
    }
}

static inline int io_file_size(struct io *io, struct io_file *file, uint64_t *bytes)
{
    return io->ops->file_size(io, file, bytes);
}

/* Takes the file's exclusive lock; -EBUSY if it is still another's after timeout_ns. */
static inline int io_file_lock(struct io *io, struct io_file *file, int64_t timeout_ns)
{
    return io->ops->file_lock(io, file, timeout_ns);
}

static inline int io_rename(struct io *io, struct io_file *dir, const char *from, const char *to)
{
    return io->ops->rename(io, dir, from, to);
}

/* An empty directory. */
static inline int io_dir_remove(struct io *io, struct io_file *dir, const char *name)
{
    return io->ops->dir_remove(io, dir, name);
}

/* -EISDIR: a directory. */
static inline int io_unlink(struct io *io, struct io_file *dir, const char *name)
{
    return io->ops->unlink(io, dir, name);
}

/* Performs one operation (its done and context are not used) and returns its result. */
static inline int io_now(struct io *io, struct io_op *op)
{
    op->moved = 0;
    op->retries = 0;
    return io->ops->now(io, op);
}

/* -ENODATA: the file ends before. */
int io_read_now(struct io *io, struct io_file *file, void *buffer, uint64_t bytes, uint64_t offset);
int io_write_now(struct io *io, struct io_file *file, const void *buffer, uint64_t bytes,
                 uint64_t offset);
/* fsync, of a file or a directory. */
int io_sync_now(struct io *io, struct io_file *file);

/* Zeroed memory for direct transfers, `bytes` a multiple of IO_ALIGNMENT; free() it. NULL: no
 * memory. */
void *io_buffer_new(uint64_t bytes);

#endif
