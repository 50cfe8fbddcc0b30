/*
 * Recovery's scan: one topic's log from its durable place to its tail, read from disk.
 * Runs on:    as recovery.h, whose part this is.
 * Invariants: after the scan the tail is known, and what lies in and behind a gap is noted for
 *             recovery_conclude(); after that the topic is as the caller of recovery_run() gets it.
 * Trust:      as recovery.h.
 */
#ifndef TUSK_BROKER_RECOVERY_SCAN_H
#define TUSK_BROKER_RECOVERY_SCAN_H

#include <stdint.h>

#include "broker/recovery.h"

struct ahead_read;
struct io;

struct recovery_scan {
    struct recovery *recovery;
    const struct segment_set *segments;
    struct io *io;
    uint64_t chunk_bytes;
    uint32_t salt_end;  /* salts below it may have been used */
    bool clean;         /* the store was closed in order: topics end where they are recorded to */
    uint8_t *own_image; /* of one chunk */
    uint8_t *image;     /* the one that is looked at: that, or one that was read ahead */
    const struct ahead_read *ahead; /* for the topic that is scanned; NULL: nothing */
    struct fault *fault;
};

/*
 * Where the scan begins: what is below is durable, or trimmed. A trim may be recorded before what it
 * trims is durable, so its place says only that nothing below it is wanted.
 */
static inline struct record_place recovery_scan_start(const struct recovered_topic *topic)
{
    return topic->first.position > topic->durable.position ? topic->first : topic->durable;
}

/* Is the topic's tail known without reading? */
static inline bool recovery_is_settled(const struct recovery_scan *scan,
                                       const struct recovered_topic *topic)
{
    return scan->clean && topic->first.position <= topic->durable.position;
}

/* The offset in the image of the scan's first chunk from which on it has to be read: what is below a
 * durable place is not looked at. */
uint64_t recovery_read_from(const struct recovery_scan *scan, const struct recovered_topic *topic,
                            uint64_t position);

/* Called for each valid frame in order; a negative result ends the scan. */
typedef int (*recovery_frame_fn)(void *context, const struct frame_view *frame);

/* 0, -EBADMSG or an error of the I/O, with words. frame_fn may be NULL. */
int recovery_scan_topic(struct recovery_scan *scan, struct recovered_topic *topic,
                        recovery_frame_fn frame_fn, void *context);

/* After all scans, when the last sync is known: is a gap corruption? 0 or -EBADMSG. Then takes the
 * chunks behind the tail away. */
int recovery_conclude(struct recovery_scan *scan, struct recovered_topic *topic);

/* Can the slot hold that chunk? */
bool recovery_slot_exists(const struct recovery_scan *scan, uint32_t slot, uint64_t chunk_no);

/* The words for damage at a position of a topic; returns -EBADMSG. */
int recovery_refuse(struct recovery_scan *scan, const struct recovered_topic *topic,
                    uint64_t position, const char *what);

#endif
