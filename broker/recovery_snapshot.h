/*
 * Recovery's snapshot: reads what the superblock names and applies it, before the system topic is
 * replayed from the snapshot's place on.
 * Runs on:    as recovery.h, whose part this is.
 * Trust:      as recovery.h. A snapshot is named only once all of it is durable, so whatever is not as
 *             it was written is corruption: it is applied as a whole or refused.
 */
#ifndef TUSK_BROKER_RECOVERY_SNAPSHOT_H
#define TUSK_BROKER_RECOVERY_SNAPSHOT_H

#include "broker/recovery_scan.h"

struct superblock;

/* 0, also where there is no snapshot; -EBADMSG, -EPROTO or another error, with words. */
int recovery_snapshot_apply(struct recovery_scan *scan, const struct superblock *superblock);

#endif
