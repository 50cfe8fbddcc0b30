/*
 * Session namespace: what a client asks about namespaces: options of its own, which there are, and the
 * end of one.
 * Runs on:    the control thread.
 * Invariants: a session has at most one such request that waits for its answer.
 * Trust:      as session_request.h.
 * Not here:   HELLO (session_request.h); what becomes of the request (namespace_set.h).
 */
#ifndef TUSK_BROKER_SESSION_NAMESPACE_H
#define TUSK_BROKER_SESSION_NAMESPACE_H

#include "broker/session_request.h"

/* CONTROL_OPTION_SET, CONTROL_OPTION_GET, CONTROL_NAMESPACE_NEXT and CONTROL_NAMESPACE_DELETE. */
enum request_outcome request_option_set(struct session *session,
                                        const union control_message *message, struct fault *why);
enum request_outcome request_option_get(struct session *session,
                                        const union control_message *message, struct fault *why);
enum request_outcome request_namespace_next(struct session *session,
                                            const union control_message *message,
                                            struct fault *why);
enum request_outcome request_namespace_delete(struct session *session,
                                              const union control_message *message,
                                              struct fault *why);

/* What the session asked of the namespace is done, or `why` not: answers it. */
void session_answered(struct session *session, const struct fault *why);

#endif
