/* Chunk pool: see chunk_pool.h. */
#include "broker/chunk_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/pool_pins.h"
#include "shm/ensure.h"
#include "shm/pins.h"

enum {
    PLACE_FULL = 0xffff,
    /* Candidates of one eviction: one fence and one look at the pins serve them all. */
    EVICTION_CANDIDATES = 32,
};

int pool_init(struct chunk_pool *pool, struct directory_shm *directory, void *arena)
{
    *pool = (struct chunk_pool){
        .directory = directory,
        .arena = arena,
        .chunk_bytes = directory->header.chunk_bytes,
        .units = (uint32_t)directory->header.units,
        .partial = UNIT_NONE,
        .next_stamp = 1,
    };
    pool->bigs = pool->units / SMALL_CHUNKS;
    list_init(&pool->clean);
    list_init(&pool->readers);
    pool->used = calloc(pool->bigs, sizeof *pool->used);
    pool->free_bigs = calloc(pool->bigs, sizeof *pool->free_bigs);
    pool->marks = calloc((pool->units + 63) / 64, sizeof *pool->marks);
    if (pool->used == NULL || pool->free_bigs == NULL || pool->marks == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = pool->bigs; i > 0; i--) {
        pool->free_bigs[pool->free_big_count++] = i - 1;
    }
    return 0;
}

void pool_deinit(struct chunk_pool *pool)
{
    free(pool->used);
    free(pool->free_bigs);
    free(pool->marks);
}

static void clean_add(struct chunk_pool *pool, struct chunk *chunk)
{
    list_push_back(&pool->clean, &chunk->clean);
    pool->clean_count++;
}

static void clean_remove(struct chunk_pool *pool, struct chunk *chunk)
{
    if (list_linked(&chunk->clean)) {
        list_remove(&chunk->clean);
        pool->clean_count--;
    }
}

static struct atom *stamp_of(const struct chunk_pool *pool, const struct chunk *chunk)
{
    return directory_stamp(pool->directory, chunk->unit);
}

/* A place with a free unit that is not wholly free, other than the current one. */
static uint32_t partial_find(struct chunk_pool *pool)
{
    for (uint32_t i = 0; i < pool->bigs; i++) {
        const uint32_t place = (pool->partial_hint + i) % pool->bigs;
        if (pool->used[place] != 0 && pool->used[place] != PLACE_FULL) {
            pool->partial_hint = place;
            return place;
        }
    }
    return UNIT_NONE;
}

static uint32_t unit_take_big(struct chunk_pool *pool, bool system)
{
    const uint32_t reserve = system ? 0 : POOL_SYSTEM_BIGS;
    if (pool->free_big_count <= reserve) {
        return UNIT_NONE;
    }
    const uint32_t place = pool->free_bigs[--pool->free_big_count];
    pool->used[place] = PLACE_FULL;
    return place * SMALL_CHUNKS;
}

static uint32_t unit_take_small(struct chunk_pool *pool, bool system)
{
    if (pool->partial == UNIT_NONE || pool->used[pool->partial] == PLACE_FULL) {
        pool->partial = partial_find(pool);
    }
    if (pool->partial == UNIT_NONE) {
        const uint32_t unit = unit_take_big(pool, system);
        if (unit == UNIT_NONE) {
            return UNIT_NONE;
        }
        pool->partial = unit / SMALL_CHUNKS;
        pool->used[pool->partial] = 0;
    }
    const uint32_t bit = (uint32_t)__builtin_ctz(~(uint32_t)pool->used[pool->partial]);
    pool->used[pool->partial] |= (uint16_t)(1U << bit);
    return pool->partial * SMALL_CHUNKS + bit;
}

static bool chunk_is_small(const struct chunk *chunk)
{
    return chunk->number < SMALL_CHUNKS;
}

static void unit_give(struct chunk_pool *pool, const struct chunk *chunk)
{
    const uint32_t place = chunk->unit / SMALL_CHUNKS;
    if (chunk_is_small(chunk)) {
        pool->used[place] &= (uint16_t) ~(1U << (chunk->unit % SMALL_CHUNKS));
    } else {
        pool->used[place] = 0;
    }
    if (pool->used[place] == 0) {
        pool->free_bigs[pool->free_big_count++] = place;
        if (pool->partial == place) {
            pool->partial = UNIT_NONE;
        }
    }
}

/* The image is gone for everybody. A trimmed chunk whose slot is free already goes with it. */
static void chunk_drop(struct chunk_pool *pool, struct chunk *chunk)
{
    chunk_stamp_set(stamp_of(pool, chunk), 0);
    if (chunk->topic != NULL) {
        topic_unmap_chunk(chunk->topic->shm, chunk->number, chunk->unit);
    }
    unit_give(pool, chunk);
    clean_remove(pool, chunk);
    chunk->unit = UNIT_NONE;
    chunk->state = CHUNK_COLD;
    pool->evictions++;
    if (chunk->topic == NULL && chunk->slot == SLOT_NONE) {
        chunk_free(chunk);
    }
}

