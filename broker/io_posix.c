/* I/O on real files: see io_posix.h. */
#include "broker/io_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "broker/clock.h"
#include "shm/cleanup.h"
#include "shm/layout.h"

enum {
    /* A call that is interrupted this often is not interrupted but broken. */
    RETRIES_MAX = 4096,
    LOCK_RETRY_NS = 2000000,
};

static uint64_t file_system_of(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 ? (uint64_t)fs.f_type : 0;
}

static int directory_fd(const struct io_file *dir)
{
    return dir == NULL ? AT_FDCWD : posix_fd(dir);
}

static int nofollow(const struct io_file *dir)
{
    return dir == NULL ? 0 : O_NOFOLLOW;
}

int posix_dir_make(struct io *io, struct io_file *dir, const char *name)
{
    (void)io;
    return mkdirat(directory_fd(dir), name, 0700) == 0 ? 0 : -errno;
}

int posix_dir_open(struct io *io, struct io_file *dir, const char *name, struct io_file **out)
{
    (void)io;
    cleanup_fd int fd =
        openat(directory_fd(dir), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | nofollow(dir));
    if (fd < 0) {
        return -errno;
    }
    struct posix_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        return -ENOMEM;
    }
    file->fd = take_fd(&fd);
    file->directory = true;
    *out = &file->file;
    return 0;
}

int posix_dir_list(struct io *io, struct io_file *dir, io_list_fn fn, void *context)
{
    (void)io;
    cleanup_fd int fd = openat(posix_fd(dir), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        return -errno;
    }
    (void)take_fd(&fd);
    int result = 0;
    while (result == 0) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            result = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            result = fn(context, entry->d_name);
        }
    }
    closedir(stream);
    return result;
}

/* O_NONBLOCK: opening a FIFO must answer, not wait. It means nothing for a regular file. */
static int open_once(const struct io_file *dir, const char *name, int flags)
{
    int fd;
    do {
        fd = openat(directory_fd(dir), name, flags | O_CLOEXEC | O_NONBLOCK | nofollow(dir), 0600);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

/* Past the page cache if that is wanted and granted; else *direct is false. */
static int direct_set(enum io_direct wanted, int fd, bool *direct)
{
    *direct = *direct && wanted != IO_DIRECT_OFF;
    if (*direct && fcntl(fd, F_SETFL, O_DIRECT) != 0) {
        if (errno != EINVAL) {
            return -errno;
        }
        if (wanted == IO_DIRECT_ON) {
            return -EOPNOTSUPP;
        }
        *direct = false;
    }
    return *direct || fcntl(fd, F_SETFL, 0) == 0 ? 0 : -errno;
}

/* What is dirty in the page cache goes to the device, what is clean goes away. */
static int cache_forget(int fd)
{
    if (fsync(fd) != 0) {
        return -errno;
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* advice */
    return 0;
}

/* btrfs overwrites a file's blocks where they are only if it was told so while the file was empty.
 * Else every write needs space, and a full disk fails writes to blocks that are allocated. */
static void overwrite_in_place(int fd)
{
    int flags = 0;
    if (file_system_of(fd) == BTRFS_SUPER_MAGIC && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
}

bool posix_overwrites_in_place(int fd)
{
    int flags = 0;
    switch (file_system_of(fd)) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return true;
    case BTRFS_SUPER_MAGIC:
        return ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL) != 0;
    default:
        return false;
    }
}

int posix_file_init(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                    struct posix_file *file)
{
    int open_flags = flags & IO_OPEN_READ ? O_RDONLY : O_RDWR;
    open_flags |= flags & IO_OPEN_CREATE ? O_CREAT : 0;
    open_flags |= flags & IO_OPEN_EXCLUSIVE ? O_EXCL : 0;
    bool direct = flags & IO_OPEN_DIRECT;
    /* Some file systems refuse O_DIRECT with -EINVAL only after they have made the file, so it is
     * asked for separately. */
    cleanup_fd int fd = open_once(dir, name, open_flags);
    if (fd < 0) {
        return fd;
    }
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        return -errno;
    }
    if (!S_ISREG(stat.st_mode)) {
        return -EINVAL;
    }
    if ((flags & IO_OPEN_CREATE) && stat.st_size == 0) {
        overwrite_in_place(fd);
    }
    int result = direct_set(io->direct, fd, &direct);
    if (result == 0 && (flags & IO_OPEN_DIRECT) && !direct && stat.st_size != 0) {
        result = cache_forget(fd);
    }
    if (result != 0) {
        return result;
    }
    *file = (struct posix_file){.file.direct = direct, .fd = take_fd(&fd)};
    return 0;
}

int posix_file_open(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                    struct io_file **out)
{
    struct posix_file *file = malloc(sizeof *file);
    if (file == NULL) {
        return -ENOMEM;
    }
    const int result = posix_file_init(io, dir, name, flags, file);
    if (result != 0) {
        free(file);
        return result;
    }
    *out = &file->file;
    return 0;
}

void posix_file_close(struct io *io, struct io_file *file)
{
    (void)io;
    close(posix_fd(file));
    free(file);
}

int posix_file_size(struct io *io, struct io_file *file, uint64_t *bytes)
{
    (void)io;
    struct stat stat;
    if (fstat(posix_fd(file), &stat) != 0) {
        return -errno;
    }
    *bytes = (uint64_t)stat.st_size;
    return 0;
}

/* flock() knows no deadline, so it is tried until then: the last writes of a killed holder take
 * their time. */
int posix_file_lock(struct io *io, struct io_file *file, int64_t timeout_ns)
{
    (void)io;
    const int64_t deadline_ns = (int64_t)clock_ns(CLOCK_MONOTONIC) + timeout_ns;
    while (flock(posix_fd(file), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return -errno;
        }
        if ((int64_t)clock_ns(CLOCK_MONOTONIC) >= deadline_ns) {
            return -EBUSY;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_RETRY_NS}, NULL);
    }
    return 0;
}

