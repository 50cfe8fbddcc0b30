/*
 * Wake: how one side of a lane sleeps and the other wakes it: one byte on the lane's socket.
 * A sleeper sets its word (`parked` by the engine, `waiting` by the client), orders that store
 * before a second look at the other side's index, and only then blocks on the socket. A byte is a
 * wake, the end of the file is a dead peer.
 * `parked` is the number of the parking, so that a client rings once for each and not with every
 * submission until the engine gets a core; `waiting` is the index that is slept for, so that one
 * publication rings that passes it, and no later one.
 * Runs on:    each side as named.
 * Invariants: the sleeping client drains its wake bytes before the second look; whatever the engine
 *             drains ends the lane's parking; a full socket means "already rung".
 * Ordering:   "my store before my second load", on both sides (tests/model/wake.pml):
 *   [W1] engine: parked, then wake_fence_engine(), then sq_tail again
 *   [W2] client: sq_tail, then wake_fence_client(), then parked
 *   [W3] client: waiting, then fence_full(), then cq_tail again
 *   [W4] engine: cq_tail of all lanes, then one fence_full(), then their waiting words
 *   The engine's fence of [W1] is an expedited membarrier, which fences every registered client in
 *   its place, so that clients need only a compiler barrier in [W2]. Where membarrier is refused,
 *   directory.client_fences tells all clients to fence themselves. A client that blocks at once
 *   (TUSK_IDLE_BLOCK) does so by its own choice and says so in lane.fences: where all lanes that
 *   are parked together do, the engine fences only itself and saves the microsecond of the
 *   membarrier.
 */
#ifndef TUSK_SHM_WAKE_H
#define TUSK_SHM_WAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/atom.h"
#include "shm/lane.h"

/* Client, when it connects: lets engines fence this process. 0 or -errno. */
int wake_register(void);

/* Engine, at start: may it use membarrier? */
bool wake_membarrier_available(void);

/* Engine, once for each parking pass [W1]. */
void wake_fence_engine(bool membarrier);

/* Client, between its publish and its look at parked [W2]. */
static inline void wake_fence_client(bool client_fences)
{
    if (__builtin_expect(client_fences, 0)) {
        fence_full();
    } else {
        fence_compiler();
    }
}

/* Client: after lane_publish, must the socket be rung? Once for each parking: `*rung` is the last
 * one that was rung for, and the caller's to keep, 0 at first. */
static inline bool wake_engine_parked(const struct lane_map *map, bool client_fences,
                                      uint64_t *rung)
{
    wake_fence_client(client_fences);                              /* [W2] */
    const uint64_t parking = atom_load_relaxed(&map->shm->parked); /* ordered by [W2] */
    if (__builtin_expect(parking == 0, 1) || parking == *rung) {
        return false;
    }
    *rung = parking;
    return true;
}

/* Makes a lane's socketpair, nonblocking and close-on-exec. 0 or -errno. */
int wake_pair(int sockets[2]);

/* One byte; already rung is as good. 0, or -EPIPE when the peer is gone. */
int wake_ring(int socket);

/* Takes all wake bytes. 0, or -EPIPE when the peer is gone. */
int wake_drain(int socket);

#endif
