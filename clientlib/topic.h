/*
 * Topic: a handle for a topic's descriptor in the directory.
 * Runs on:    any thread; `readers`, `cursors` and `closed` belong to the holder of the handle's lock.
 * Invariants: a handle names one incarnation of the descriptor: when the topic is deleted, the
 *             handle answers -ESTALE for ever. It is freed when it is closed and has no reader.
 * Not here:   appending (submit.h), reading (reader.c, cursor.c), administration (admin.c).
 */
#ifndef TUSK_CLIENTLIB_TOPIC_H
#define TUSK_CLIENTLIB_TOPIC_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "clientlib/handle.h"
#include "shm/directory.h"

struct tusk_topic {
    struct tusk *tusk;
    struct topic_shm *shm; /* read-only */
    uint64_t word;         /* second word of its submissions: descriptor index, incarnation */
    unsigned flags;        /* of its appends: enum submission_flag */
    uint64_t incarnation;
    struct descriptor *descriptor; /* where the three come from */
    uint64_t serial;               /* unique in this handle: what lanes cache by */

    bool closed; /* waits for its last reader */
    LIST_HEAD(, tusk_reader) readers;
    LIST_HEAD(, topic_cursor) cursors; /* one for each lane that has read by the cursor */
    LIST_ENTRY(tusk_topic) siblings;   /* in tusk.topics */
};

/* Asks the broker for an option; when: enum topic_set_when. 0 or an error. */
int topic_option_set(struct client_lane *lane, uint64_t topic_word, const char *option,
                     const char *value, uint64_t when);

/* Frees a topic with its cursors; it has no readers and is in no list any more. */
void topic_free(struct tusk_topic *topic);

/* Takes a reader out of the topic's list, or NULL; frees a reader that is in none. For
 * tusk_disconnect(): the broker has been left already. */
struct tusk_reader *topic_reader_take(struct tusk_topic *topic);
void reader_free(struct tusk_reader *reader);

/* Does a descriptor still name what it named as this incarnation? 0 or -ESTALE. */
static inline int incarnation_check(const struct topic_shm *shm, uint64_t incarnation)
{
    const enum topic_state state = topic_state(shm);
    if (UNLIKELY((state != TOPIC_PRESENT && state != TOPIC_ABSENT) ||
                 atom_load_relaxed(&shm->incarnation) != incarnation)) { /* [T3] */
        return -ESTALE;
    }
    return 0;
}

/* Has the topic been deleted? 0 or -ESTALE. */
static inline int topic_check(const struct tusk_topic *topic)
{
    return incarnation_check(topic->shm, topic->incarnation);
}

#endif
