/*
 * Topic set: all topics of a store, found by name, by descriptor and by id.
 * Runs on:    the engine of the store.
 * Invariants: a name leads to at most one descriptor that is ABSENT or PRESENT; a descriptor is given
 *             to another name only when nobody refers to it any more (topic_is_idle), with a new
 *             incarnation. Descriptor 0 is the system topic's, which has no name.
 */
#ifndef TUSK_BROKER_TOPIC_SET_H
#define TUSK_BROKER_TOPIC_SET_H

#include <stdint.h>

#include "broker/list.h"
#include "broker/topic.h"
#include "shm/directory.h"

struct topic_set {
    struct directory_shm *directory;
    struct topic **by_index; /* topics_max of them */
    struct list *buckets;    /* of struct topic.hash_next */
    uint32_t bucket_count;   /* a power of two */
    struct list all;         /* of struct topic.topics */
    uint32_t *free_indexes;  /* a stack */
    uint32_t free_count;
    uint32_t used; /* descriptors below were used before */
    uint64_t next_incarnation;
    uint32_t present; /* topics that exist */
};

int topic_set_init(struct topic_set *set, struct directory_shm *directory);
void topic_set_deinit(struct topic_set *set);

/* The descriptor of a name, ABSENT where there was none. -ENOSPC: all are in use; -ENOMEM. */
int topic_set_open(struct topic_set *set, const void *name, uint64_t name_bytes,
                   struct topic **topic);

/* The system topic's descriptor. */
int topic_set_open_system(struct topic_set *set, struct topic **topic);

/* The topic that a client's submission means: NULL when the index or incarnation is none of ours. */
struct topic *topic_set_find(const struct topic_set *set, uint32_t index, uint32_t incarnation);

/* The name leads to it no more; its state becomes TOPIC_DELETED. */
void topic_set_unname(struct topic_set *set, struct topic *topic);

/* Frees the descriptor if nobody refers to it and nothing of it is left. */
void topic_set_collect(struct topic_set *set, struct topic *topic);

#endif
