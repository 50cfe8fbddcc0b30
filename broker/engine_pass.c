/* Engine: one pass, and what an engine does between passes that found nothing; see
 * engine_state.h. */
#include <sched.h>

#include "broker/clock.h"
#include "broker/counters.h"
#include "broker/engine_state.h"
#include "broker/fetch.h"
#include "broker/pin_watch.h"
#include "broker/retention.h"
#include "broker/store_pass.h"
#include "broker/stream.h"
#include "shm/wake.h"

/* How long an idle engine goes on looking before it parks its lanes and sleeps (adaptive): first
 * with pauses, then giving the core away between looks. */
enum { IDLE_PAUSES = 50 };
#define IDLE_YIELD_NS UINT64_C(50000)
/* Under `each` nothing that lanes hold can be acknowledged before the flush in flight is done: the
 * engine waits for that, looking at the lanes this often for what does not wait for disks. */
#define FLUSH_WAIT_NS INT64_C(200000)
/* A spinning engine, and a busy one, parks lanes that have been empty for so long. */
#define PARK_SPIN_NS UINT64_C(20000000)
#define PARK_BUSY_NS UINT64_C(200000)
#define PARK_INTERVAL_NS UINT64_C(1000000)
/* A pass that began longer ago than this when the core has come back was long itself, or others want
 * the core: it is then not handed over for so many times as long, which bounds what that costs to a
 * sixty-fourth. */
#define HAND_OVER_NS_MAX UINT64_C(100000)
#define HAND_OVER_AGAIN UINT64_C(64)
/* Counters that clients see are at most so old while there is work. */
#define COUNT_INTERVAL_NS UINT64_C(10000000)
#define TICK_NS UINT64_C(1000000000)

/* A quiet store's clock stands still: what happens to one before its next pass measures no time. */
static void clock_set(const struct engine *engine, struct engine_store *served)
{
    served->store.now_ns = engine->now_ns;
    served->store.time_ns = engine->time_ns;
}

static void clocks_read(struct engine *engine)
{
    engine->now_ns = clock_ns(CLOCK_MONOTONIC);
    engine->time_ns = clock_ns(CLOCK_REALTIME);
    list_each(node, &engine->awake)
    {
        clock_set(engine, list_entry(node, struct engine_store, awake));
    }
}

static void counters_update(struct engine_store *served)
{
    struct store *store = &served->store;
    counter_set(&store->counters, COUNTER_CHUNKS_EVICTED, store->pool.evictions);
    counter_set(&store->counters, COUNTER_READ_AHEAD_HITS, store->pool.ahead_hits);
    counter_set(&store->counters, COUNTER_READ_AHEAD_WASTED, store->pool.ahead_wasted);
    counter_set(&store->counters, COUNTER_PINS_REVOKED, store->pool.revocations);
    counter_set(&store->counters, COUNTER_LANES, served->lanes.count);
    counter_set(&store->counters, COUNTER_TOPICS, store->topics.present);
    counter_set(&store->counters, COUNTER_SEGMENTS, store->segments.present);
    counter_set(&store->counters, COUNTER_ARENA_UNITS_FREE,
                (uint64_t)store->pool.free_big_count * SMALL_CHUNKS);
    counters_publish(&store->counters);
}

static void tick(struct engine_store *served)
{
    struct store *store = &served->store;
    if (store->now_ns >= served->tick_ns) {
        served->tick_ns = store->now_ns + TICK_NS;
        segment_set_tick(&store->segments, store->now_ns);
        retention_tick(store);
        read_ahead_tick(store);
        lane_set_release_fetched(&served->lanes);
    }
    if (store->now_ns >= served->count_ns) {
        served->count_ns = store->now_ns + COUNT_INTERVAL_NS;
        counters_update(served);
    }
    if (store->now_ns >= served->park_ns) {
        served->park_ns = store->now_ns + PARK_INTERVAL_NS;
        lane_set_park(&served->lanes,
                      served->engine->idle == IDLE_SPIN ? PARK_SPIN_NS : PARK_BUSY_NS);
    }
}

static bool room_is_wanted(const struct engine_store *served)
{
    return !list_empty(&served->lanes.blocked) || !list_empty(&served->store.starved);
}

