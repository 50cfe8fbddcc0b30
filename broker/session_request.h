/*
 * Session request: what a client asks over its control connection: HELLO, lanes, pins.
 * Runs on:    the control thread.
 * Invariants: a request changes the session only when it is done; a refused one leaves no trace.
 * Trust:      a message is private memory here, checked for form by control_receive(); every number
 *             in it is a client's.
 * Not here:   the messages' form (shm/control.h); the session's life (session.h).
 */
#ifndef TUSK_BROKER_SESSION_REQUEST_H
#define TUSK_BROKER_SESSION_REQUEST_H

#include "broker/session.h"
#include "shm/control.h"

enum request_outcome {
    REQUEST_DONE = 0,    /* it was answered, or will be */
    REQUEST_REFUSED = 1, /* answer with CONTROL_ERROR; the session goes on */
    REQUEST_BROKEN = 2,  /* answer with CONTROL_ERROR if possible, and end the session */
    REQUEST_GONE = 3,    /* the client takes no answers: end the session */
};

/* Serves one message. `why` has the words unless it is done; error 0 in it: the client is gone. */
enum request_outcome request_serve(struct session *session, const union control_message *message,
                                   struct fault *why);

/* Answers the HELLO of a session whose namespace serves: the session is open. REQUEST_DONE or
 * REQUEST_GONE. */
enum request_outcome request_welcome(struct session *session, struct fault *why);

/* Says in `why` what is wrong with a message that control_receive() found malformed. What was not
 * received of it is zero. */
void request_explain(const union control_message *message, struct fault *why);

/* Sends an answer; the descriptors stay the caller's. REQUEST_DONE or REQUEST_GONE. */
enum request_outcome request_answer(const struct session *session,
                                    const union control_message *answer, const int *fds,
                                    size_t fd_count, struct fault *why);

#endif
