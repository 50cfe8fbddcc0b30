/*
 * Session: one client's control connection, and what the client owns: its lanes and its pins file.
 * Runs on:    the control thread.
 * Invariants: the struct client is the engine's from MAIL_CLIENT_ATTACH, which follows WELCOME, to
 *             MAIL_CLIENT_CLOSED; until then neither it nor a lane of it is freed. Each request gets
 *             one reply; a lane's CLOSE gets it once the engine has let go of the lane.
 * Trust:      everything a client sends is checked; descriptors it sends are dropped by the kernel.
 *             Whatever is malformed or out of turn ends this session, with a log line that says why
 *             and, where the client still listens, CONTROL_ERROR. A request that merely cannot be
 *             met gets CONTROL_ERROR, and the session goes on.
 * Not here:   the requests themselves (session_request.h); what happens in lanes (engine.h).
 */
#ifndef TUSK_BROKER_SESSION_H
#define TUSK_BROKER_SESSION_H

#include "broker/fault.h"
#include "broker/lane.h"
#include "broker/session_set.h"

/* Of one session, so that one process cannot take all lanes or all memory. */
enum { SESSION_LANES_MAX = 1024 };
#define SESSION_SQ_BYTES_MAX (UINT64_C(1) << 30)

enum session_state {
    SESSION_GREETING, /* in set.greeting; no HELLO yet, unknown to the engine */
    SESSION_WAITING,  /* in namespace.waiting: HELLO waits until that is open; the same */
    SESSION_OPEN,     /* in set.open */
    SESSION_CLOSING,  /* in set.closing; its socket is closed, its client is still the engine's */
};

struct session {
    struct session_set *set;
    struct list_node sessions;
    enum session_state state;
    struct namespace *space; /* NULL before HELLO */
    uint64_t hello_id;
    struct namespace *asked; /* that it waits for an answer about, or NULL */
    uint64_t asked_id;
    int socket;  /* -1 once it is closing */
    int process; /* pidfd: readable when the client is dead; -1 where the kernel has none */
    struct control_source socket_source;
    struct control_source process_source;
    uint64_t greeting_ends_ns;
    uint64_t start_time; /* of the client's process: with its pid unique for a boot */
    struct client client;
    struct list lanes; /* of struct session_lane.lanes */
    uint32_t lane_count;
    uint64_t sq_bytes; /* of its lanes together */
    int pins_share;    /* the client's descriptor of its pins file, until it is sent; else -1 */
    uint64_t pins_request_id;
};

struct session_lane {
    struct list_node lanes;
    struct lane *lane;
    bool closing;              /* MAIL_LANE_CLOSE has been posted */
    uint64_t close_request_id; /* for its reply */
};

/* A connection just accepted, which it takes over, of a peer known as `pid` and `uid`. NULL and the
 * words in `why` when it cannot be served; the connection stays the caller's then. */
struct session *session_new(struct session_set *set, int connection, pid_t pid, uid_t uid,
                            struct fault *why);

/* Ends a session for the reason given: a line in the log, the socket closed. Frees it where the
 * engine knows nothing of it. `error` 0: the client went of its own accord. */
void session_end(struct session *session, int error, const char *reason);

/* The namespace it waited for is open: welcomes it. Or it cannot be opened: says why, and ends it. */
void session_resume(struct session *session, const struct fault *why);

/* The engine has let go of one lane. */
void session_lane_closed(struct session *session, struct lane *lane);

/* The engine looks at its pins. */
void session_pins_attached(struct session *session);

/* Nothing of the engine refers to its client any more. */
void session_free(struct session *session);

/* Sends CONTROL_ERROR with the words in `why`: as control_send(). */
int session_send_error(int socket, uint64_t request_id, const struct fault *why);

/* Closes a connection so that its client still reads what was sent to it. */
void connection_close(int socket);

#endif
