/*
 * Lane payload: what a submission carries, in one piece.
 * Runs on:    the engine of the lane's store.
 * Trust:      sizes and places were bounded by the caller: [index, index + bytes) was published. What
 *             is returned may lie in the lane, where its client can still change it.
 * Cost:       the engine maps the beginning of a ring behind its end (shm/lane.h), so that only
 *             payloads larger than that part can lie in two pieces, one in each round of the ring at
 *             most. These are copied.
 */
#ifndef TUSK_BROKER_LANE_PAYLOAD_H
#define TUSK_BROKER_LANE_PAYLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/store.h"
#include "shm/lane.h"

static inline bool lane_payload_is_whole(const struct lane_map *map, uint64_t index, uint64_t bytes)
{
    return bytes <= lane_engine_piece(map, index);
}

/* For copies of so many bytes. 0 or -ENOMEM. */
int lane_payload_make_room(struct store *store, uint64_t bytes);

/* Makes room for the copy, where one is needed. 0 or -ENOMEM. */
static inline int lane_payload_prepare(struct store *store, const struct lane_map *map,
                                       uint64_t index, uint64_t bytes)
{
    if (__builtin_expect(lane_payload_is_whole(map, index, bytes), 1) ||
        bytes <= store->payload_room) {
        return 0;
    }
    return lane_payload_make_room(store, bytes);
}

/* The copy, after a lane_payload_prepare(): valid until the next one. */
const void *lane_payload_copy(const struct store *store, const struct lane_map *map, uint64_t index,
                              uint64_t bytes);

/* After lane_payload_prepare(). */
static inline const void *lane_payload(const struct store *store, const struct lane_map *map,
                                       uint64_t index, uint64_t bytes)
{
    if (__builtin_expect(lane_payload_is_whole(map, index, bytes), 1)) {
        return lane_at(map, index);
    }
    return lane_payload_copy(store, map, index, bytes);
}

#endif
