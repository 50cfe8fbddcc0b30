/* Engine: one pass, and what an engine does between passes that found nothing; see engine_state.h. */
#include <sched.h>
#include <time.h>

#include "broker/counters.h"
#include "broker/engine_state.h"
#include "broker/fetch.h"
#include "broker/pending.h"
#include "broker/retention.h"
#include "broker/tail_wait.h"
#include "shm/wake.h"

/* How long an idle engine goes on looking before it parks its lanes and sleeps (adaptive): first with
 * pauses, then giving the core away between looks. */
enum { IDLE_PAUSES = 50 };
#define IDLE_YIELD_NS UINT64_C(50000)
/* Under `each` nothing that lanes hold can be acknowledged before the flush in flight is done: the
 * engine waits for that, looking at the lanes this often for what does not wait for disks. */
#define FLUSH_WAIT_NS INT64_C(200000)
/* A spinning engine, and a busy one, parks lanes that have been empty for so long. */
#define PARK_SPIN_NS UINT64_C(20000000)
#define PARK_BUSY_NS UINT64_C(200000)
#define PARK_INTERVAL_NS UINT64_C(1000000)
/* Counters that clients see are at most so old while there is work. */
#define COUNT_INTERVAL_NS UINT64_C(10000000)
#define TICK_NS UINT64_C(1000000000)

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void engine_clocks_read(struct engine *engine)
{
    engine->store.now_ns = clock_ns(CLOCK_MONOTONIC);
    engine->store.time_ns = clock_ns(CLOCK_REALTIME);
}

/* Something was freed: whoever waited for it looks again. */
static void resources_retry(struct engine *engine)
{
    struct store *store = &engine->store;
    struct list stalled;
    store->freed = false;
    list_init(&stalled);
    if (store->fenced != 0) {
        pending_synced(store);
    }
    while (!list_empty(&store->stalled)) {
        struct list_node *node = list_first(&store->stalled);
        list_remove(node);
        list_push_back(&stalled, node);
    }
    while (!list_empty(&stalled)) {
        struct pending *pending = list_entry(list_first(&stalled), struct pending, queue);
        list_remove(&pending->queue);
        pending->resume(pending);
    }
    lane_set_unblock(&engine->lanes);
}

/* Topics that moved in this pass: who sleeps at their tails, and what they may give up. */
static void topics_look(struct store *store)
{
    while (!list_empty(&store->moved)) {
        struct topic *topic = list_entry(list_first(&store->moved), struct topic, moved);
        list_remove(&topic->moved);
        tail_wait_look(topic);
        retention_look(store, topic);
        topic_set_collect(&store->topics, topic);
    }
}

static void counters_update(struct engine *engine)
{
    struct store *store = &engine->store;
    counter_set(&store->counters, COUNTER_CHUNKS_EVICTED, store->pool.evictions);
    counter_set(&store->counters, COUNTER_LANES, engine->lanes.count);
    counter_set(&store->counters, COUNTER_TOPICS, store->topics.present);
    counter_set(&store->counters, COUNTER_SEGMENTS, store->segments.count);
    counter_set(&store->counters, COUNTER_ARENA_UNITS_FREE,
                (uint64_t)store->pool.free_big_count * SMALL_CHUNKS);
    counters_publish(&store->counters);
}

static void tick(struct engine *engine)
{
    struct store *store = &engine->store;
    if (store->now_ns >= engine->tick_ns) {
        engine->tick_ns = store->now_ns + TICK_NS;
        segment_set_tick(&store->segments, store->now_ns);
        lane_set_release_fetched(&engine->lanes);
    }
    if (store->now_ns >= engine->count_ns) {
        engine->count_ns = store->now_ns + COUNT_INTERVAL_NS;
        counters_update(engine);
    }
    if (store->now_ns >= engine->park_ns) {
        engine->park_ns = store->now_ns + PARK_INTERVAL_NS;
        lane_set_park(&engine->lanes,
                      engine->config.idle == IDLE_SPIN ? PARK_SPIN_NS : PARK_BUSY_NS);
    }
}

static bool room_is_wanted(const struct engine *engine)
{
    return !list_empty(&engine->lanes.blocked) || !list_empty(&engine->store.starved);
}

/* Readers ring after an unpin while somebody waits for room; once they have been told so, what is
 * pinned is looked at once more. */
static void arena_short_tell(struct engine *engine)
{
    const bool wanted = room_is_wanted(engine);
    if (wanted == engine->short_told) {
        return;
    }
    engine->short_told = wanted;
    atom_store_relaxed(&engine->setup.directory->arena_short, wanted); /* ordered by [W1] */
    if (wanted) {
        wake_fence_engine(engine->lanes.membarrier); /* [W1] */
        lane_set_release_fetched(&engine->lanes);
        engine->store.freed = true;
    }
}

bool engine_pass(struct engine *engine)
{
    struct store *store = &engine->store;
    engine_clocks_read(engine);
    bool done = io_poll(engine->io) > 0;
    if (mailbox_pending(&engine->mailbox)) {
        done = engine_mail_take(engine) || done;
    }
    const bool freed = store->freed;
    if (freed) {
        resources_retry(engine);
    }
    done = lane_set_take(&engine->lanes) || freed || done;
    if (freed) {
        /* Behind the lanes, whose tails were loaded for them: or each would evict the other's. */
        fetch_retry(store);
    }
    flush_tick(store);
    io_kick(engine->io);
    topics_look(store);
    lane_set_publish(&engine->lanes);
    arena_short_tell(engine);
    tick(engine);
    return done;
}

static int64_t sleep_limit_ns(const struct engine *engine)
{
    const uint64_t now = engine->store.now_ns;
    uint64_t next = engine->tick_ns;
    const uint64_t flush = flush_next_ns(&engine->store);
    next = flush < next ? flush : next;
    return next > now ? (int64_t)(next - now) : 0;
}

static void engine_sleep(struct engine *engine)
{
    lane_set_park(&engine->lanes, 0);
    counters_update(engine);
    if (!list_empty(&engine->lanes.active) || engine->store.freed) {
        return;
    }
    (void)io_wait(engine->io, sleep_limit_ns(engine));
}

/* The kernel ends a durable write in a worker of the core that it was begun on: an engine that polls
 * there keeps that worker from running (p10 of a 4 KiB write: 155 us sleeping, 274 us polling). */
static bool flush_is_all_there_is(const struct engine *engine)
{
    return engine->config.fsync == FSYNC_EACH && engine->config.idle != IDLE_BLOCK &&
           !flush_idle(&engine->store.flush);
}

void engine_idle(struct engine *engine)
{
    const uint64_t now = engine->store.now_ns;
    if (flush_is_all_there_is(engine)) {
        (void)io_wait(engine->io, FLUSH_WAIT_NS);
        return;
    }
    if (engine->idle_since_ns == 0) {
        engine->idle_since_ns = now;
        engine->idle_passes = 0;
    }
    engine->idle_passes++;
    switch (engine->config.idle) {
    case IDLE_SPIN:
        if (engine->idle_passes % IDLE_PAUSES == 0) {
            sched_yield();
        }
        spin_pause();
        break;
    case IDLE_ADAPTIVE:
        if (engine->idle_passes < IDLE_PAUSES) {
            spin_pause();
        } else if (now - engine->idle_since_ns < IDLE_YIELD_NS) {
            sched_yield();
        } else {
            engine_sleep(engine);
        }
        break;
    case IDLE_BLOCK:
        engine_sleep(engine);
        break;
    }
}
