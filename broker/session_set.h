/*
 * Session set: all control connections of one broker and what they share.
 * Runs on:    the control thread; init and deinit on the thread that owns the broker, without one.
 * Invariants: a connection is greeting until its HELLO was accepted, at most GREETING_TIMEOUT_NS;
 *             then open, or waiting until its namespace is, and from its end closing until the engine
 *             has let go of its client. What is in none of these lists is freed.
 * Trust:      clients' uids compete for connections: one uid's silent ones are limited, so that it
 *             cannot keep out the others.
 * Not here:   one client's requests (session.h); who may connect (listener.h).
 */
#ifndef TUSK_BROKER_SESSION_SET_H
#define TUSK_BROKER_SESSION_SET_H

#include <stdint.h>

#include "broker/control_loop.h"
#include "broker/list.h"
#include "broker/log.h"
#include "broker/mail.h"
#include "broker/namespace_set.h"

enum {
    /* All connections, whatever their state. Each takes two descriptors and one for each lane. */
    SESSIONS_MAX = 16384,
    /* Connections without HELLO: of one uid, enough for a thousand processes that start at once and
     * say HELLO within milliseconds; and of all. */
    GREETING_PER_UID_MAX = 256,
    GREETING_MAX = 1024,
};
#define GREETING_TIMEOUT_NS UINT64_C(5000000000)

struct session_set {
    struct control_loop *loop;
    struct namespace_set *namespaces;
    struct log *log;

    struct list greeting; /* of struct session.sessions, oldest first */
    struct list open;
    struct list closing;
    uint32_t greeting_count;
    uint32_t count;   /* in all three, and waiting */
    uint64_t refused; /* connections, ever */
    uint64_t hostile; /* sessions, ever */
    uint64_t last_session_id;
    uint64_t last_lane_id;
};

/* What it is given must outlive it. */
void session_set_init(struct session_set *set, struct control_loop *loop,
                      struct namespace_set *namespaces, struct log *log);

/* When no engine refers to any client any more: closes and frees what there is, without a word to
 * anybody: clients see the end of their sockets. Accepts one whose init failed. */
void session_set_deinit(struct session_set *set);

/* Takes over a new connection. */
void session_set_accept(struct session_set *set, int connection, uint64_t now_ns);

/* Ends connections that have not said HELLO in time. Returns when to call it again, in ns of the
 * same clock; UINT64_MAX: not before the next connection. */
uint64_t session_set_expire(struct session_set *set, uint64_t now_ns);

/* What an engine says: MAIL_LANE_CLOSED, MAIL_PINS_ATTACHED, MAIL_CLIENT_CLOSED or
 * MAIL_CLIENT_HOSTILE. */
void session_set_mail(struct session_set *set, const struct mail *mail);

/* Shows clients what was counted. */
void session_set_publish(struct session_set *set);

/* The broker is about to stop: hears no client any more, mail still. */
void session_set_mute(struct session_set *set);

#endif
