/*
 * io_uring's probe: whether this kernel has what io_uring.c uses, and lets this process use it; and
 * why not, for people.
 * Runs on:    any thread.
 * Not here:   what is done instead (io_backend.h).
 */
#ifndef TUSK_BROKER_IO_URING_PROBE_H
#define TUSK_BROKER_IO_URING_PROBE_H

#include <stddef.h>

enum { IO_URING_REFUSAL_BYTES = 256 };
#define IO_URING_SYSCTL "/proc/sys/kernel/io_uring_disabled"

/* 0, or the negative errno with which a ring could not be made or used; -ENOSYS also for one that
 * lacks something. */
int io_uring_try(void);

/* What such an error means; sysctl_path is IO_URING_SYSCTL but in tests. */
void io_uring_refusal(int error, const char *sysctl_path, char *text, size_t bytes);

#endif
