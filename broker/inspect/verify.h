/*
 * Verify: looks at every byte of a store, says what it is, and names what is damaged.
 * Runs on:    one thread, which is the I/O object's; memory besides: a few bytes per chunk.
 * Invariants: it goes on to the end whatever it finds. The sums of the account are the sizes of the
 *             files, exactly.
 * Trust:      every byte may be anything.
 * Not here:   what the store's records say (inspection.h).
 */
#ifndef TUSK_BROKER_INSPECT_VERIFY_H
#define TUSK_BROKER_INSPECT_VERIFY_H

#include <stdint.h>

#include "broker/inspect/account.h"
#include "broker/inspect/inspection.h"

/* How far a verification is. May be NULL. */
typedef void (*verify_progress_fn)(void *context, uint64_t bytes_done, uint64_t bytes_total);

struct verify_result {
    uint64_t topics;
    uint64_t entries; /* that can be read */
    uint64_t entries_lost;
    uint64_t chunks;
};

/* Findings go to inspection->findings. 0 or -ENOMEM. account->range_fn is the caller's. */
int verify_run(struct inspection *inspection, struct account *account,
               verify_progress_fn progress_fn, void *context, struct verify_result *result);

#endif
