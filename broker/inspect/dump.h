/*
 * Dump: prints what a store holds: its topics, the frames of one, the records of the system topic.
 * Runs on:    one thread; stdout.
 * Invariants: only frames that are as they were written, and part of their topic's log, are printed;
 *             what lies between is a finding.
 */
#ifndef TUSK_BROKER_INSPECT_DUMP_H
#define TUSK_BROKER_INSPECT_DUMP_H

#include "broker/inspect/arguments.h"
#include "broker/inspect/inspection.h"

/* Called for each intact frame of a topic's log in order, with the file and offset where it lies. A
 * negative result ends the walk. */
typedef int (*dump_frame_fn)(void *context, const struct frame_view *frame, const char *file,
                             uint64_t offset);

/* Walks a topic; gaps are findings. 0, what frame_fn answered, or -ENOMEM. */
int dump_walk(struct inspection *inspection, const struct recovered_topic *topic,
              dump_frame_fn frame_fn, void *context);

/* What was asked for. 0; -ENOENT: no such topic; -ENOMEM. */
int dump_run(const struct arguments *arguments, struct inspection *inspection);

#endif
