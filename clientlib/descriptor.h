/*
 * Descriptor: a topic's descriptor in the directory, as long as this handle uses it.
 * Runs on:    the lane's thread; the list and `refs` belong to the holder of the handle's lock.
 * Invariants: all topics of a handle with one name share a descriptor, so opening one again asks
 *             nobody. Each TOPIC_OPEN is followed by one TOPIC_CLOSE, or by the session's end.
 */
#ifndef TUSK_CLIENTLIB_DESCRIPTOR_H
#define TUSK_CLIENTLIB_DESCRIPTOR_H

#include <stdint.h>
#include <sys/queue.h>

#include "clientlib/client_lane.h"

struct descriptor {
    struct topic_shm *shm;
    uint64_t incarnation;
    uint64_t word; /* second word of submissions: its index, low bits of the incarnation */
    uint64_t hash; /* of the name */
    uint32_t refs;
    LIST_ENTRY(descriptor) siblings; /* in tusk.descriptors */
};

/* 0; -EINVAL: not a name of 1 to 255 bytes; -ENOMEM; or what the broker says. */
int descriptor_open(struct client_lane *lane, const char *name, struct descriptor **descriptor);

/* lane is the calling thread's, or NULL: then, as without room in it, the broker keeps the
 * descriptor for the session till that ends. */
void descriptor_close(struct tusk *tusk, struct client_lane *lane, struct descriptor *descriptor);

#endif
