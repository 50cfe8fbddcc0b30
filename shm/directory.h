/*
 * Directory: what clients may see without asking: topics and their tails, where chunk images lie,
 * the broker's state and counters. Clients map it read-only.
 * Runs on:    every word is written by the store's engine, but for counters that name another
 *             writer in broker/counters.c; read by anybody.
 * Invariants: a topic's durable <= published tail, first <= tail; positions and seqs only grow for
 *             one incarnation.
 * Ordering:
 *   [T1] topic_publish() -> topic_published_seq(): frames below the tail, then position, then seq
 *   [T2] topic_publish_durable() -> topic_durable_seq(): the sync's success, then the watermark
 *   [T3] topic_announce() -> topic_state(): name and incarnation, then the state that shows them
 *   [T4] topic_map_chunk() -> topic_chunk_unit(): the image's chunk header, then its arena unit
 *   [T5] topic_publish_first() -> topic_first_seq(): first position, then first seq
 *   sync_each needs no tag of its own: it is stored before any unit that is placed under the new
 *   schedule is published [T1], so who loads it after a tail is never behind that tail
 *   [P1] chunk_stamp_set() -> chunk_stamp(): the complete image, then its stamp (see pins.h)
 */
#ifndef TUSK_SHM_DIRECTORY_H
#define TUSK_SHM_DIRECTORY_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/atom.h"
#include "shm/layout.h"

#define DIRECTORY_MAGIC UINT64_C(0x524944204b535554) /* "TUSK DIR" */

enum broker_state {
    BROKER_STARTING = 0,
    BROKER_RUNNING = 1,
    BROKER_DRAINING = 2,
    BROKER_STOPPED = 3,
};

enum topic_state {
    TOPIC_FREE = 0,    /* the descriptor names nothing */
    TOPIC_ABSENT = 1,  /* somebody has opened the name; the topic does not exist (yet) */
    TOPIC_PRESENT = 2, /* the topic exists */
    TOPIC_DELETED = 3, /* it existed; handles of this incarnation answer -ESTALE */
};

struct directory_header_shm {
    uint64_t magic;
    uint64_t digest; /* layout_digest() */
    uint64_t bytes;  /* of the region */
    uint64_t chunk_bytes;
    uint64_t arena_bytes;
    uint64_t topics_max;
    uint64_t topics_offset;
    uint64_t stamps_offset; /* one atom for each arena unit */
    uint64_t units;         /* of small_chunk_bytes(chunk_bytes) in the arena */
    uint64_t counters_max;
    uint64_t counters_offset;
    uint64_t epoch; /* unique for each start of a broker */
    uint64_t pid;   /* the broker's */
    uint64_t reserved[3];
};
LAYOUT_SIZE(struct directory_header_shm, 128);

struct directory_shm {
    struct directory_header_shm header; /* written once, before any client sees it */

    alignas(WRITER_STRIDE) struct atom state; /* enum broker_state */
    struct atom fenced;                       /* 0, or the errno that fenced the store */
    struct atom arena_short;                  /* 1: ring your lane after an unpin */
    struct atom client_fences; /* 1: membarrier is refused, clients fence themselves */
    struct atom topics_used;   /* descriptors below this index have been used */

    /* Options of the namespace, which may change: read them for each call. */
    struct atom sync_each; /* 1 under the schedule `each` */
    struct atom strict;    /* 1: consistency is strictly-at-once ... */
    struct atom persist_every;
};
LAYOUT_AT(struct directory_shm, state, 128);
LAYOUT_SIZE(struct directory_shm, 256);

struct topic_shm {
    /* Moved by every unit. */
    alignas(WRITER_STRIDE) struct atom tail_position;
    struct atom next_seq; /* published last */

    /* Moved by every flush. */
    alignas(WRITER_STRIDE) struct atom durable_position;
    struct atom durable_seq; /* entries below are durable; published last */

    /* Moved by trims and by reads of the group "default". */
    alignas(WRITER_STRIDE) struct atom first_position;
    struct atom first_seq; /* published last */
    struct atom cursor_seq;
    struct atom cursor_exists; /* 1: the group "default" exists */
    /* What the topic holds, in bytes of log, is tail_position - first_position. */

    /* Rarely. */
    alignas(WRITER_STRIDE) struct atom state; /* enum topic_state */
    struct atom incarnation;                  /* unique for each use of the descriptor */
    struct atom topic_id; /* 0 while absent; on disk, never used twice; as in chunk headers */
    uint64_t name_bytes;

    /* Direct-mapped by chunk_no: (chunk_no << 24 | unit) + 1; 0 = not in the arena. */
    alignas(WRITER_STRIDE) struct atom chunk_map[CHUNK_MAP_ENTRIES];

    alignas(WRITER_STRIDE) unsigned char name[TOPIC_NAME_BYTES_MAX + 1];
};
LAYOUT_AT(struct topic_shm, durable_position, 128);
LAYOUT_AT(struct topic_shm, first_position, 256);
LAYOUT_AT(struct topic_shm, state, 384);
LAYOUT_AT(struct topic_shm, chunk_map, 512);
LAYOUT_AT(struct topic_shm, name, 640);
LAYOUT_SIZE(struct topic_shm, 896);

struct counter_shm {
    char name[40];
    char help[80];
    struct atom value; /* the line has one writer */
};
LAYOUT_SIZE(struct counter_shm, 128);

