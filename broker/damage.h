/*
 * Damage: makes an image with rotten frames readable around them: each gap becomes one frame with
 * FRAME_DAMAGED, so that readers of that range get -EBADMSG and others go on behind it.
 * Runs on:    the engine of the store, on an image that no reader sees yet.
 * Invariants: only the image in the arena is marked, and only the header that was not valid anyway; a
 *             marked frame never validates, so what is on disk stays damaged.
 */
#ifndef TUSK_BROKER_DAMAGE_H
#define TUSK_BROKER_DAMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/store.h"

/* Marks what is not valid of the chunk's image below `upto` (a position), and logs each range with
 * file and offset if told to. 0, or -EBADMSG: its chunk header is damaged, nothing of it can be
 * used. */
int damage_mark(struct store *store, struct chunk *chunk, uint64_t upto, bool tell);

#endif
