/* Engine: the steps of a store's stop; see engine_state.h. */
#include "broker/engine_state.h"
#include "broker/stream.h"

/* A stop does not wait longer for what cannot be taken (an arena that readers hold). */
#define STOP_DRAIN_NS UINT64_C(10000000000)

void engine_store_stop(struct engine_store *store)
{
    if (store->stage != STORE_SERVING) {
        return;
    }
    engine_store_wake(store);
    store->stage = STORE_DRAINING;
    store->stop_deadline_ns = store->store.now_ns + STOP_DRAIN_NS;
    atom_store_relaxed(&store->directory->state, BROKER_DRAINING); /* alone */
    lane_set_stop(&store->lanes);
}

/* Everything that was published before the stop is in the log, or cannot be taken; streams that had
 * not been committed by then are no more. */
static bool drained(struct engine_store *store)
{
    const bool ended = stream_stop(&store->store);
    return (ended && lane_set_stopped(&store->lanes)) ||
           store->store.now_ns >= store->stop_deadline_ns || store->store.fenced != 0;
}

static bool synced(const struct engine_store *store)
{
    const struct flush *flush = &store->store.flush;
    return (flush->durable_sync >= store->stop_sync && flush_idle(flush)) ||
           store->store.fenced != 0;
}

static bool marked(const struct engine_store *store)
{
    return !marks_running(&store->store.marks) || store->store.now_ns >= store->stop_deadline_ns ||
           store->store.fenced != 0;
}

/* The steps of a stop, each after what the one before began has happened. */
void engine_store_step(struct engine_store *store)
{
    switch (store->stage) {
    case STORE_SERVING:
    case STORE_ENDED:
        return;
    case STORE_DRAINING:
        if (drained(store)) {
            store->stop_sync = flush_want(&store->store);
            store->stage = STORE_SYNCING;
        }
        return;
    case STORE_SYNCING:
        if (synced(store)) {
            marks_begin(&store->store, false);
            store->stage = STORE_MARKING;
        }
        return;
    case STORE_MARKING:
        if (marked(store)) {
            store->stop_sync = flush_want(&store->store);
            store->stage = STORE_SYNCING_MARKS;
        }
        return;
    case STORE_SYNCING_MARKS:
        if (synced(store)) {
            segment_set_stop(&store->store.segments);
            snapshot_stop(&store->store);
            store->stage = STORE_SETTLING;
        }
        return;
    case STORE_SETTLING:
        if (store_settled(&store->store)) {
            store->stage = STORE_ENDED;
        }
        return;
    }
}