int posix_rename(struct io *io, struct io_file *dir, const char *from, const char *to)
{
    (void)io;
    return renameat(posix_fd(dir), from, posix_fd(dir), to) == 0 ? 0 : -errno;
}

int posix_unlink(struct io *io, struct io_file *dir, const char *name)
{
    (void)io;
    return unlinkat(posix_fd(dir), name, 0) == 0 ? 0 : -errno;
}

int posix_dir_remove(struct io *io, struct io_file *dir, const char *name)
{
    (void)io;
    return unlinkat(posix_fd(dir), name, AT_REMOVEDIR) == 0 ? 0 : -errno;
}

int posix_step(struct io_op *op, int64_t result)
{
    if (result == -EINTR || result == -EAGAIN) {
        return ++op->retries > RETRIES_MAX ? (int)result : IO_STEP_AGAIN;
    }
    if (result < 0) {
        return (int)result;
    }
    if (op->kind != IO_READ && op->kind != IO_WRITE) {
        return 0;
    }
    if (result == 0 && op->bytes != 0) {
        return op->kind == IO_READ ? -ENODATA : -EIO;
    }
    op->moved += (uint64_t)result;
    if (op->moved == op->bytes) {
        return 0;
    }
    if (op->file->direct) {
        /* The rest must begin on a block; what is moved twice is the same both times. */
        const uint64_t whole = align_down(op->moved, IO_ALIGNMENT);
        if (op->moved != whole && ++op->retries > RETRIES_MAX) {
            return op->kind == IO_READ ? -ENODATA : -EIO;
        }
        op->moved = whole;
    }
    return IO_STEP_AGAIN;
}

static int64_t write_once(int fd, const struct iovec *from, off_t at, bool dsync)
{
    return dsync ? pwritev2(fd, from, 1, at, RWF_DSYNC) : pwritev(fd, from, 1, at);
}

static int64_t perform(struct io_op *op, bool dsync)
{
    const int fd = posix_fd(op->file);
    const struct iovec rest = {.iov_base = (char *)op->buffer + op->moved,
                               .iov_len = op->bytes - op->moved};
    const off_t at = (off_t)(op->offset + op->moved);
    int64_t result = -1;
    switch (op->kind) {
    case IO_READ:
        result = preadv(fd, &rest, 1, at);
        break;
    case IO_WRITE:
        result = write_once(fd, &rest, at, dsync);
        break;
    case IO_SYNC:
        result = fdatasync(fd);
        break;
    case IO_FSYNC:
        result = fsync(fd);
        break;
    case IO_ALLOCATE:
        result = fallocate(fd, 0, (off_t)op->offset, (off_t)op->bytes);
        break;
    }
    return result < 0 ? -errno : result;
}

/* A kernel or a filter that does not know durable writes gets a write and then a sync. */
int posix_now(struct io *io, struct io_op *op)
{
    (void)io;
    bool dsync = op->dsync;
    int step;
    do {
        const int64_t result = perform(op, dsync);
        if (dsync && (result == -EOPNOTSUPP || result == -ENOSYS)) {
            dsync = false;
            step = IO_STEP_AGAIN;
        } else {
            step = posix_step(op, result);
        }
    } while (step == IO_STEP_AGAIN);
    if (step != 0 || dsync == op->dsync) {
        return step;
    }
    return fdatasync(posix_fd(op->file)) == 0 ? 0 : -errno;
}
