/*
 * I/O backends: which implementation of io.h reaches the disk, and whether past the page cache.
 * Runs on:    any thread; which one may use the object then, io.h says.
 * Invariants: all backends put the same bytes at the same places of the same files, so a store may
 *             be opened with another one each time. An object opens all its files alike: a file is
 *             never reached past the page cache and through it at once. Files that auto's two choices
 *             have opened may be used with either.
 * Not here:   the implementations (io_uring.h, io_pwrite.h, io_mmap.h); what they do (io.h).
 */
#ifndef TUSK_BROKER_IO_BACKEND_H
#define TUSK_BROKER_IO_BACKEND_H

struct io;
struct fault;

enum io_backend {
    IO_BACKEND_AUTO, /* uring where the kernel lets it work, else pwrite */
    IO_BACKEND_URING,
    IO_BACKEND_PWRITE,
    IO_BACKEND_MMAP,
};

/* What IO_OPEN_DIRECT comes to. */
enum io_direct {
    IO_DIRECT_AUTO, /* past the page cache where the file system grants it */
    IO_DIRECT_ON,   /* the same; where it does not, the file cannot be opened: -EOPNOTSUPP */
    IO_DIRECT_OFF,  /* through the page cache */
};

/* What io_open() answers besides 0 and errors. */
enum io_open_outcome {
    IO_OPEN_FELL_BACK = 1, /* auto took pwrite; why it is not uring stands in fault */
};

/* 0, IO_OPEN_FELL_BACK, or a negative errno with the words in fault: -ENOSYS, a backend that was
 * asked for by name does not work here; -EINVAL, mmap cannot bypass the page cache. */
int io_open(struct io **out, enum io_backend wanted, enum io_direct direct, struct fault *fault);

const char *io_direct_name(enum io_direct direct);

#endif
