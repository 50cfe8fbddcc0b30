/*
 * I/O on real files: what blocks, and is the same for every implementation that has descriptors.
 * Runs on:    the caller's thread; the functions fit struct io_ops and use nothing of the object but
 *             what --direct says.
 * Invariants: descriptors are close-on-exec; a file is a regular file, not reached through a symbolic
 *             link (but for paths the operator wrote, dir NULL).
 *             A file that was to be direct and is not has no clean pages in the cache when it was
 *             opened, so that what is read first comes from the device, as far as the kernel lets go
 *             of pages; a sync that failed may have left some there that the device never got.
 * Not here:   asynchronous operations (io_uring.h, io_threads.h).
 */
#ifndef TUSK_BROKER_IO_POSIX_H
#define TUSK_BROKER_IO_POSIX_H

#include "broker/io.h"

struct posix_file {
    struct io_file file;
    int fd;
    bool directory;
};

static inline int posix_fd(const struct io_file *file)
{
    return ((const struct posix_file *)file)->fd;
}

int posix_dir_make(struct io *io, struct io_file *dir, const char *name);
int posix_dir_open(struct io *io, struct io_file *dir, const char *name, struct io_file **out);
int posix_dir_list(struct io *io, struct io_file *dir, io_list_fn fn, void *context);
int posix_file_open(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                    struct io_file **out);
/* The same, into a struct that the caller has; its fd is the caller's to close. */
int posix_file_init(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                    struct posix_file *file);
/* Whether the file's allocated blocks are overwritten where they are, so that it needs no space. */
bool posix_overwrites_in_place(int fd);
void posix_file_close(struct io *io, struct io_file *file);
int posix_file_size(struct io *io, struct io_file *file, uint64_t *bytes);
int posix_file_lock(struct io *io, struct io_file *file, int64_t timeout_ns);
int posix_rename(struct io *io, struct io_file *dir, const char *from, const char *to);
int posix_unlink(struct io *io, struct io_file *dir, const char *name);
int posix_dir_remove(struct io *io, struct io_file *dir, const char *name);
int posix_now(struct io *io, struct io_op *op);

/*
 * What a transfer that returned `result` means for op, for all implementations:
 * 0 done, a negative errno, or IO_STEP_AGAIN: the rest, from op->moved on, is still to be moved.
 */
enum io_step { IO_STEP_AGAIN = 1 };
int posix_step(struct io_op *op, int64_t result);

#endif
