/*
 * I/O in memory, on a memory disk, for tests: operations take effect in poll and wait, in order or
 * shuffled, and any of them can be made to fail.
 * Runs on:    one thread.
 * Invariants: a WRITE that fails has written half of what it should; a sync that fails has made
 *             nothing durable, and a later one does not make up for it.
 * Not here:   what a power loss leaves (memory_disk.h).
 */
#ifndef TUSK_BROKER_IO_MEMORY_H
#define TUSK_BROKER_IO_MEMORY_H

#include <stdbool.h>

struct io;
struct memory_disk;

/* The disk stays the caller's and outlives the object; one object at a time. */
struct io *io_memory_open(struct memory_disk *disk);

/* From now on what is queued completes in random order, and a poll completes only some of it. */
void io_memory_shuffle(struct io *io);

/* As if the process was killed: some operations that were queued still happen, none is done, all
 * files are closed and the object is gone. */
void io_memory_kill(struct io *io);

#endif