/* Readers ring after an unpin while somebody waits for room; once they have been told so, what is
 * pinned is looked at once more. */
static void arena_short_tell(struct engine_store *served)
{
    const bool wanted = room_is_wanted(served);
    if (wanted == served->short_told) {
        return;
    }
    served->short_told = wanted;
    atom_store_relaxed(&served->directory->arena_short, wanted); /* ordered by [W1] */
    if (wanted) {
        wake_fence_engine(served->lanes.membarrier); /* [W1] */
        lane_set_release_fetched(&served->lanes);
        served->store.freed = true;
    }
}

/* When the store wants a pass although nothing happens to it. */
static uint64_t store_next_ns(const struct engine_store *served)
{
    const uint64_t flush = flush_next_ns(&served->store);
    const uint64_t look = pin_watch_next_ns(&served->store);
    const uint64_t stream = stream_next_ns(&served->store);
    uint64_t next = flush < look ? flush : look;
    next = stream < next ? stream : next;
    const uint64_t remove = segment_set_next_ns(&served->store.segments);
    next = remove < next ? remove : next;
    return next < served->tick_ns ? next : served->tick_ns;
}

/* A pass over the store would find nothing: what an engine with many stores saves. */
static bool store_is_quiet(const struct engine_store *served)
{
    const struct store *store = &served->store;
    return list_empty(&served->lanes.active) && !store->freed && !store->stream_ended &&
           list_empty(&store->moved) && list_empty(&store->publish) && fetch_idle(store) &&
           flush_idle(&store->flush) && !store->flush.wanted && list_empty(&store->flush.full) &&
           !marks_running(&store->marks) && !snapshot_goes_on(store) &&
           (list_empty(&store->flush.dirty) || served->config.fsync != FSYNC_EACH) &&
           store_next_ns(served) > store->now_ns && served->stage == STORE_SERVING &&
           !served->setting;
}

static void quiet_begins(struct engine *engine, struct engine_store *served)
{
    const uint64_t next = store_next_ns(served);
    engine->quiet_next_ns = next < engine->quiet_next_ns ? next : engine->quiet_next_ns;
    if (list_linked(&served->awake)) {
        list_remove(&served->awake);
        counters_update(served);
    }
}

/* Something happened, or it is time for a store that was quiet: all of them are looked at. */
static void stores_sort(struct engine *engine)
{
    engine->stirred = false;
    engine->quiet_next_ns = UINT64_MAX;
    list_each(node, &engine->stores)
    {
        struct engine_store *served = list_entry(node, struct engine_store, stores);
        clock_set(engine, served);
        if (store_is_quiet(served)) {
            quiet_begins(engine, served);
        } else if (!list_linked(&served->awake)) {
            list_push_back(&engine->awake, &served->awake);
        }
    }
}

/* Nothing happened: those that are awake may have become quiet. */
static void stores_settle(struct engine *engine)
{
    list_each(node, &engine->awake)
    {
        struct engine_store *served = list_entry(node, struct engine_store, awake);
        if (store_is_quiet(served)) {
            quiet_begins(engine, served);
        }
    }
}

/* What was published in the lanes, and what that lets begin. */
static bool store_take(struct engine_store *served)
{
    struct store *store = &served->store;
    const bool freed = store->freed;
    counter_add(&store->counters, COUNTER_PASSES, 1);
    if (freed) {
        store_retry(store);
        lane_set_unblock(&served->lanes);
    }
    if (store->stream_ended) {
        lane_set_stream_ended(&served->lanes);
    }
    const bool taken = lane_set_take(&served->lanes);
    if (freed) {
        /* Behind the lanes, whose tails were loaded for them: or each would evict the other's. */
        fetch_retry(store);
    }
    const bool worked = store_work(store);
    return taken || freed || worked;
}

/* Who hears of it. */
static void store_tell(struct engine_store *served)
{
    store_topics_look(&served->store);
    lane_set_publish(&served->lanes);
    arena_short_tell(served);
    pin_watch_step(&served->lanes, room_is_wanted(served));
    tick(served);
}

