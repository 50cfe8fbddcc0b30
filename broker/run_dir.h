/*
 * Run directory: the directory on tmpfs that holds a broker's regions and its sessions' pins.
 * Runs on:    opened and closed on the thread that owns the broker; pins on the control thread.
 * Invariants: while it is open it is this broker's alone (locked), its owner's alone (mode 0700),
 *             and on tmpfs. Everything in it is this broker's and gone after run_dir_close().
 * Trust:      a client gets descriptors of single files, never of the directory.
 * Not here:   what the regions mean (directory.h, ledger.h, pins.h); lanes, which are memfds.
 */
#ifndef TUSK_BROKER_RUN_DIR_H
#define TUSK_BROKER_RUN_DIR_H

#include <stdint.h>

#include "broker/config.h"
#include "shm/mapping.h"

struct fault;
struct log;

struct run_dir {
    char path[CONFIG_PATH_BYTES];
    int fd; /* locked */
    struct mapping directory;
    struct mapping arena;
    struct mapping ledger;
    int directory_share; /* read-only, for clients */
    int arena_share;
};

/* Makes the directory if it is missing (its parent must be there), locks it, and removes what a
 * broker that was killed has left in it. 0 or -errno, the words in fault. */
int run_dir_open(struct run_dir *run_dir, const struct config *config, struct fault *fault);

/*
 * Makes, maps and formats the regions of a broker that starts from disk. An arena of the default
 * size is cut
 * down where tmpfs is small: config->arena_bytes becomes what it got. 0 or -errno, the words in
 * fault.
 */
int run_dir_make_regions(struct run_dir *run_dir, struct config *config, struct log *log,
                         struct fault *fault);

/* Unmaps, removes all files and, where that is allowed, the directory. Accepts one whose open or
 * make failed. */
void run_dir_close(struct run_dir *run_dir);

/* Makes a session's pins file: a descriptor to read and write, or -errno. */
int run_dir_make_pins(struct run_dir *run_dir, uint64_t session_id);

/* A further descriptor of it, for the client, or -errno. */
int run_dir_share_pins(struct run_dir *run_dir, uint64_t session_id);

void run_dir_remove_pins(struct run_dir *run_dir, uint64_t session_id);

#endif
