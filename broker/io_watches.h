/*
 * Watches: descriptors that an object without a ring watches, by one epoll set.
 * Runs on:    the engine's thread.
 * Invariants: edge-triggered, as io.h allows: a watch that did not read until -EAGAIN is not told
 *             again of what is left. removed() is called once, when no event of the watch can come.
 * Not here:   sleeping (io_threads.c), completions (io_helpers.h).
 */
#ifndef TUSK_BROKER_IO_WATCHES_H
#define TUSK_BROKER_IO_WATCHES_H

#include <stdbool.h>

#include "broker/io.h"

struct watches {
    int fd; /* the epoll set: readable when watches_look() has something to tell */
    struct io_watch *unarmed;  /* the kernel had no room for them yet */
    struct io_watch *removing; /* their removed() is due */
};

/* 0 or a negative errno. */
int watches_open(struct watches *watches);
void watches_close(struct watches *watches);

void watches_add(struct watches *watches, struct io_watch *watch);
void watches_remove(struct watches *watches, struct io_watch *watch);

/* Tells what there is, without blocking; returns how many calls it made. */
unsigned watches_look(struct watches *watches);

/* watches_look() has something to do whether or not `fd` is readable. */
static inline bool watches_waiting(const struct watches *watches)
{
    return watches->removing != NULL;
}

#endif
