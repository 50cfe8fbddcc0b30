/*
 * Process: what a process holds, counted from /proc.
 * Runs on:    anywhere.
 * Invariants: a count is a look at one moment. A baseline is taken of a process that has finished
 *             what it was asked (session.h: broker_counts()), and tests wait for what is held to
 *             come down to it.
 * Trust:      the kernel.
 * Not here:   starting and ending processes (tuskd.h, clients.h, program.h).
 */
#ifndef TUSK_TESTS_SUPPORT_PROCESS_H
#define TUSK_TESTS_SUPPORT_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct process_counts {
    uint64_t fds; /* but those of segment files */
    uint64_t threads;
    uint64_t mappings;     /* shared ones: private ones are the allocator's affair */
    uint64_t mapped_bytes; /* of address space */
    uint64_t cpu_ms;       /* used so far, user and system */
};

struct process_counts process_count(pid_t pid);

/* Signals whose handler isn't the default one, as a mask (bit n-1: signal n). */
uint64_t process_signals_caught(pid_t pid);

#endif