bool engine_pass(struct engine *engine)
{
    clocks_read(engine);
    bool done = io_poll(engine->io) > 0;
    engine->stirred = engine->stirred || done;
    if (mailbox_pending(&engine->mailbox)) {
        done = engine_mail_take(engine) || done;
    }
    if (engine->stirred || engine->now_ns >= engine->quiet_next_ns) {
        stores_sort(engine);
    } else {
        stores_settle(engine);
    }
    list_each(node, &engine->awake)
    {
        done = store_take(list_entry(node, struct engine_store, awake)) || done;
    }
    io_kick(engine->io);
    engine->woke = false;
    list_each(told, &engine->awake)
    {
        struct engine_store *served = list_entry(told, struct engine_store, awake);
        store_tell(served);
        engine->woke = engine->woke || served->lanes.woke;
        served->lanes.woke = false;
    }
    return done;
}

/*
 * Where a client that was woken shares the engine's core, it runs before the engine has parked its
 * lane: what it submits then is found by the next pass, and neither the client's ring nor the
 * engine's sleep was needed. Where nobody wants the core, it comes back at once. The strategies that
 * look for a while before they sleep find it as well without this.
 */
void engine_hand_over(struct engine *engine)
{
    if (!engine->woke || engine->idle != IDLE_BLOCK || engine->now_ns < engine->hand_over_ns) {
        return;
    }
    sched_yield();
    const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    const uint64_t passed_ns = now_ns - engine->now_ns;
    if (passed_ns > HAND_OVER_NS_MAX) {
        engine->hand_over_ns = now_ns + HAND_OVER_AGAIN * passed_ns;
    }
}

/* Parks what is idle; true: every lane of every store sleeps. */
static bool stores_park(struct engine *engine)
{
    bool asleep = true;
    list_each(node, &engine->awake)
    {
        struct engine_store *served = list_entry(node, struct engine_store, awake);
        lane_set_park(&served->lanes, 0);
        counters_update(served);
        asleep = asleep && list_empty(&served->lanes.active) && !served->store.freed &&
                 !served->store.stream_ended;
    }
    return asleep;
}

static int64_t sleep_limit_ns(const struct engine *engine)
{
    uint64_t next = engine->quiet_next_ns;
    list_each(node, &engine->awake)
    {
        const uint64_t wanted = store_next_ns(list_entry(node, struct engine_store, awake));
        next = wanted < next ? wanted : next;
    }
    if (next == UINT64_MAX) {
        return IO_FOREVER;
    }
    return next > engine->now_ns ? (int64_t)(next - engine->now_ns) : 0;
}

static void engine_wait(struct engine *engine, int64_t limit_ns)
{
    engine->stirred = io_wait(engine->io, limit_ns) != 0 || engine->stirred;
}

static void engine_sleep(struct engine *engine)
{
    if (stores_park(engine)) {
        engine_wait(engine, sleep_limit_ns(engine));
    }
}

/* The kernel ends a durable write in a worker of the core that it was begun on: an engine that
 * polls there keeps that worker from running (p10 of a 4 KiB write: 155 us sleeping, 274 us
 * polling). */
static bool flush_is_all_there_is(const struct engine *engine)
{
    bool waiting = false;
    list_each(node, &engine->awake)
    {
        const struct engine_store *served = list_entry(node, struct engine_store, awake);
        waiting =
            waiting || (served->config.fsync == FSYNC_EACH && !flush_idle(&served->store.flush));
    }
    return waiting && engine->idle != IDLE_BLOCK;
}

void engine_idle(struct engine *engine)
{
    if (flush_is_all_there_is(engine)) {
        engine_wait(engine, FLUSH_WAIT_NS);
        return;
    }
    if (engine->idle_since_ns == 0) {
        engine->idle_since_ns = engine->now_ns;
        engine->idle_passes = 0;
    }
    engine->idle_passes++;
    switch (engine->idle) {
    case IDLE_SPIN:
        if (engine->idle_passes % IDLE_PAUSES == 0) {
            sched_yield();
        }
        spin_pause();
        break;
    case IDLE_ADAPTIVE:
        if (engine->idle_passes < IDLE_PAUSES) {
            spin_pause();
        } else if (engine->now_ns - engine->idle_since_ns < IDLE_YIELD_NS) {
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
