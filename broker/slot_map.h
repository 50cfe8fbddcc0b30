/*
 * Slot map: which slots are free, and which of those were written before.
 * Runs on:    the engine's thread; memory only, each call but growing in constant time.
 * Invariants: a slot's number counts units of S = C / 16 bytes over all segments; sixteen units on a
 *             multiple of sixteen are a group: one slot of C bytes, or split into small ones. A group
 *             is in the set that its masks say and in no other. What is looked for is taken from where
 *             it lies lowest, so that the last segments are the ones that become free.
 *             The last system_groups free groups go to the system topic only.
 * Trust:      numbers from disk pass slot_map_mark() first; elsewhere a wrong one is our defect.
 * Not here:   files (segment.h).
 */
#ifndef TUSK_BROKER_SLOT_MAP_H
#define TUSK_BROKER_SLOT_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/bit_tree.h"
#include "shm/frame.h"

enum { GROUP_NONE = UINT32_MAX };
#define GROUP_UNITS SMALL_CHUNKS

enum slot_flag {
    SLOT_SMALL = 1,   /* S bytes; without it C bytes */
    SLOT_WRITTEN = 2, /* one that was written before, if there is one: for small durable writes */
    SLOT_SYSTEM = 4,  /* for the system topic */
};

enum slot_set { SET_FREE_WRITTEN, SET_FREE_FRESH, SET_PART_WRITTEN, SET_PART_FRESH, SET_NONE };
enum { SLOT_SETS = SET_NONE };

struct slot_group {
    uint16_t used;    /* a bit for each unit */
    uint16_t written; /* a bit for each unit */
};

struct slot_map {
    struct slot_group *groups;
    uint32_t groups_count;
    uint32_t groups_max; /* allocated */
    struct {
        struct bit_tree groups;
        uint32_t count;
    } sets[SLOT_SETS];
    uint32_t system_groups;
    /* Free ones kept for who asks for SLOT_WRITTEN, while there are others. */
    uint32_t written_groups;
};

void slot_map_init(struct slot_map *map, uint32_t system_groups, uint32_t written_groups);
void slot_map_deinit(struct slot_map *map);

/* Adds a segment's groups, closed. 0 or -ENOMEM. */
int slot_map_grow(struct slot_map *map, uint32_t groups);

/* The segment whose groups begin with `first` is there, never written: its slots may be taken, but for
 * the first unit of the first group, which holds the segment's header. */
void slot_map_open(struct slot_map *map, uint32_t first, uint32_t groups);

/* It goes: none of its slots is taken. */
void slot_map_close(struct slot_map *map, uint32_t first, uint32_t groups);

/* Takes a slot; flags are enum slot_flag. False: there is none. */
bool slot_map_take(struct slot_map *map, unsigned flags, uint32_t *slot);

/* Gives a slot back; it counts as written from now on. */
void slot_map_release(struct slot_map *map, uint32_t slot, bool small);

/* Takes one slot that a record names. -EBADMSG: it is none, or taken. */
int slot_map_mark(struct slot_map *map, uint32_t slot, bool small);

/* Takes a free group that was never written, to write it: GROUP_NONE if there is none. */
uint32_t slot_map_hold_fresh(struct slot_map *map);
/* Ends that; written or not. */
void slot_map_unhold(struct slot_map *map, uint32_t group, bool written);

static inline uint32_t slot_map_free_written(const struct slot_map *map)
{
    return map->sets[SET_FREE_WRITTEN].count;
}

static inline uint32_t slot_map_free_groups(const struct slot_map *map)
{
    return map->sets[SET_FREE_WRITTEN].count + map->sets[SET_FREE_FRESH].count;
}

#endif
