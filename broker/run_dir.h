/*
 * Run directory: the directory on tmpfs that holds a broker's regions and its sessions' pins, in one
 * directory for each namespace.
 * Runs on:    the thread that owns the broker.
 * Invariants: while it is open it is this broker's alone (locked), its owner's alone (mode 0700),
 *             and on tmpfs. Everything in it is this broker's and gone after run_dir_close().
 * Trust:      a client gets descriptors of single files, never of a directory.
 * Not here:   the regions of a namespace (regions.h); lanes, which are memfds.
 */
#ifndef TUSK_BROKER_RUN_DIR_H
#define TUSK_BROKER_RUN_DIR_H

#include <stdbool.h>

#include "broker/config.h"

struct fault;

struct run_dir {
    char path[CONFIG_PATH_BYTES];
    int fd;    /* locked */
    bool made; /* by this broker, or by one that was killed: it goes at the end */
};

/* Makes the directory if it is missing (its parent must be there), locks it, and removes what a
 * broker that was killed has left in it. 0 or -errno, the words in fault. */
int run_dir_open(struct run_dir *run_dir, const struct config *config, struct fault *fault);

/* Removes what is left in it, and the directory unless somebody else had made it. Accepts one whose
 * open failed. */
void run_dir_close(struct run_dir *run_dir);

#endif
