/*
 * Replay: what the records of the system topic add up to.
 * Runs on:    as recovery.h, whose part this is.
 * Invariants: a record is applied whatever was applied before, since replay begins somewhere: topics
 *             come into being with the first record that names them.
 * Trust:      decoded records are checked for what this module relies on; -EBADMSG.
 */
#ifndef TUSK_BROKER_RECOVERY_REPLAY_H
#define TUSK_BROKER_RECOVERY_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

struct record;
struct record_place;
struct recovered_chunk;
struct recovered_topic;
struct recovery;

void recovered_topic_init(struct recovered_topic *topic, uint64_t id, uint64_t chunk_bytes);
void recovered_topic_free(struct recovered_topic *topic);

/* Puts a chunk in its place, over one with the same number. 0 or -ENOMEM. */
int recovered_chunk_put(struct recovered_topic *topic, const struct recovered_chunk *chunk);
struct recovered_chunk *recovered_chunk_find(const struct recovered_topic *topic,
                                             uint64_t chunk_no);
/* Takes away the chunks from chunk_no on. Were there any? */
bool recovered_chunks_cut(struct recovered_topic *topic, uint64_t chunk_no);

/* Takes away the chunks before first_chunk. */
void recovered_chunks_trim(struct recovered_topic *topic);

/* Later floors take the place of earlier ones at or behind them. 0 or -ENOMEM. */
int salt_floor_add(struct recovered_topic *topic, uint64_t position, uint32_t salt);

/* Applies one record of the system topic that ends with the frame at `position`. -EBADMSG: it
 * contradicts itself or what was before; -ENOMEM. */
int replay_apply(struct recovery *recovery, const struct record *record, uint64_t position,
                 uint64_t chunk_bytes);

/* Applies one record of the snapshot, before any of the system topic. */
int replay_apply_snapshot(struct recovery *recovery, const struct record *record,
                          uint64_t chunk_bytes);

#endif
