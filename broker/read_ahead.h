/*
 * Read-ahead: notices readers that go through a topic's old chunks one after the other, and has the
 * next ones read before they are asked for.
 * Runs on:    the engine of the store.
 * Invariants: what is read ahead and not used yet is never more than an eighth of the arena; nothing
 *             is read ahead for a reader that has not gone on twice from where it sought to; a chunk is
 *             read ahead once for each time that a reader passes, however many readers there are.
 * Not here:   reading and verifying (fetch.h); what goes when room is needed (chunk_pool.h).
 */
#ifndef TUSK_BROKER_READ_AHEAD_H
#define TUSK_BROKER_READ_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

struct store;
struct chunk;

enum {
    /* Readers that are followed at once; of more the ones that were heard of last. */
    READ_AHEAD_TRAILS = 32,
    /* The most that is kept ahead of one reader: deeper, a disk gains nothing. Bytes. */
    READ_AHEAD_BYTES_MAX = 4 * 1024 * 1024,
    /* All of them together: this part of the arena. */
    READ_AHEAD_PART = 8,
};

/* Where a reader, or several that go the same way together, has got to. */
struct read_trail {
    uint32_t topic; /* index and incarnation; incarnation 0: unused */
    uint64_t incarnation;
    uint64_t at;    /* the chunk that was used last */
    uint64_t end;   /* the first one that has not been asked for */
    uint32_t steps; /* from chunk to chunk, so far */
    uint32_t depth; /* chunks that are kept ahead */
    uint64_t used_ns;
};

struct read_ahead {
    struct read_trail trails[READ_AHEAD_TRAILS];
    struct read_trail *last; /* the one that was used last */
};

/* How a reader came to a chunk. */
enum read_kind {
    READ_SEEK, /* it looks for something in it */
    READ_ON,   /* from the chunk before */
};

/* A reader uses the chunk now; `waits`: it was not there. */
void read_ahead_use(struct store *store, const struct chunk *chunk, enum read_kind kind,
                    bool waits);

/* About every second: forgets what nobody came for. */
void read_ahead_tick(struct store *store);

#endif
