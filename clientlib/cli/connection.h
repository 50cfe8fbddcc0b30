/*
 * Connection: what the verbs that talk to a broker have in common.
 * Runs on:    the tool's one thread.
 * Invariants: a function that fails, but for connection_try(), has printed why and returns an exit
 *             status, never 0.
 * Not here:   what is done over the connection.
 */
#ifndef TUSK_CLI_CONNECTION_H
#define TUSK_CLI_CONNECTION_H

#include "clientlib/cli/options.h"

#include <stdint.h>
#include <tusk/tusk.h>

struct connection_options {
    const char *socket;
    const char *space; /* the namespace's key; NULL: as the library finds it */
    uint64_t timeout_ms;
};

/* The rows that every such verb's table ends with. */
#define CONNECTION_OPTIONS(options)                                                                \
    TEXT_ROW(0, "socket", "PATH", &(options)->socket,                                              \
             "the broker's socket (default: $TUSK_SOCKET, then the usual places)"),                \
        TEXT_ROW(0, "namespace", "NS", &(options)->space,                                          \
                 "the namespace of the topics (default: $TUSK_NAMESPACE, then 'default')"),        \
        NUMBER_ROW(0, "timeout", "MS", &(options)->timeout_ms, 1, INT32_MAX,                       \
                   "how long to wait for the broker (default 5000)")

#define CONNECTION_OPTIONS_DEFAULT                                                                 \
    {                                                                                              \
        .timeout_ms = 5000                                                                         \
    }

/* Connect; lane_bytes 0 is the library's default. 0, or an exit status. */
int connection_open(const struct connection_options *options, size_t lane_bytes,
                    struct tusk **tusk);

/* The same, without a message: 0, or the library's error, which connection_fail() puts into words. */
int connection_try(const struct connection_options *options, size_t lane_bytes, struct tusk **tusk);

/* Say why there is no connection; the exit status. */
int connection_fail(const struct connection_options *options, int error);

/* A handle of the topic. 0, or an exit status. */
int connection_topic(struct tusk *tusk, const char *name, struct tusk_topic **topic);

/* For __attribute__((cleanup)). */
void connection_closep(struct tusk **tusk);

#define CONNECTION_CLOSED __attribute__((cleanup(connection_closep)))

#endif
