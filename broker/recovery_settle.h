/*
 * Recovery's settling: what the snapshot and the system topic leave, once the last record is applied.
 * Runs on:    as recovery.h, whose part this is.
 * Invariants: afterwards each topic was created, has a name of its own, and no chunk whose slot was
 *             assigned again later: generations say which assignment that is.
 * Trust:      as recovery_replay.h.
 */
#ifndef TUSK_BROKER_RECOVERY_SETTLE_H
#define TUSK_BROKER_RECOVERY_SETTLE_H

struct fault;
struct recovery;
struct segment_set;

/* Drops what was deleted, trimmed and superseded. 0, -EBADMSG or -ENOMEM, with words. */
int recovery_settle(struct recovery *recovery, const struct segment_set *segments,
                    struct fault *fault);

#endif
