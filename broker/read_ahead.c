/* Read-ahead: see read_ahead.h. */
#include "broker/read_ahead.h"

#include "broker/fetch.h"
#include "broker/store.h"

enum {
    DEPTH_FIRST = 2,
    /* Who looks for an entry may have to go on once to find it. */
    STEPS_MIN = 2,
};

/* Readers that have used nothing for so long are not counted on. */
#define TRAIL_IDLE_NS UINT64_C(1000000000)

static bool trail_is_of(const struct read_trail *trail, const struct topic *topic)
{
    return trail->topic == topic->index && trail->incarnation == topic->incarnation;
}

/* Are all chunks in [from, to) in the topic's map, where readers find them without saying so? */
static bool chunks_are_mapped(const struct topic *topic, uint64_t from, uint64_t to)
{
    if (to - from > CHUNK_MAP_ENTRIES) {
        return false;
    }
    for (uint64_t number = from; number < to; number++) {
        uint32_t unit;
        if (topic_chunk_unit(topic->shm, number, &unit) == 0) {
            return false;
        }
    }
    return true;
}

/* Where the trail stands, seen from a use of the chunk. */
enum trail_fit { FIT_NONE, FIT_HERE, FIT_NEXT };

static enum trail_fit trail_fits(const struct read_trail *trail, const struct chunk *chunk)
{
    if (!trail_is_of(trail, chunk->topic) || chunk->number < trail->at) {
        return FIT_NONE;
    }
    if (chunk->number == trail->at) {
        return FIT_HERE;
    }
    return chunks_are_mapped(chunk->topic, trail->at + 1, chunk->number) ? FIT_NEXT : FIT_NONE;
}

/* The least useful one: those that were not seen to go on first, then those not heard of longest. */
static bool trail_is_worse(const struct read_trail *one, const struct read_trail *other)
{
    const bool one_goes = one->steps >= STEPS_MIN;
    const bool other_goes = other->steps >= STEPS_MIN;
    return one_goes != other_goes ? other_goes : one->used_ns < other->used_ns;
}

/* The trail that the use belongs to; a new one if there is none. */
static struct read_trail *trail_find(struct read_ahead *ahead, const struct chunk *chunk,
                                     enum read_kind kind, enum trail_fit *fit)
{
    struct read_trail *next = NULL;
    struct read_trail *worst = &ahead->trails[0];
    for (int i = 0; i < READ_AHEAD_TRAILS; i++) {
        struct read_trail *trail = &ahead->trails[i];
        *fit = trail_fits(trail, chunk);
        if (*fit == FIT_HERE) {
            return trail;
        }
        next = *fit == FIT_NEXT ? trail : next;
        worst = trail_is_worse(trail, worst) ? trail : worst;
    }
    if (next != NULL && kind == READ_ON) {
        *fit = FIT_NEXT;
        return next;
    }
    *fit = FIT_NONE;
    *worst = (struct read_trail){.topic = chunk->topic->index,
                                 .incarnation = chunk->topic->incarnation,
                                 .at = chunk->number,
                                 .end = chunk->number + 1};
    return worst;
}

/* What all readers together may have ahead, and each of those that are there now. Chunks. */
static uint32_t budget_all(const struct store *store)
{
    return store->pool.bigs / READ_AHEAD_PART;
}

static uint32_t budget_each(const struct store *store)
{
    uint32_t trails = 0;
    for (int i = 0; i < READ_AHEAD_TRAILS; i++) {
        const struct read_trail *trail = &store->read_ahead.trails[i];
        trails += trail->depth > 0 && store->now_ns - trail->used_ns < TRAIL_IDLE_NS;
    }
    const uint32_t share = budget_all(store) / (trails > 0 ? trails : 1);
    const uint32_t most = (uint32_t)(READ_AHEAD_BYTES_MAX / store->chunk_bytes);
    const uint32_t least = share < most ? share : most;
    return least > 0 ? least : 1;
}

/* A reader that waits is slower than the disk could be if more were asked of it: twice as much. */
static void trail_deepen(const struct store *store, struct read_trail *trail, bool waits)
{
    const uint32_t most = budget_each(store);
    if (waits) {
        trail->depth = trail->depth == 0 ? DEPTH_FIRST : trail->depth * 2;
    }
    if (trail->depth > most) {
        trail->depth = most;
    }
}

/* Has the chunks behind the reader read, as far as its depth goes. */
static void trail_fill(struct store *store, struct read_trail *trail, const struct topic *topic)
{
    const uint64_t until = trail->at + 1 + trail->depth;
    if (trail->end <= trail->at) {
        trail->end = trail->at + 1;
    }
    while (trail->end < until && store->pool.ahead_count < budget_all(store)) {
        struct chunk *chunk = topic_chunk(topic, trail->end);
        if (chunk == NULL || !chunk_is_visible(chunk, store->chunk_bytes) ||
            !fetch_ahead(store, chunk)) {
            return;
        }
        trail->end++;
    }
}

void read_ahead_use(struct store *store, const struct chunk *chunk, enum read_kind kind, bool waits)
{
    struct read_ahead *ahead = &store->read_ahead;
    if (kind == READ_ON && ahead->last != NULL && trail_fits(ahead->last, chunk) == FIT_HERE) {
        ahead->last->used_ns = store->now_ns;
        return;
    }
    enum trail_fit fit;
    struct read_trail *trail = trail_find(ahead, chunk, kind, &fit);
    ahead->last = trail;
    trail->used_ns = store->now_ns;
    if (fit != FIT_NEXT) {
        if (kind == READ_SEEK && trail->steps < STEPS_MIN) {
            trail->steps = 0;
        }
        return;
    }
    trail->at = chunk->number;
    trail->steps++;
    if (trail->steps >= STEPS_MIN) {
        trail_deepen(store, trail, waits);
        trail_fill(store, trail, chunk->topic);
    }
}

void read_ahead_tick(struct store *store)
{
    if (store->now_ns > TRAIL_IDLE_NS) {
        pool_ahead_expire(&store->pool, store->now_ns - TRAIL_IDLE_NS);
    }
}
