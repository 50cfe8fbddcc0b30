/* I/O by mapped files: see io_mmap.h. */
#include "broker/io_mmap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/fault.h"
#include "broker/io_posix.h"
#include "broker/io_threads.h"
#include "shm/layout.h"

/* Smaller files are not worth a mapping: STORE and LOCK. The smallest segment has as much. Bytes. */
#define MAPPED_BYTES_MIN (INT64_C(1) << 20)

struct mapped_file {
    struct posix_file posix;
    pthread_mutex_t lock; /* of the rest, until `base` is set */
    bool refused;         /* it is not to be mapped */
    uint8_t *base;        /* NULL: not mapped */
    uint64_t bytes;
};

static struct mapped_file *mapped_of(struct io_file *file)
{
    return (struct mapped_file *)file;
}

/* Maps all of the file. Small files may still grow; what is refused otherwise stays so. */
static void file_map(struct mapped_file *file)
{
    struct stat stat;
    if (fstat(file->posix.fd, &stat) != 0 || stat.st_size < MAPPED_BYTES_MIN) {
        return;
    }
    file->refused = true;
    /* A file that was copied may have got holes. */
    if (!posix_overwrites_in_place(file->posix.fd) ||
        fallocate(file->posix.fd, 0, 0, stat.st_size) != 0) {
        return;
    }
    void *base =
        mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file->posix.fd, 0);
    if (base != MAP_FAILED) {
        file->bytes = (uint64_t)stat.st_size;
        file->base = base;
        file->refused = false;
    }
}

/* Where the operation's bytes are mapped, or NULL. */
static uint8_t *mapped_range(struct mapped_file *file, const struct io_op *op)
{
    pthread_mutex_lock(&file->lock);
    if (file->base == NULL && !file->refused) {
        file_map(file);
    }
    uint8_t *base = file->base;
    pthread_mutex_unlock(&file->lock);
    return base != NULL && layout_inside(op->offset, op->bytes, file->bytes) ? base + op->offset
                                                                             : NULL;
}

/* The pages that hold [at, at + bytes), which need not be whole ones. */
static int pages_populate(uint8_t *at, uint64_t bytes)
{
    const uintptr_t from = align_down((uintptr_t)at, IO_ALIGNMENT);
    const uintptr_t to = align_up((uintptr_t)at + bytes, IO_ALIGNMENT);
    int result;
    do {
        result = madvise((void *)from, to - from, MADV_POPULATE_WRITE);
    } while (result != 0 && (errno == EINTR || errno == EAGAIN));
    return result;
}

static int pages_sync(uint8_t *at, uint64_t bytes)
{
    const uintptr_t from = align_down((uintptr_t)at, IO_ALIGNMENT);
    const uintptr_t to = align_up((uintptr_t)at + bytes, IO_ALIGNMENT);
    return msync((void *)from, to - from, MS_SYNC) == 0 ? 0 : -errno;
}

static int mmap_perform(struct io *io, struct io_op *op)
{
    if (op->kind != IO_WRITE) {
        return posix_now(io, op);
    }
    uint8_t *at = mapped_range(mapped_of(op->file), op);
    if (at == NULL || pages_populate(at, op->bytes) != 0) {
        return posix_now(io, op);
    }
    memcpy(at, op->buffer, op->bytes);
    return op->dsync ? pages_sync(at, op->bytes) : 0;
}

static int mmap_file_open(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                          struct io_file **out)
{
    struct mapped_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&file->lock, NULL);
    const int result = posix_file_init(io, dir, name, flags, &file->posix);
    if (result != 0) {
        pthread_mutex_destroy(&file->lock);
        free(file);
        return result;
    }
    *out = &file->posix.file;
    return 0;
}

/* Directories too are closed here, and are no mapped files. */
static void mmap_file_close(struct io *io, struct io_file *any)
{
    if (((struct posix_file *)any)->directory) {
        posix_file_close(io, any);
        return;
    }
    struct mapped_file *file = mapped_of(any);
    if (file->base != NULL) {
        munmap(file->base, file->bytes);
    }
    pthread_mutex_destroy(&file->lock);
    close(file->posix.fd);
    free(file);
}

static const struct io_ops mmap_ops = {
    .name = "mmap",
    .close = threads_close,
    .start = threads_start,
    .submit = threads_submit,
    .kick = threads_kick,
    .poll = threads_poll,
    .wait = threads_wait,
    .watch = threads_watch,
    .unwatch = threads_unwatch,
    .register_buffers = threads_register_buffers,
    .register_lock = threads_register_lock,
    .dir_make = posix_dir_make,
    .dir_open = posix_dir_open,
    .dir_list = posix_dir_list,
    .file_open = mmap_file_open,
    .file_close = mmap_file_close,
    .file_size = posix_file_size,
    .file_lock = posix_file_lock,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .dir_remove = posix_dir_remove,
    .now = mmap_perform,
};

/* MADV_POPULATE_WRITE is what keeps a page that cannot be had from being a SIGBUS. */
static int populate_check(struct fault *fault)
{
    void *page =
        mmap(NULL, IO_ALIGNMENT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return fault_set(fault, -ENOMEM, "no memory for an engine's I/O");
    }
    const int result = pages_populate(page, IO_ALIGNMENT);
    munmap(page, IO_ALIGNMENT);
    return result == 0 ? 0
                       : fault_set(fault, -ENOSYS,
                                   "--backend mmap needs a kernel of version 5.14 or later "
                                   "(MADV_POPULATE_WRITE); take pwrite");
}

int io_mmap_open(struct io **out, struct fault *fault)
{
    const int result = populate_check(fault);
    if (result != 0) {
        return result;
    }
    const int opened = threads_open(out, &mmap_ops, mmap_perform, fault);
    if (opened == 0) {
        (*out)->direct = IO_DIRECT_OFF; /* a mapping is the page cache */
    }
    return opened;
}
