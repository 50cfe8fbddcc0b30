/*
 * I/O by mapped files: a write to a segment is a copy into its mapping, made durable by msync and
 * fdatasync, all on helper threads.
 * Runs on:    see io.h; the mappings on the helpers' threads.
 * Invariants: nothing here takes a SIGBUS, unless somebody else takes the file's blocks away between
 *             a page's coming in and the copy (shrinks it, or fills the disk that a reflink of it
 *             shares). A file is mapped once it has MAPPED_BYTES_MIN, all of them
 *             allocated, on a file system that overwrites them in place (ext4, xfs, tmpfs, btrfs as
 *             io_posix.c makes its files), so that a page can be dirtied on a full disk; pages are
 *             brought in by madvise(), which answers where a touch would end the process. Whatever
 *             is refused there, or cannot be mapped, is written by pwrite, through the same page
 *             cache, and so fails with the kernel's own error. Files are read by pread: a damaged
 *             medium is -EIO.
 * Not here:   the threads (io_threads.h); the page cache's promises (broker/README.md).
 */
#ifndef TUSK_BROKER_IO_MMAP_H
#define TUSK_BROKER_IO_MMAP_H

struct io;
struct fault;

/* 0 or a negative errno, with words in fault; -ENOSYS: a kernel before 5.14. */
int io_mmap_open(struct io **out, struct fault *fault);

#endif
