/*
 * Chunk locate: from a seq or a time to the chunk in which to begin looking for it.
 * Runs on:    the engine of the store.
 * Invariants: where a chunk begins is known exactly once it was written by this broker, loaded, or its
 *             beginning was read; before that there is a lower bound, which is close: the topic's next
 *             seq, and the time, when the chunk was assigned. So a search looks at the bounds in memory
 *             and then reads the beginnings of one or two chunks, at the most two for each doubling of
 *             those that share a bound. What was read is kept.
 * Trust:      a beginning that was read is used only if its checksum fits; else the search goes round
 *             it, and who reads on from the chunk before finds the damage.
 * Not here:   loading the chunk (fetch.h).
 */
#ifndef TUSK_BROKER_CHUNK_LOCATE_H
#define TUSK_BROKER_CHUNK_LOCATE_H

#include "broker/store.h"

struct pending;

/*
 * For a FETCH by seq: the last chunk that begins at or before where that entry begins; by time: the
 * last that begins with an older entry; the first one where there is none. STORE_READY with *chunk,
 * NULL if nothing is there; STORE_WAIT: the pending is resumed when the search can go on; or
 * -ENOMEM.
 */
int chunk_locate(struct pending *pending, struct chunk **chunk);

#endif
