/*
 * Control client: speaks the control protocol as the client library does, one request at a time, and
 * waits for the answers.
 * Runs on:    any thread or process; a connection on one at a time.
 * Not here:   what lies in lanes and regions.
 */
#ifndef TUSK_TESTS_UNIT_CONTROL_CLIENT_H
#define TUSK_TESTS_UNIT_CONTROL_CLIENT_H

#include "shm/control.h"

enum { ANSWER_MS = 20000 };

/* A connected socket or -errno. */
int control_client_connect(const char *socket_path);

/* Waits for a message: as control_receive(), or -ETIMEDOUT. */
int control_client_answer(int client, union control_message *answer, int *fds, size_t fd_count);

/* HELLO, and a lane of the least size. 0, also for CONTROL_ERROR, or -errno. */
int control_client_hello(int client, union control_message *answer, int fds[2]);
int control_client_hello_to(int client, const char *namespace_key, union control_message *answer,
                            int fds[2]);
int control_client_lane(int client, union control_message *answer, int fds[2]);

/* Connects and goes away at some point of the conversation, at the seed's whim. 0, or the -errno of
 * what went wrong. */
int control_client_visit(const char *socket_path, unsigned *seed);

/* The same for any of some namespaces, which it also changes and removes. */
int control_client_roam(const char *socket_path, unsigned *seed);

#endif
