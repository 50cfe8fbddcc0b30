/*
 * Descriptor: finding a topic's descriptor in the directory, and giving it back.
 * Runs on:    the lane's thread.
 * Invariants: each descriptor_open() is followed by one descriptor_close(), or by the session's end.
 */
#ifndef TUSK_CLIENTLIB_DESCRIPTOR_H
#define TUSK_CLIENTLIB_DESCRIPTOR_H

#include <stdint.h>

#include "clientlib/client_lane.h"

struct descriptor {
    struct topic_shm *shm;
    uint64_t incarnation;
    uint64_t word; /* second word of submissions: its index, low bits of the incarnation */
};

/* 0; -EINVAL: not a name of 1 to 255 bytes; or what the broker says. */
int descriptor_open(struct client_lane *lane, const char *name, struct descriptor *descriptor);

/* Without room, or while the thread holds a reservation, it stays the session's till its end. */
void descriptor_close(struct client_lane *lane, uint64_t word);

#endif
