/*
 * Mail: what the control thread and an engine say to each other. Posted to a mailbox (mailbox.h);
 * the sender gives the subject away until it is mailed back as named here.
 * Control thread to engine:
 *   MAIL_STORE_ATTACH   an opened struct engine_store, to be served; before any of its clients
 *   MAIL_STORE_SET      store->wanted has new options: apply them, then mail MAIL_STORE_SET_DONE
 *                       (none, if MAIL_STORE_CLOSED crosses it)
 *   MAIL_STORE_CLOSE    take what its lanes have published, flush, close, then mail MAIL_STORE_CLOSED
 *   MAIL_CLIENT_ATTACH  a welcomed session's struct client, of client->store; before any of its lanes
 *   MAIL_LANE_ATTACH    a new struct lane of an attached client
 *   MAIL_LANE_CLOSE     take what the lane has published, then mail MAIL_LANE_CLOSED
 *   MAIL_PINS_ATTACH    client->pins_fd is set: look at it when evicting, then mail
 *                       MAIL_PINS_ATTACHED; only then may the client pin anything
 *   MAIL_CLIENT_CLOSE   close all its lanes as above, forget its pins and topics, then mail
 *                       MAIL_CLIENT_CLOSED (no MAIL_LANE_CLOSED for those lanes)
 *   MAIL_STOP           MAIL_STORE_CLOSE for all its stores, then end
 * Engine to control thread:
 *   MAIL_LANE_CLOSED    nothing of the engine refers to the lane any more
 *   MAIL_PINS_ATTACHED  every eviction from now on looks at the client's pins
 *   MAIL_CLIENT_CLOSED  nothing of the engine refers to the client or its lanes any more
 *   MAIL_CLIENT_HOSTILE client->hostile says what it did: close its session
 *   MAIL_STORE_SET_DONE the options hold, and what was committed before is durable
 *   MAIL_STORE_CLOSED   nothing of the engine refers to the store or its clients any more
 *   MAIL_ENGINE_STOPPED the engine has ended after MAIL_STOP, subject: its struct engine
 * A namespace's job to the control thread:
 *   MAIL_JOB_DONE       its thread is about to end, subject: the struct namespace
 */
#ifndef TUSK_BROKER_MAIL_H
#define TUSK_BROKER_MAIL_H

enum mail_kind {
    MAIL_STORE_ATTACH = 1,
    MAIL_STORE_SET,
    MAIL_STORE_CLOSE,
    MAIL_CLIENT_ATTACH,
    MAIL_LANE_ATTACH,
    MAIL_LANE_CLOSE,
    MAIL_PINS_ATTACH,
    MAIL_CLIENT_CLOSE,
    MAIL_STOP,
    MAIL_LANE_CLOSED,
    MAIL_PINS_ATTACHED,
    MAIL_CLIENT_CLOSED,
    MAIL_CLIENT_HOSTILE,
    MAIL_STORE_SET_DONE,
    MAIL_STORE_CLOSED,
    MAIL_ENGINE_STOPPED,
    MAIL_JOB_DONE,
};

/* Embedded in its subject, so that posting never allocates: one for each kind in flight. */
struct mail {
    struct mail *next;
    enum mail_kind kind;
    void *subject;
};

#endif
