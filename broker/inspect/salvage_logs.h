/*
 * Salvage of logs: the records of the snapshot and of the system topic, as far as they can be read.
 * See salvage.h, whose part this is.
 * Invariants: what cannot be read, or contradicts what was before, is passed over; a record that is
 *             intact and does not fit is a finding. A chunk whose predecessor cannot say where it lies
 *             is searched for in all slots.
 */
#ifndef TUSK_BROKER_INSPECT_SALVAGE_LOGS_H
#define TUSK_BROKER_INSPECT_SALVAGE_LOGS_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/inspect/inspection.h"
#include "broker/inspect/record_join.h"
#include "broker/segment.h"

struct salvage {
    struct inspection *inspection;
    struct survey *survey;
    struct recovery *recovery;
    struct segment_set segments; /* what recovery's code looks at: the survey's files */
    uint8_t *image;              /* of one chunk */

    /* The log in hand: the snapshot or the system topic. */
    struct recovered_topic *log;
    const struct recovered_chunk *chunk;
    struct record_join join;
    uint64_t seq; /* of its next record */
};

/* Applies both logs to salvage->recovery. 0 or -ENOMEM. */
int salvage_logs(struct salvage *salvage);

/* Reads a chunk into salvage->image; zeros where it is not there. */
void salvage_chunk_read(const struct salvage *salvage, const struct recovered_chunk *chunk);

/* Is the slot one of a segment that is there, and fit for that chunk? */
bool salvage_slot_fits(const struct salvage *salvage, uint32_t slot, uint64_t chunk_no);

#endif
