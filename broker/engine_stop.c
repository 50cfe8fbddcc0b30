/* Engine: the steps of a stop; see engine_state.h. */
#include "broker/engine_state.h"

/* A stop does not wait longer for what cannot be taken (an arena that readers hold). */
#define STOP_DRAIN_NS UINT64_C(10000000000)

void engine_stop_begin(struct engine *engine)
{
    engine->stage = ENGINE_DRAINING;
    engine->stop_deadline_ns = engine->store.now_ns + STOP_DRAIN_NS;
    atom_store_relaxed(&engine->setup.directory->state, BROKER_DRAINING); /* alone */
    lane_set_stop(&engine->lanes);
}

/* Everything that was published before the stop is in the log, or cannot be taken. */
static bool drained(const struct engine *engine)
{
    return lane_set_stopped(&engine->lanes) || engine->store.now_ns >= engine->stop_deadline_ns ||
           engine->store.fenced != 0;
}

static bool synced(const struct engine *engine)
{
    const struct flush *flush = &engine->store.flush;
    return (flush->durable_sync >= engine->stop_sync && flush_idle(flush)) ||
           engine->store.fenced != 0;
}

/* The steps of a stop, each after what the one before began has happened. */
void engine_stop_step(struct engine *engine)
{
    struct store *store = &engine->store;
    switch (engine->stage) {
    case ENGINE_SERVING:
    case ENGINE_ENDED:
        return;
    case ENGINE_DRAINING:
        if (drained(engine)) {
            engine->stop_sync = flush_want(store);
            engine->stage = ENGINE_SYNCING;
        }
        return;
    case ENGINE_SYNCING:
        if (synced(engine)) {
            store_record_marks(store, false);
            engine->stop_sync = flush_want(store);
            engine->stage = ENGINE_MARKING;
        }
        return;
    case ENGINE_MARKING:
        if (synced(engine)) {
            segment_set_stop(&store->segments);
            io_unwatch(engine->io, &engine->mail_watch);
            engine->stage = ENGINE_SETTLING;
        }
        return;
    case ENGINE_SETTLING:
        if (!engine->mail_watched && io_in_flight(engine->io) == 0 &&
            !segment_set_busy(&store->segments)) {
            engine->stage = ENGINE_ENDED;
        }
        return;
    }
}