enum { CHUNK_UNIT_BITS = 24, COUNTERS_MAX = 128 };

struct directory_geometry {
    uint64_t chunk_bytes;
    uint64_t arena_bytes;
    uint64_t topics_max;
};

/* Bytes that a directory of this geometry takes. */
uint64_t directory_bytes(const struct directory_geometry *geometry);

/* Writes the header of a new directory over zeroed memory. */
void directory_format(struct directory_shm *directory, const struct directory_geometry *geometry,
                      uint64_t epoch, uint64_t pid);

/* Is this region, of which `bytes` are mapped, a directory of this layout? 0 or -EPROTO. */
int directory_check(const struct directory_shm *directory, uint64_t bytes);

static inline struct topic_shm *directory_topic(struct directory_shm *directory, uint32_t index)
{
    return (struct topic_shm *)(void *)((unsigned char *)directory +
                                        directory->header.topics_offset) +
           index;
}

static inline struct atom *directory_stamp(struct directory_shm *directory, uint32_t unit)
{
    return (struct atom *)(void *)((unsigned char *)directory + directory->header.stamps_offset) +
           unit;
}

static inline struct counter_shm *directory_counter(struct directory_shm *directory, uint32_t index)
{
    return (struct counter_shm *)(void *)((unsigned char *)directory +
                                          directory->header.counters_offset) +
           index;
}

/* Engine side. */

static inline void topic_publish(struct topic_shm *topic, uint64_t position, uint64_t next_seq)
{
    atom_store_release(&topic->tail_position, position); /* [T1] release */
    atom_store_release(&topic->next_seq, next_seq);      /* [T1] release */
}

static inline void topic_publish_durable(struct topic_shm *topic, uint64_t position, uint64_t seq)
{
    atom_store_release(&topic->durable_position, position); /* [T2] release */
    atom_store_release(&topic->durable_seq, seq);           /* [T2] release */
}

static inline void topic_publish_first(struct topic_shm *topic, uint64_t position, uint64_t seq)
{
    atom_store_release(&topic->first_position, position); /* [T5] release */
    atom_store_release(&topic->first_seq, seq);           /* [T5] release */
}

static inline void topic_announce(struct topic_shm *topic, enum topic_state state)
{
    atom_store_release(&topic->state, state); /* [T3] release */
}

static inline void topic_map_chunk(struct topic_shm *topic, uint64_t chunk_no, uint32_t unit)
{
    atom_store_release(&topic->chunk_map[chunk_no & (CHUNK_MAP_ENTRIES - 1)],
                       (chunk_no << CHUNK_UNIT_BITS | unit) + 1); /* [T4] release */
}

/* Does the map name a later chunk in the place of this one? Readers at the tail find theirs in the
 * map; an old chunk that was loaded again is told to who asked for it. */
static inline bool topic_map_names_later(const struct topic_shm *topic, uint64_t chunk_no)
{
    const uint64_t word = atom_load_relaxed(
        &topic->chunk_map[chunk_no & (CHUNK_MAP_ENTRIES - 1)]); /* the writer's own */
    return word != 0 && (word - 1) >> CHUNK_UNIT_BITS > chunk_no;
}

/* Forgets the chunk, if the map still names it. */
static inline void topic_unmap_chunk(struct topic_shm *topic, uint64_t chunk_no, uint32_t unit)
{
    struct atom *entry = &topic->chunk_map[chunk_no & (CHUNK_MAP_ENTRIES - 1)];
    if (atom_load_relaxed(entry) == (chunk_no << CHUNK_UNIT_BITS | unit) + 1) { /* own word */
        atom_store_release(entry, 0);                                           /* [T4] release */
    }
}

static inline void chunk_stamp_set(struct atom *stamp, uint64_t value)
{
    atom_store_release(stamp, value); /* [P1] release */
}

/* Either side. */

static inline uint64_t topic_published_seq(const struct topic_shm *topic)
{
    return atom_load_acquire(&topic->next_seq); /* [T1] acquire */
}

static inline uint64_t topic_durable_seq(const struct topic_shm *topic)
{
    return atom_load_acquire(&topic->durable_seq); /* [T2] acquire */
}

static inline uint64_t topic_first_seq(const struct topic_shm *topic)
{
    return atom_load_acquire(&topic->first_seq); /* [T5] acquire */
}

static inline enum topic_state topic_state(const struct topic_shm *topic)
{
    return (enum topic_state)atom_load_acquire(&topic->state); /* [T3] acquire */
}

/* The arena unit of a chunk: 1 and *unit, or 0 when the map does not name it. */
static inline int topic_chunk_unit(const struct topic_shm *topic, uint64_t chunk_no, uint32_t *unit)
{
    const uint64_t word =
        atom_load_acquire(&topic->chunk_map[chunk_no & (CHUNK_MAP_ENTRIES - 1)]); /* [T4] acquire */
    if (word == 0 || (word - 1) >> CHUNK_UNIT_BITS != chunk_no) {
        return 0;
    }
    *unit = (uint32_t)((word - 1) & ((UINT64_C(1) << CHUNK_UNIT_BITS) - 1));
    return 1;
}

static inline uint64_t chunk_stamp(const struct atom *stamp)
{
    return atom_load_acquire(stamp); /* [P1] acquire */
}

#endif
