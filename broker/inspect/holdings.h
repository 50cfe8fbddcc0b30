/*
 * Holdings: which chunk of which topic each slot of a store holds.
 * Runs on:    one thread; memory only.
 * Invariants: a unit of a slot belongs to one chunk at most; a second claim is a finding.
 *             Chunks are in the order of their topics, and of their numbers in each.
 */
#ifndef TUSK_BROKER_INSPECT_HOLDINGS_H
#define TUSK_BROKER_INSPECT_HOLDINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/inspect/chunk_walk.h"
#include "broker/inspect/inspection.h"

struct holding {
    uint32_t topic; /* inspection_log() */
    struct recovered_chunk chunk;
    bool reserve; /* set aside as successor of the system topic's last chunk */
    bool refused; /* the slot is another one's, or in no segment */
    bool seen;    /* walked */
    struct chunk_walked walked;
};

struct holdings {
    struct holding *all;
    uint64_t count;
    uint32_t *units; /* by unit: index + 1, 0 for free ones */
    uint64_t units_count;
};

/* 0 or -ENOMEM. */
int holdings_init(struct holdings *holdings, struct inspection *inspection);
void holdings_deinit(struct holdings *holdings);

/* The chunk that begins with this unit, or lies on it; NULL: the unit is free. */
static inline struct holding *holdings_at(const struct holdings *holdings, uint64_t unit)
{
    const uint32_t index = unit < holdings->units_count ? holdings->units[unit] : 0;
    return index == 0 ? NULL : &holdings->all[index - 1];
}

#endif
