/*
 * Append: takes entries and batches out of a lane and makes them final, a unit at a time.
 * Runs on:    the engine of the store.
 * Invariants: a unit becomes final through the lane's redo record, step by step (ledger.h [J1] to
 *             [J5]); whatever is refused is a unit of its own; a unit never assigns a slot.
 * Trust:      headers are copied once; sizes of a batch's items are copied before they are used.
 */
#ifndef TUSK_BROKER_APPEND_H
#define TUSK_BROKER_APPEND_H

#include "broker/store.h"
#include "broker/submit.h"

/* The submission at the lane's head is an APPEND or BATCH; `tail` bounds what may be read. Takes it,
 * and for APPEND as many as follow it for the same topic and fit the unit. */
enum submit_outcome append_take(struct store *store, struct lane *lane, uint64_t tail,
                                const struct submission *submission);

/* May the submission append to the topic, which comes into being where it does not exist? STORE_READY,
 * STORE_WAIT, STORE_HELD or -errno. */
int append_topic_ready(struct store *store, struct topic *topic,
                       const struct submission *submission);

#endif
