/*
 * Arena: this process's read-only view of the chunk images, and its pins on them.
 * Runs on:    any thread; the lock is for opening and for the bitmap, not for reading.
 * Invariants: mapped at the first read and never before, since mapping costs time and page tables;
 *             each pin word has one owner between pin_words_take() and pin_words_give().
 * Trust:      units that the broker names are checked against the size of the arena.
 * fork:       the pins' mapping is not inherited: a child must not move its parent's pins.
 * Not here:   what a pinned image contains (chunk_view.h).
 */
#ifndef TUSK_CLIENTLIB_ARENA_H
#define TUSK_CLIENTLIB_ARENA_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/mapping.h"
#include "shm/pins.h"

struct tusk;

/* What one pin word holds, for those who ask whether it has been taken back. */
struct pinned {
    struct atom unit;
    struct atom units; /* of the chunk; 0: nothing is held */
    struct atom stamp;
};

struct arena {
    const unsigned char *images; /* NULL until the first read; what follows is set before it is */
    uint64_t bytes;
    uint64_t unit_bytes;
    uint64_t chunk_bytes; /* C */
    struct pins_shm *pins;
    struct pinned pinned[PINS_MAX]; /* by word; each written by the word's owner */
    struct atom words_end;          /* words from this one on have never been taken */

    pthread_mutex_t lock; /* of all below, and of opening */
    int fd;               /* -1 once it is mapped */
    struct mapping images_mapping;
    struct mapping pins_mapping;
    uint64_t words_taken[PINS_MAX / 64];
};

void arena_init(struct arena *arena);
void arena_deinit(struct arena *arena, bool forked);

/* Maps arena and pins unless that has been done. 0 or -errno. */
int arena_open(struct tusk *tusk);

/* A word's owner holds the image in `unit`, or nothing any more. */
void pin_word_holds(struct arena *arena, const struct atom *word, uint32_t unit, uint64_t units,
                    uint64_t stamp);
void pin_word_holds_nothing(struct arena *arena, const struct atom *word);

/* Has all that this process holds around this place been intact since it was pinned? 0; -ESTALE:
 * no, or nothing holds it. What lies outside the arena is a copy, and intact. */
int arena_check(const struct arena *arena, struct directory_shm *directory, const void *place);

/* Words that are never kept from one call to the next, so that a session with more readers than
 * words can still read: its entries are copied then. */
enum { PINS_TRANSIENT = 64 };

/* A transient word; NULL: all are in use. Given back by pin_words_give(). */
struct atom *pin_word_transient_take(struct arena *arena);

static inline bool pin_word_transient(const struct arena *arena, const struct atom *word)
{
    return word - arena->pins->pin >= PINS_MAX - PINS_TRANSIENT;
}

/* Up to `count` pin words; returns how many: fewer when the others are in use. */
uint32_t pin_words_take(struct arena *arena, struct atom **words, uint32_t count);

/* Gives words back, which pin nothing any more. */
void pin_words_give(struct arena *arena, struct atom *const *words, uint32_t count);

#endif
