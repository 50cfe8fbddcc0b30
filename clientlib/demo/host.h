/*
 * Host: a private tuskd, in directories of its own that nobody else can enter.
 * Runs on:    the demo's first process.
 * Invariants: the broker dies with this process; after host_stop neither it nor a directory is
 *             left.
 * Trust:      the program is the one that the caller names.
 */
#ifndef TUSK_DEMO_HOST_H
#define TUSK_DEMO_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { HOST_PATH_BYTES = 512 };

struct host {
    char dir[HOST_PATH_BYTES];     /* socket and log */
    char data[HOST_PATH_BYTES];    /* on disk, below the directory that the caller names */
    char run_dir[HOST_PATH_BYTES]; /* on tmpfs */
    char socket_path[HOST_PATH_BYTES + 16];
    char log_path[HOST_PATH_BYTES + 16];
    pid_t pid;
};

/* Make the directories, the one for data in data_parent. 0 or -errno, said on stderr. */
int host_prepare(struct host *host, const char *data_parent);

/* Bytes that are free where the data goes. */
uint64_t host_free_bytes(const struct host *host);

/* Start the broker and wait until it takes connections. 0 or -errno, said on stderr. */
int host_start(struct host *host, const char *tuskd);

/* Has the broker ended by itself? */
bool host_died(struct host *host);

/* End the broker, remove what there is; works after any of the above. 0, or -EIO when the broker
 * didn't end as it should. */
int host_stop(struct host *host);

/* The broker's log, to stderr. */
void host_log_show(const struct host *host);

#endif
