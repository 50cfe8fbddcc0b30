/*
 * Store directory: LOCK, STORE and segments/, made, locked, opened and checked.
 * Runs on:    the thread that opens the store; the handles are the engine's afterwards.
 * Invariants: nothing in the directory is changed or believed before LOCK is held. Making a store is
 *             cut into steps that a kill may separate: STORE appears, complete, by a rename; until its
 *             system_slot is set the store holds nothing and the next start goes on making it.
 * Trust:      names and kinds of files are checked: a symbolic link, FIFO or directory in the place of
 *             a file is refused.
 * Not here:   what segments hold (segment.h); the system topic (recovery.h).
 */
#ifndef TUSK_BROKER_STORE_DIR_H
#define TUSK_BROKER_STORE_DIR_H

#include "broker/io.h"
#include "broker/superblock.h"

struct fault;

enum {
    STORE_PATH_BYTES = 4096 + 64, /* the directory's path and a name in it */
};

/* How long a start waits for LOCK: writes of a killed broker can take that long to land. */
#define STORE_LOCK_TIMEOUT_NS INT64_C(5000000000)

struct store_dir {
    struct io *io;
    char path[4096];
    struct io_file *dir;
    struct io_file
        *lock; /* register it with every ring before the first write: io_register_lock() */
    struct io_file *store;
    struct io_file *segments; /* a directory */
};

struct store_path {
    char text[STORE_PATH_BYTES];
};

/* "PATH/NAME", for words. */
struct store_path store_dir_path(const struct store_dir *store, const char *name);

/* Makes a directory if it is missing (its parents too, all synced), and opens it: *dir is the
 * caller's. */
int store_dir_make(struct io *io, const char *path, struct io_file **dir, struct fault *fault);

/*
 * Makes the directory if it is missing (its parents too, all synced) and takes LOCK.
 * -EBUSY: another broker has it. On failure nothing is left open.
 */
int store_dir_open(struct store_dir *store, struct io *io, const char *path,
                   int64_t lock_timeout_ns, struct fault *fault);

/* Closes what is open, LOCK last. A zeroed or half-opened store is fine. */
void store_dir_close(struct store_dir *store);

/*
 * Opens STORE and segments/, making them for a new store, syncs both and reads the superblock.
 * -EBADMSG: damaged or no store; -EPROTO: another version's; -EINVAL: made with other sizes.
 */
int store_dir_load(struct store_dir *store, uint64_t chunk_bytes, uint64_t segment_bytes,
                   struct superblock *superblock, struct fault *fault);

#endif