/* Marks the next candidates' stamps; returns how many there are. */
static uint32_t candidates_mark(struct chunk_pool *pool, struct chunk *candidates[])
{
    uint32_t count = 0;
    list_each(node, &pool->clean)
    {
        if (count == EVICTION_CANDIDATES) {
            break;
        }
        struct chunk *chunk = list_entry(node, struct chunk, clean);
        struct atom *stamp = stamp_of(pool, chunk);
        atom_store_relaxed(stamp,
                           atom_load_relaxed(stamp) | CHUNK_STAMP_EVICTING); /* sole writer */
        candidates[count++] = chunk;
    }
    return count;
}

static void candidate_keep(struct chunk_pool *pool, struct chunk *chunk)
{
    struct atom *stamp = stamp_of(pool, chunk);
    chunk_stamp_set(stamp, atom_load_relaxed(stamp) & ~CHUNK_STAMP_EVICTING);
    clean_remove(pool, chunk);
    clean_add(pool, chunk);
}

/* Frees the images of up to EVICTION_CANDIDATES clean chunks that nobody has pinned, or only with
 * overdue pins where `revoking`; returns how many. */
static uint32_t pool_evict(struct chunk_pool *pool, bool revoking)
{
    struct chunk *candidates[EVICTION_CANDIDATES];
    const uint32_t count = candidates_mark(pool, candidates);
    if (count == 0) {
        return 0;
    }
    fence_full(); /* [P3] */
    const bool known = pool_pins_collect(pool, revoking);
    uint32_t freed = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct chunk *chunk = candidates[i];
        /* One is enough of those that somebody holds. */
        if (!known || unit_is_marked(pool->marks, chunk->unit) || (revoking && freed > 0)) {
            candidate_keep(pool, chunk);
            continue;
        }
        if (revoking) {
            pool_pins_revoke(pool, chunk->unit);
        }
        chunk_drop(pool, chunk);
        freed++;
    }
    return freed;
}

static uint32_t unit_take(struct chunk_pool *pool, const struct chunk *chunk, bool system)
{
    return chunk_is_small(chunk) ? unit_take_small(pool, system) : unit_take_big(pool, system);
}

/* Every clean chunk gets one chance: what is kept goes to the end of the list. */
static void unit_make(struct chunk_pool *pool, struct chunk *chunk, bool system, bool revoking)
{
    for (uint32_t looked = 0; chunk->unit == UNIT_NONE && looked < pool->clean_count;) {
        if (pool_evict(pool, revoking) > 0) {
            chunk->unit = unit_take(pool, chunk, system);
        } else {
            looked += EVICTION_CANDIDATES;
        }
    }
}

enum pool_outcome pool_assign(struct chunk_pool *pool, struct chunk *chunk, bool system)
{
    ensure(chunk->unit == UNIT_NONE);
    chunk->unit = unit_take(pool, chunk, system);
    if (chunk->unit == UNIT_NONE) {
        unit_make(pool, chunk, system, false);
    }
    if (chunk->unit == UNIT_NONE && pool->pins_overdue) {
        unit_make(pool, chunk, system, true);
        pool->pins_overdue = chunk->unit != UNIT_NONE;
    }
    pool->is_short = pool->is_short || chunk->unit == UNIT_NONE;
    return chunk->unit != UNIT_NONE ? POOL_OK : POOL_FULL;
}

void pool_show(struct chunk_pool *pool, struct chunk *chunk)
{
    chunk->state = CHUNK_RESIDENT;
    chunk_stamp_set(stamp_of(pool, chunk), pool->next_stamp++);
    if (!topic_map_names_later(chunk->topic->shm, chunk->number)) {
        topic_map_chunk(chunk->topic->shm, chunk->number, chunk->unit);
    }
}

void pool_unassign(struct chunk_pool *pool, struct chunk *chunk)
{
    ensure(!list_linked(&chunk->clean));
    unit_give(pool, chunk);
    chunk->unit = UNIT_NONE;
    chunk->state = CHUNK_COLD;
}

void pool_settle(struct chunk_pool *pool, struct chunk *chunk, bool clean)
{
    const bool evictable = clean && chunk->holds == 0 && chunk->state == CHUNK_RESIDENT;
    if (!evictable) {
        clean_remove(pool, chunk);
    } else if (!list_linked(&chunk->clean)) {
        clean_add(pool, chunk);
    }
}

void pool_free_forgotten(struct chunk_pool *pool)
{
    list_each(node, &pool->clean)
    {
        struct chunk *chunk = list_entry(node, struct chunk, clean);
        if (chunk->topic == NULL) {
            clean_remove(pool, chunk);
            chunk_free(chunk);
        }
    }
}

void pool_touch(struct chunk_pool *pool, struct chunk *chunk)
{
    if (list_linked(&chunk->clean)) {
        clean_remove(pool, chunk);
        clean_add(pool, chunk);
    }
}
