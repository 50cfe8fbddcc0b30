/*
 * Relay: what a broker cannot do without, and nothing else. A producer process copies payloads into
 * a submission ring; a relay process checks their lengths, copies them into a log, computes the
 * CRC32C of each frame and publishes the log's end; a reader process follows. The same copies and
 * checksums as Tusk's, with its header sizes, unit sizes and ring sizes; no topics, order of many
 * producers, chunks, pins, disk, restart or protection.
 * Runs on:    the processes of a crew: the roles of relay_roles(), none of which connects.
 * Invariants: head <= tail <= head + ring bytes; the log is a ring too, which the producer's lead
 *             keeps ahead of the reader; the reader checks that sequence numbers are dense.
 * Ordering:
 *   [Y1] ring_publish() -> ring_ready(): frames, then the tail that covers them
 *   [Y2] ring_release() -> ring_room(): the relay's last read, then the head
 *   [Y3] log_publish() -> log_ready(): frames with their checksums, then the seq
 *   [Y4] completion_post() -> completion_await(): the completion, then the count
 */
#ifndef TUSK_BENCH_RELAY_H
#define TUSK_BENCH_RELAY_H

#include "bench/crew.h"

#define RELAY_RING_BYTES (UINT64_C(256) << 10) /* as a lane's */

struct relay;

struct relay_plan {
    uint64_t size;         /* of each payload */
    uint64_t log_bytes;    /* of the ring that stands for the arena; a power of two */
    uint64_t entries_max;  /* the producer ends there */
    uint64_t lead_entries; /* and stays so close to the reader */
    bool round_trip;       /* each entry is waited for: there is no reader */
    bool ahead;            /* the relay asks for the log's lines before it writes them */
    struct relay *relay;
};

/* Maps what the processes share. NULL: it failed, which has been explained on stderr. */
struct relay *relay_new(uint64_t log_bytes);
void relay_free(struct relay *relay);

/* What an entry of that size takes in the log. */
uint64_t relay_log_bytes(uint64_t size);

enum { RELAY_ROLES = 3 }; /* producer, relay, reader; the first two for round trips */

/* The roles; arg is the plan, which stays the caller's. */
void relay_roles(struct role roles[RELAY_ROLES], const struct relay_plan *plan);

#endif
