/*
 * Guard: lets an I/O object only read, so that the broker's own code can be run over a store that must
 * not change.
 * Runs on:    the thread that uses the object; put and removed while nothing is in flight.
 * Invariants: no file is made, written, renamed or removed: files are opened for reading only, and
 *             what would change one is refused with -EROFS. Syncs change nothing and are let
 *             through. The removal of files that were never finished, which a start of the broker
 *             does by the way, is passed over.
 * Not here:   what is read (survey.h).
 */
#ifndef TUSK_BROKER_INSPECT_GUARD_H
#define TUSK_BROKER_INSPECT_GUARD_H

#include "broker/io.h"

struct guard {
    struct io_ops ops; /* first: found again through io->ops */
    const struct io_ops *original;
};

/* From now on the object only reads. The guard stays where it is until guard_remove(). */
void guard_put(struct guard *guard, struct io *io);
void guard_remove(struct guard *guard, struct io *io);

#endif
