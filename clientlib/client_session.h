/*
 * Client session: the control connection to the broker and the requests over it.
 * Runs on:    any thread; one request at a time, by the session's own lock.
 * Invariants: a request is sent only when no other reply is due, so replies need no sorting;
 *             closing a lane is the exception: its replies, which carry no descriptors, are awaited
 *             before the next request.
 * Trust:      a reply of another kind than expected is -EPROTO.
 * Not here:   what is done with the descriptors that replies bring (client_lane.h, arena.h).
 */
#ifndef TUSK_CLIENTLIB_CLIENT_SESSION_H
#define TUSK_CLIENTLIB_CLIENT_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clientlib/expiry.h"
#include "shm/control.h"

struct client_session {
    pthread_mutex_t lock; /* of all below */
    int socket;           /* -1: not connected */
    uint64_t last_id;
    uint32_t closes_due; /* CONTROL_LANE_CLOSED not received yet */
};

void client_session_init(struct client_session *session);
void client_session_deinit(struct client_session *session);

/*
 * Connects to the broker's socket, says HELLO and receives WELCOME with `fds`: directory, arena.
 * 0; -ENOENT, -ECONNREFUSED, -EAGAIN, -EPIPE: no broker there yet; -ETIMEDOUT; another -errno is
 * final, and so is any that the broker itself answers: then *refused is set.
 */
int client_session_open(struct client_session *session, const char *path, const char *namespace_key,
                        struct control_welcome *welcome, int fds[2], struct expiry expiry,
                        bool *refused);
void client_session_close(struct client_session *session);

/* Asks for a lane: its id, its memfd and the client's end of its socket. 0 or -errno; -EPIPE: the
 * broker is gone, -ETIMEDOUT: it doesn't answer; the session is of no use any more after these. */
int client_session_lane_open(struct client_session *session, uint64_t sq_bytes, uint64_t *lane_id,
                             int fds[2]);

/* Gives a lane back; doesn't wait. */
void client_session_lane_close(struct client_session *session, uint64_t lane_id);

/* Sends any other request and receives its reply, of that kind, in its place, without descriptors. As
 * client_session_lane_open(); and whatever the broker refuses it with. */
int client_session_ask(struct client_session *session, union control_message *message,
                       enum control_kind reply, struct expiry expiry);

/* Asks for the session's pins file. As client_session_lane_open(). */
int client_session_pins_open(struct client_session *session, int *fd);

#endif
