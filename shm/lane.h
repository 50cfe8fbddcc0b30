/*
 * Lane: one client thread's memory: the submission ring (SQ), the completion ring (CQ) and the
 * words around them. Single producer and single consumer on each ring.
 * Runs on:    lane_reserve, lane_publish, lane_reap on the client's thread; the verbs that begin
 *             with lane_engine on the engine.
 * Invariants: head <= tail <= head + size on both rings; all indices are 64 bits and only grow; the
 *             SQ counts bytes, the CQ counts completions.
 * Trust:      the engine treats every byte of a lane as written by an enemy: it keeps its own
 *             indices, bounds `tail - head` on a local copy, and copies headers once. The client
 *             trusts the engine's words.
 * Ordering:
 *   [L1] lane_publish() -> lane_engine_tail(): submission bytes, then the SQ tail that covers them
 *   [L2] lane_engine_publish() -> lane_room(): the engine's last read, then the SQ head
 *   [L3] lane_engine_publish() -> lane_completions(): completion bytes, then the CQ tail
 *   [L4] lane_reap_to() -> lane_engine_cq_head(): the client's last read, then the CQ head
 *   Sleeping (see wake.h) adds [W1] to [W4] on `parked` and `waiting`.
 * Backing:    a memfd sealed against growing and shrinking. The client maps the SQ twice back to
 *             back, so that no submission wraps; the engine only a part of it for the second time,
 *             and looks how much lies in one piece (lane_engine_piece).
 */
#ifndef TUSK_SHM_LANE_H
#define TUSK_SHM_LANE_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "shm/atom.h"
#include "shm/layout.h"
#include "shm/submission.h"

/* lane.waiting: for any publication, of completions or of room. */
#define LANE_WAITING_ANY UINT64_MAX

#define LANE_MAGIC UINT64_C(0x454e414c4b535554) /* "TUSKLANE" */

struct lane_header_shm {
    uint64_t magic;
    uint64_t digest; /* layout_digest() */
    uint64_t lane_id;
    uint64_t sq_bytes;  /* a power of two */
    uint64_t sq_offset; /* from the start of the memfd; page-aligned */
    uint64_t cq_slots;  /* a power of two */
    uint64_t cq_offset;
    uint64_t bytes; /* of the memfd */
};

struct lane_shm {
    struct lane_header_shm header; /* written once by the broker */

    alignas(WRITER_STRIDE) struct atom sq_tail; /* client: bytes submitted */

    alignas(WRITER_STRIDE) struct atom cq_head; /* client: completions reaped */
    struct atom waiting; /* client: 0 awake; else sleeps until cq_tail reaches it, or ANY */
    struct atom fences;  /* client, before it publishes: 1 = it fences by itself [W2] */

    alignas(WRITER_STRIDE) struct atom cq_tail; /* engine: completions posted */
    struct atom sq_head;                        /* engine: bytes taken */

    alignas(WRITER_STRIDE) struct atom parked; /* engine: 0 awake; else ring once, see wake.h */
    struct atom revoked;                       /* engine: 0, or why the lane is closed (errno) */
    struct atom epoch;                         /* engine: of the broker that serves the lane */
};
LAYOUT_AT(struct lane_shm, sq_tail, 128);
LAYOUT_AT(struct lane_shm, cq_head, 256);
LAYOUT_AT(struct lane_shm, waiting, 264);
LAYOUT_AT(struct lane_shm, fences, 272);
LAYOUT_AT(struct lane_shm, cq_tail, 384);
LAYOUT_AT(struct lane_shm, sq_head, 392);
LAYOUT_AT(struct lane_shm, parked, 512);
LAYOUT_SIZE(struct lane_shm, 640);

/* One side's view of a mapped lane. */
struct lane_map {
    struct lane_shm *shm;
    unsigned char *sq;         /* the ring, and behind its end its beginning again */
    struct completion_shm *cq; /* cq_slots of them */
    uint64_t sq_bytes;
    uint64_t mirror_bytes; /* so much of its beginning: all of it on the client's side */
    uint64_t cq_slots;
    uint64_t mapped_bytes;
};

/* Makes the sealed memfd of a lane, prefaulted, with its header written. Returns the fd (the caller
 * owns it) or -errno: -ENOMEM, -ENOSPC, -EINVAL for an sq_bytes out of range. */
