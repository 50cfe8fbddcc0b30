/*
 * I/O by system calls on helper threads: pwritev2, preadv, fdatasync, fallocate. What an engine uses
 * where io_uring is forbidden.
 * Runs on:    see io.h.
 * Not here:   the threads (io_threads.h), the calls (io_posix.h).
 */
#ifndef TUSK_BROKER_IO_PWRITE_H
#define TUSK_BROKER_IO_PWRITE_H

struct io;
struct fault;

/* 0 or a negative errno, with words in fault. */
int io_pwrite_open(struct io **out, struct fault *fault);

#endif
