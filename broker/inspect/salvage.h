/*
 * Salvage: the topics of a store that a start refuses, from the records that can still be read.
 * Runs on:    the thread that inspects.
 * Invariants: records are applied with the code of recovery (recovery_replay.h); what does not fit is
 *             a finding, and passed over. Each topic's tail is recovery's where that finds one, else
 *             behind the last intact frame, and never below what was recorded as durable.
 * Trust:      every byte may be anything.
 */
#ifndef TUSK_BROKER_INSPECT_SALVAGE_H
#define TUSK_BROKER_INSPECT_SALVAGE_H

struct fault;
struct inspection;

/* Fills inspection->recovery, which stays empty where not even the system topic's beginning is known.
 * 0 or -ENOMEM. */
int salvage_run(struct inspection *inspection, struct fault *fault);

#endif
