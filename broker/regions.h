/*
 * Regions: the memory that one store shares with its clients and with the broker after this one, and
 * the pins files of its sessions, in a directory of their own below the run directory.
 * Runs on:    made and closed on any thread, one at a time; pins on the control thread.
 * Invariants: the directory has mode 0700 in one of mode 0700; everything in it is gone after
 *             regions_close().
 * Trust:      a client gets descriptors of single files, never of the directory.
 * Not here:   what the regions mean (directory.h, ledger.h, pins.h); lanes, which are memfds.
 */
#ifndef TUSK_BROKER_REGIONS_H
#define TUSK_BROKER_REGIONS_H

#include <stdint.h>

#include "broker/config.h"
#include "broker/run_dir.h"
#include "shm/mapping.h"

struct fault;
struct log;

struct regions {
    char path[CONFIG_PATH_BYTES];
    int fd; /* of the directory */
    struct mapping directory;
    struct mapping arena;
    struct mapping ledger;
    int directory_share; /* read-only, for clients */
    int arena_share;
};

/*
 * Makes, maps and formats the regions of a store that starts from disk, in the directory `name`. An
 * arena of the default size is cut down where tmpfs is small: config->arena_bytes becomes what it
 * got. 0 or -errno, the words in fault; then nothing is left.
 */
int regions_make(struct regions *regions, const struct run_dir *run_dir, const char *name,
                 struct config *config, struct log *log, struct fault *fault);

/* Unmaps, removes all files and the directory. Accepts one that was never made. */
void regions_close(struct regions *regions);

/* Removes the directory `name` with what a killed broker has left in it; best effort: what cannot be
 * removed fails, with words, where it is made anew. */
void regions_remove(int run_dir, const char *name);

/* Makes a session's pins file: a descriptor to read and write, or -errno. */
int regions_make_pins(struct regions *regions, uint64_t session_id);

/* A further descriptor of it, for the client, or -errno. */
int regions_share_pins(struct regions *regions, uint64_t session_id);

void regions_remove_pins(struct regions *regions, uint64_t session_id);

#endif
