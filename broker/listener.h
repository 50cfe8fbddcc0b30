/*
 * Listener: the socket that clients connect to.
 * Runs on:    claim, open and close on the thread that owns the broker; accept and shut on the
 *             control thread.
 * Invariants: one broker at a time owns a socket path: it holds `<path>.lock` from listener_claim()
 *             to listener_close(). A socket file is removed only by the owner of that lock, when
 *             nobody listens on it or the owner made it.
 * Trust:      anybody whom the socket's mode and group let connect. Who it is, the kernel says
 *             (SO_PEERCRED), as of the connect().
 * Not here:   what clients say (session.h).
 */
#ifndef TUSK_BROKER_LISTENER_H
#define TUSK_BROKER_LISTENER_H

#include <stdbool.h>
#include <sys/stat.h>

#include "broker/config.h"

struct fault;

struct listener {
    char path[CONFIG_SOCKET_PATH_BYTES];
    int lock;
    int socket;
    bool made_dir; /* the socket's directory: it goes at the end, if nothing else is in it */
    int reserve;   /* closed to have a descriptor for refusing a client when there is none left */
    dev_t device;
    ino_t inode; /* of the socket file */
};

/* What listener_accept() answers besides 0 and errors. */
enum listener_outcome {
    LISTENER_REFUSED = 1,   /* a connection was closed for want of descriptors */
    LISTENER_EXHAUSTED = 2, /* and not even that was possible: try again later */
};

/* Makes the socket's directory if it is missing (its parent must be there), and makes sure that
 * nobody else listens there. 0, or -errno, the words in fault and the directory gone again. */
int listener_claim(struct listener *listener, const struct config *config, struct fault *fault);

/* Makes the socket, with the mode and group of config, and listens. 0 or -errno, the words in
 * fault. */
int listener_open(struct listener *listener, const struct config *config, struct fault *fault);

/* Takes one connection: 0 and *connection, which is the caller's; one of enum listener_outcome; or
 * -EAGAIN when there is none. */
int listener_accept(struct listener *listener, int *connection);

/* On the control thread, or without one: removes the socket, so that clients look for the next
 * broker; the path stays claimed. */
void listener_shut(struct listener *listener);

/* Gives the path back. Accepts one whose claim or open failed. */
void listener_close(struct listener *listener);

#endif
