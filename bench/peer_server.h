/*
 * Peer server: a server program of the benchmark's own, for peers that have one.
 * Runs on:    the benchmark's main thread.
 * Invariants: it dies with the benchmark, however that ends; peer_server_stop() leaves no process.
 *             What it prints goes to a file that is shown when it doesn't start.
 */
#ifndef TUSK_BENCH_PEER_SERVER_H
#define TUSK_BENCH_PEER_SERVER_H

#include "bench/peer.h"

#include <sys/types.h>

struct peer_server {
    pid_t pid; /* 0: not running */
    char log[PATH_MAX];
};

/* Start arguments[0] from PATH, with its output in the job's run directory, and wait until `ready`
 * says that it serves; it becomes job->server. 0 or -errno, explained on stderr; stop it in both
 * cases. */
int peer_server_start(struct peer_server *server, struct peer_job *job,
                      const char *const *arguments,
                      bool (*ready)(const struct peer_server *server, const struct peer_job *job));
void peer_server_stop(struct peer_server *server);

/* For `ready`: whether a unix socket accepts connections; whether the server has printed a text. */
bool peer_server_accepts(const char *socket_path);
bool peer_server_printed(const struct peer_server *server, const char *text);

#endif
