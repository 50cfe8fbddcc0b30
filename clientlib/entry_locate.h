/*
 * Entry locate: from a seq or a time to a position from which a walk finds it.
 * Runs on:    one thread at a time, with its lane.
 * Not here:   the way from there to the entry itself (entry_walk.h).
 */
#ifndef TUSK_CLIENTLIB_ENTRY_LOCATE_H
#define TUSK_CLIENTLIB_ENTRY_LOCATE_H

#include "clientlib/entry_walk.h"

/* Within walk_next(): the image is not what was pinned, enter it again. */
enum { WALK_TAKEN_BACK = 4 };

/* Puts the walk at a frame at or before the entry with its seq, which is visible. 0, -ENODATA, or
 * as chunk_view_enter(). The chunk stays the current one, so that what follows notices if it was
 * taken back meanwhile. */
int walk_locate_seq(struct entry_walk *walk, struct client_lane *lane, struct expiry expiry);

/* Turns the walk's time into a seq from which entries are filtered by their time. The same, or
 * WALK_TAKEN_BACK. */
int walk_locate_time(struct entry_walk *walk, struct client_lane *lane, struct expiry expiry);

#endif
