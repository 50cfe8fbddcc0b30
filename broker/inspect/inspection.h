/*
 * Inspection: what a store holds, as far as it can be found out without changing it, and what a start
 * of the broker would say to it.
 * Runs on:    one thread.
 * Invariants: the start is rehearsed with the broker's own code (store_dir.h, segment.h, recovery.h)
 *             over an I/O object that only reads. Where it would be refused, the topics are put
 *             together from the records that can still be read (salvage.h).
 * Not here:   looking at every byte (verify.h); printing (report.h, dump.h).
 */
#ifndef TUSK_BROKER_INSPECT_INSPECTION_H
#define TUSK_BROKER_INSPECT_INSPECTION_H

#include <stdbool.h>

#include "broker/fault.h"
#include "broker/inspect/finding.h"
#include "broker/inspect/guard.h"
#include "broker/inspect/survey.h"
#include "broker/recovery.h"

struct inspection {
    struct io *io;
    struct guard guard;
    struct survey survey;
    struct findings findings;

    bool start_accepts;
    struct fault start; /* why not */

    struct recovery recovery; /* topics, the system topic; empty where nothing is known */
};

/*
 * Opens the store in a directory. The I/O object stays the caller's, and only reads until
 * inspection_close(). 0; -ENOENT: no store; -EBUSY: in use; -ENOMEM and errors of the system.
 */
int inspection_open(struct inspection *inspection, struct io *io, const char *path,
                    struct fault *fault);
void inspection_close(struct inspection *inspection);

/* The topics, and behind them the system topic and its snapshot. */
static inline uint32_t inspection_logs(const struct inspection *inspection)
{
    return inspection->recovery.topics_count + 2;
}

static inline struct recovered_topic *inspection_log(struct inspection *inspection, uint32_t index)
{
    struct recovery *recovery = &inspection->recovery;
    return index < recovery->topics_count    ? &recovery->topics[index]
           : index == recovery->topics_count ? &recovery->system
                                             : &recovery->snapshot;
}

/* Is it a topic of users? */
bool inspection_is_topic(const struct recovered_topic *log);

/* For people. */
const char *inspection_topic_name(const struct recovered_topic *topic);

/* The file that holds a slot, and where: NULL if there is none. */
const struct survey_file *inspection_slot(const struct inspection *inspection, uint32_t slot,
                                          uint64_t *offset);

#endif
