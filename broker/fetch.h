/*
 * Fetch: brings a chunk that is not in the arena back from its slot, one read for all who want it.
 * Runs on:    the engine of the store.
 * Invariants: an image is shown to readers only after every frame of it was verified; a chunk whose
 *             image is damaged stays so until the store is opened again. What has been read waits in a
 *             queue and is verified a piece at a time, so that no pass of the engine is long.
 * Not here:   which chunks will be wanted (read_ahead.h).
 */
#ifndef TUSK_BROKER_FETCH_H
#define TUSK_BROKER_FETCH_H

#include "broker/store.h"

struct pending;
struct lane;

/* Begins loading a chunk that is not resident, unless that is under way. STORE_WAIT: store.freed will
 * tell; or why it cannot be loaded: -EBADMSG, -EIO. */
int fetch_begin(struct store *store, struct chunk *chunk, enum pool_use use);

/* The same for a reader who goes through the topic, and to whom the next chunks may be useful too. The
 * chunk may be resident: STORE_READY, and the caller is to hold it at once. */
int fetch_use(struct store *store, struct chunk *chunk, enum read_kind kind);

/* Begins loading a chunk for a reader that is expected, if it is cold. False: there is no room. */
bool fetch_ahead(struct store *store, struct chunk *chunk);

/* Once per pass: verifies a piece of what has been read. True: there was something. */
bool fetch_verify(struct store *store);

/* Nothing that was read waits to be verified. */
static inline bool fetch_idle(const struct store *store)
{
    return list_empty(&store->fetched);
}

/* The store is going: frees what was not verified. */
void fetch_deinit(struct store *store);

/* A FETCH: completes at once if the chunk is there, else when it has been loaded. */
void fetch_submit(struct pending *pending);

/* The chunk, which the caller has held, stays in the arena and in the topic until the lane's client
 * has reaped the completion that is about to be posted; if it is a FETCH's, not longer than until some
 * later ones have been answered. */
void fetch_hold(struct lane *lane, struct chunk *chunk, bool by_claim);

/* Lets go of what the lane's client has reaped; `all`: of everything, the lane is going. */
void fetch_release(struct store *store, struct lane *lane, bool all);

/* A look while the arena is short: what the lane's client has not reaped for so long, counted from the
 * first look, stays in its topic but not in the arena. Returns how many chunks that is news for. */
uint64_t fetch_revoke(struct store *store, struct lane *lane, uint64_t timeout_ns);

/* Something was freed: tries again to load the chunks that found no room. */
void fetch_retry(struct store *store);

#endif
