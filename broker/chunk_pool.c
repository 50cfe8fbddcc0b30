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
    /* Candidates of one eviction: one fence and one look at the pins serve them all. They are never
     * more than this part of the arena, or a small one would lose at once what it is there for. */
    EVICTION_CANDIDATES = 32,
    EVICTION_PART = 16,
    /* This part of the arena stays with what is loaded, whatever appends want ... */
    READING_PART = 8,
    /* ... and with more than this it is loaded chunks that go first. */
    LOADED_PART = 3,
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
    pool->reading_units = pool->bigs / READING_PART * SMALL_CHUNKS;
    for (int rank = 0; rank < CHUNK_RANKS; rank++) {
        list_init(&pool->clean[rank]);
    }
    list_init(&pool->ahead);
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
    list_push_back(&pool->clean[chunk->rank], &chunk->clean);
    pool->clean_counts[chunk->rank]++;
    pool->clean_count++;
}

static void clean_remove(struct chunk_pool *pool, struct chunk *chunk)
{
    if (list_linked(&chunk->clean)) {
        list_remove(&chunk->clean);
        pool->clean_counts[chunk->rank]--;
        pool->clean_count--;
    }
}

static bool chunk_is_small(const struct chunk *chunk)
{
    return chunk->number < SMALL_CHUNKS;
}

static uint32_t chunk_units(const struct chunk *chunk)
{
    return chunk_is_small(chunk) ? 1 : SMALL_CHUNKS;
}

/* Units of the chunk that count as loaded. */
static uint32_t chunk_loaded_units(const struct chunk *chunk)
{
    return chunk->rank != CHUNK_RECENT ? chunk_units(chunk) : 0;
}

/* Gives the chunk, which has a unit, another rank; it goes last among those. */
static void rank_set(struct chunk_pool *pool, struct chunk *chunk, enum chunk_rank rank)
{
    const bool clean = list_linked(&chunk->clean);
    clean_remove(pool, chunk);
    pool->loaded_units -= chunk_loaded_units(chunk);
    chunk->rank = rank;
    pool->loaded_units += chunk_loaded_units(chunk);
    if (clean) {
        clean_add(pool, chunk);
    }
}