int lane_create(uint64_t lane_id, uint64_t sq_bytes);

/* Maps a lane, prefaulted; `map` is filled. Checks seals, size and header (-EPROTO). The fd stays
 * the caller's. */
int lane_open(struct lane_map *map, int fd);

/* The same for the broker, which counts as its own what all of its lanes have mapped: pages are
 * mapped as they are used, and few of them twice. The memory is there in any case. */
int lane_open_engine(struct lane_map *map, int fd);
void lane_close(struct lane_map *map);

/* Client side. */

/* The engine's SQ head, acquire [L2]: bytes below it may be overwritten. */
static inline uint64_t lane_room(const struct lane_map *map)
{
    return atom_load_acquire(&map->shm->sq_head); /* [L2] acquire */
}

static inline void *lane_at(const struct lane_map *map, uint64_t index)
{
    return map->sq + (index & (map->sq_bytes - 1));
}

static inline void lane_publish(const struct lane_map *map, uint64_t tail)
{
    atom_store_release(&map->shm->sq_tail, tail); /* [L1] release */
}

/* Fetches the place of a completion that may be posted by now, while the CQ tail is being loaded:
 * both come from the engine's core, and one after the other they take twice as long. */
static inline void lane_completion_fetch(const struct lane_map *map, uint64_t index)
{
    __builtin_prefetch(&map->cq[index & (map->cq_slots - 1)]);
}

/* How many completions were ever posted, acquire [L3]. */
static inline uint64_t lane_completions(const struct lane_map *map)
{
    return atom_load_acquire(&map->shm->cq_tail); /* [L3] acquire */
}

static inline const struct completion_shm *lane_completion(const struct lane_map *map,
                                                           uint64_t index)
{
    return &map->cq[index & (map->cq_slots - 1)];
}

static inline void lane_reap_to(const struct lane_map *map, uint64_t head)
{
    atom_store_release(&map->shm->cq_head, head); /* [L4] release */
}

/* Engine side. */

static inline uint64_t lane_engine_tail(const struct lane_map *map)
{
    return atom_load_acquire(&map->shm->sq_tail); /* [L1] acquire */
}

/* So many bytes from here on lie in one piece; at least a submission's header. */
static inline uint64_t lane_engine_piece(const struct lane_map *map, uint64_t index)
{
    return map->sq_bytes + map->mirror_bytes - (index & (map->sq_bytes - 1));
}

/* As lane_completion_fetch(), for a submission and the SQ tail. */
static inline void lane_engine_fetch(const struct lane_map *map, uint64_t index)
{
    const unsigned char *header = lane_at(map, index);
    __builtin_prefetch(header);
    __builtin_prefetch(header + 64);
}

static inline uint64_t lane_engine_cq_head(const struct lane_map *map)
{
    return atom_load_acquire(&map->shm->cq_head); /* [L4] acquire */
}

static inline void lane_engine_publish(const struct lane_map *map, uint64_t sq_head,
                                       uint64_t cq_tail)
{
    atom_store_release(&map->shm->cq_tail, cq_tail); /* [L3] release */
    atom_store_release(&map->shm->sq_head, sq_head); /* [L2] release */
}

static inline void lane_engine_complete(const struct lane_map *map, uint64_t index,
                                        const struct completion_shm *completion)
{
    map->cq[index & (map->cq_slots - 1)] = *completion;
}

/* The only read of a submission's header: the copy is checked and used. */
static inline struct submission submission_copy(const struct lane_map *map, uint64_t index)
{
    struct submission copy;
    const volatile uint64_t *word = lane_at(map, index);
    const uint64_t first = word[0];
    const uint64_t second = word[1];
    copy.bytes = (uint32_t)first;
    copy.kind = (uint16_t)(first >> 32);
    copy.flags = (uint16_t)(first >> 48);
    copy.topic = (uint32_t)second;
    copy.incarnation = (uint32_t)(second >> 32);
    copy.user_data = word[2];
    copy.arg = word[3];
    return copy;
}

/* The only read of bytes of a submission's body that are looked at, and not only copied to the log:
 * the copy is checked and used. */
static inline void lane_engine_copy(void *copy, const void *body, uint64_t bytes)
{
    memcpy(copy, body, bytes);
    fence_compiler(); /* it is not read from the lane again */
}

#endif
