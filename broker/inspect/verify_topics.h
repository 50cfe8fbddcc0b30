/*
 * Verify, topics: what the walks over single chunks add up to: which entries of which topic are lost.
 * See verify.h, whose part this is.
 * Invariants: a topic's chunks from its first entry to its tail are there, each begins with the seq
 *             that the one before ended with, and no entry in them is missing; else it is a finding.
 */
#ifndef TUSK_BROKER_INSPECT_VERIFY_TOPICS_H
#define TUSK_BROKER_INSPECT_VERIFY_TOPICS_H

#include <stdint.h>

#include "broker/inspect/chunk_walk.h"
#include "broker/inspect/holdings.h"
#include "broker/inspect/verify.h"

struct verify_gap {
    uint64_t holding;
    struct chunk_gap gap;
};

struct verify_gaps {
    struct verify_gap *all;
    uint64_t count;
    uint64_t max;
};

/* 0 or -ENOMEM. */
int verify_gap_add(struct verify_gaps *gaps, uint64_t holding, const struct chunk_gap *gap);
void verify_gaps_free(struct verify_gaps *gaps);

/* After all files. The gaps are sorted. */
void verify_topics(struct inspection *inspection, struct holdings *holdings,
                   struct verify_gaps *gaps, struct verify_result *result);

#endif