/* The chunk is not one that was read ahead and waits to be used, any more; true: it was. */
static bool ahead_end(struct chunk_pool *pool, struct chunk *chunk)
{
    if (chunk->rank != CHUNK_AHEAD) {
        return false;
    }
    list_remove(&chunk->ahead);
    pool->ahead_count--;
    rank_set(pool, chunk, CHUNK_LOADED);
    return true;
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

/* Free places that this use leaves alone. */
static uint32_t reserve_of(const struct chunk_pool *pool, enum pool_use use)
{
    switch (use) {
    case POOL_SYSTEM:
        return 0;
    case POOL_APPEND:
        return POOL_SYSTEM_BIGS + (pool->loaded_units < pool->reading_units
                                       ? (pool->reading_units - pool->loaded_units) / SMALL_CHUNKS
                                       : 0);
    case POOL_READ:
    case POOL_AHEAD:
        break;
    }
    return POOL_SYSTEM_BIGS;
}

static uint32_t unit_take_big(struct chunk_pool *pool, enum pool_use use)
{
    if (pool->free_big_count <= reserve_of(pool, use)) {
        return UNIT_NONE;
    }
    const uint32_t place = pool->free_bigs[--pool->free_big_count];
    pool->used[place] = PLACE_FULL;
    return place * SMALL_CHUNKS;
}

static uint32_t unit_take_small(struct chunk_pool *pool, enum pool_use use)
{
    if (pool->partial == UNIT_NONE || pool->used[pool->partial] == PLACE_FULL) {
        pool->partial = partial_find(pool);
    }
    if (pool->partial == UNIT_NONE) {
        const uint32_t unit = unit_take_big(pool, use);
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

static uint32_t unit_take(struct chunk_pool *pool, const struct chunk *chunk, enum pool_use use)
{
    return chunk_is_small(chunk) ? unit_take_small(pool, use) : unit_take_big(pool, use);
}

/* The chunk has a unit. */
static void unit_taken(struct chunk_pool *pool, struct chunk *chunk, enum pool_use use)
{
    static const enum chunk_rank ranks[] = {
        [POOL_APPEND] = CHUNK_RECENT,
        [POOL_SYSTEM] = CHUNK_RECENT,
        [POOL_READ] = CHUNK_LOADED,
        [POOL_AHEAD] = CHUNK_AHEAD,
    };
    chunk->rank = ranks[use];
    pool->loaded_units += chunk_loaded_units(chunk);
    if (use == POOL_AHEAD) {
        list_push_back(&pool->ahead, &chunk->ahead);
        pool->ahead_count++;
    }
}

/* Takes the chunk's unit back; its place in the lists is gone already. */
static void unit_give(struct chunk_pool *pool, struct chunk *chunk)
{
    pool->ahead_wasted += ahead_end(pool, chunk);
    pool->loaded_units -= chunk_loaded_units(chunk);
    chunk->rank = CHUNK_RECENT;
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
    clean_remove(pool, chunk);
    unit_give(pool, chunk);
    chunk->unit = UNIT_NONE;
    chunk->state = CHUNK_COLD;
    pool->evictions++;
    if (chunk->topic == NULL && chunk->slot == SLOT_NONE) {
        chunk_free(chunk);
    }
}

/* Marks chunks from the front of a list; returns how many. */
static uint32_t candidates_mark(struct chunk_pool *pool, struct list *from,
                                struct chunk *candidates[EVICTION_CANDIDATES])
{
    uint32_t count = 0;
    uint32_t units = 0;
    list_each(node, from)
    {
        if (count == EVICTION_CANDIDATES || (units > 0 && units >= pool->units / EVICTION_PART)) {
            break;
        }
        struct chunk *chunk = list_entry(node, struct chunk, clean);
        struct atom *stamp = stamp_of(pool, chunk);
        atom_store_relaxed(stamp,
                           atom_load_relaxed(stamp) | CHUNK_STAMP_EVICTING); /* sole writer */
        units += chunk_units(chunk);
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

/* Frees the images of the first few clean chunks of a rank that nobody has pinned, or only with
 * overdue pins where `revoking`; the others go to the end of the list. Adds to *looked how many it
 * looked at in vain; true: it freed some. */
static bool pool_evict(struct chunk_pool *pool, enum chunk_rank rank, bool revoking,
                       uint32_t *looked)
{
    struct chunk *candidates[EVICTION_CANDIDATES];
    const uint32_t count = candidates_mark(pool, &pool->clean[rank], candidates);
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
    *looked += freed > 0 ? 0 : count;
    return freed > 0;
}

/* May loaded chunks go for this use? What is left alone by appends would not be theirs even
 * then. */
static bool loaded_may_go(const struct chunk_pool *pool, enum pool_use use)
{
    return use != POOL_APPEND || pool->loaded_units > pool->reading_units;
}

/* Evicts clean chunks of a rank until there is a unit for the chunk, which gets it. Every one has
 * one chance: what is kept goes to the end of the list. */
static void rank_scrape(struct chunk_pool *pool, struct chunk *chunk, enum pool_use use,
                        enum chunk_rank rank, bool revoking)
{
    for (uint32_t looked = 0; chunk->unit == UNIT_NONE && looked < pool->clean_counts[rank];) {
        if (rank != CHUNK_RECENT && !loaded_may_go(pool, use)) {
            return;
        }
        if (pool_evict(pool, rank, revoking, &looked)) {
            chunk->unit = unit_take(pool, chunk, use);
        }
    }
}

static void unit_make(struct chunk_pool *pool, struct chunk *chunk, enum pool_use use,
                      bool revoking)
{
    if (pool->loaded_units > pool->units / LOADED_PART) {
        rank_scrape(pool, chunk, use, CHUNK_LOADED, revoking);
    }
    rank_scrape(pool, chunk, use, CHUNK_RECENT, revoking);
    rank_scrape(pool, chunk, use, CHUNK_LOADED, revoking);
    if (use != POOL_AHEAD) {
        rank_scrape(pool, chunk, use, CHUNK_AHEAD, revoking);
    }
}

enum pool_outcome pool_assign(struct chunk_pool *pool, struct chunk *chunk, enum pool_use use)
{
    ensure(chunk->unit == UNIT_NONE);
    chunk->unit = unit_take(pool, chunk, use);
    unit_make(pool, chunk, use, false);
    if (chunk->unit == UNIT_NONE && use == POOL_AHEAD) {
        return POOL_FULL; /* nobody waits for it */
    }
    if (chunk->unit == UNIT_NONE) {
        pool->is_short = true;
        if (pool->pins_overdue) {
            unit_make(pool, chunk, use, true);
            pool->pins_overdue = chunk->unit != UNIT_NONE;
        }
    }
    if (chunk->unit == UNIT_NONE) {
        return POOL_FULL;
    }
    unit_taken(pool, chunk, use);
    return POOL_OK;
}

/* Old chunks stay out of the map: readers then say which they use, and what they will need is read
 * ahead. */
static bool chunk_is_near_tail(const struct chunk_pool *pool, const struct chunk *chunk)
{
    return chunk->number + CHUNK_MAP_ENTRIES >
           chunk_number(chunk->topic->tail_position, pool->chunk_bytes);
}

void pool_show(struct chunk_pool *pool, struct chunk *chunk)
{
    chunk->state = CHUNK_RESIDENT;
    chunk_stamp_set(stamp_of(pool, chunk), pool->next_stamp++);
    if (chunk_is_near_tail(pool, chunk) &&
        !topic_map_names_later(chunk->topic->shm, chunk->number)) {
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
    for (int rank = 0; rank < CHUNK_RANKS; rank++) {
        list_each(node, &pool->clean[rank])
        {
            struct chunk *chunk = list_entry(node, struct chunk, clean);
            if (chunk->topic == NULL) {
                clean_remove(pool, chunk);
                chunk_free(chunk);
            }
        }
    }
}

void pool_touch(struct chunk_pool *pool, struct chunk *chunk)
{
    if (ahead_end(pool, chunk)) {
        pool->ahead_hits++;
    } else if (list_linked(&chunk->clean)) {
        clean_remove(pool, chunk);
        clean_add(pool, chunk);
    }
}

void pool_promote(struct chunk_pool *pool, struct chunk *chunk)
{
    if (chunk->rank != CHUNK_RECENT) {
        (void)ahead_end(pool, chunk);
        rank_set(pool, chunk, CHUNK_RECENT);
    }
}

void pool_ahead_expire(struct chunk_pool *pool, uint64_t since_ns)
{
    list_each(node, &pool->ahead)
    {
        struct chunk *chunk = list_entry(node, struct chunk, ahead);
        if (chunk->ahead_ns >= since_ns) {
            return;
        }
        (void)ahead_end(pool, chunk);
        pool->ahead_wasted++;
    }
}
