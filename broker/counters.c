/* Counters: see counters.h for the contract. */
#include "broker/counters.h"

#include <string.h>

#include "shm/ensure.h"

/* `tusk stat` shows them in this order. */
const struct counter_spec counter_table[COUNTER_COUNT] = {
    [COUNTER_ENTRIES_APPENDED] = {"entries_appended_total", "entries that became committed",
                                  COUNTER_OF_ENGINE},
    [COUNTER_BYTES_APPENDED] = {"bytes_appended_total", "payload bytes of these entries",
                                COUNTER_OF_ENGINE},
    [COUNTER_BATCHES_APPENDED] = {"batches_appended_total", "batches that became committed",
                                  COUNTER_OF_ENGINE},
    [COUNTER_STREAMS_APPENDED] = {"streams_appended_total",
                                  "entries and batches larger than a unit that became committed",
                                  COUNTER_OF_ENGINE},
    [COUNTER_STREAMS_ROLLED_BACK] = {"streams_rolled_back_total",
                                     "such appends that were given up before they were complete",
                                     COUNTER_OF_ENGINE},
    [COUNTER_SUBMISSIONS_FAILED] = {"submissions_failed_total",
                                    "submissions of clients answered with an error",
                                    COUNTER_OF_ENGINE},
    [COUNTER_ENTRIES_CONSUMED] = {"entries_consumed_total",
                                  "entries that cursors of groups moved past", COUNTER_OF_ENGINE},
    [COUNTER_FETCHES] = {"fetches_total", "chunks read back from disk for readers",
                         COUNTER_OF_ENGINE},
    [COUNTER_CHUNKS_READ_AHEAD] = {"chunks_read_ahead_total",
                                   "of these, chunks read before a reader asked for them",
                                   COUNTER_OF_ENGINE},
    [COUNTER_READ_AHEAD_HITS] = {"read_ahead_hits_total",
                                 "chunks read ahead that a reader then asked for",
                                 COUNTER_OF_ENGINE},
    [COUNTER_READ_AHEAD_WASTED] = {"read_ahead_wasted_total",
                                   "chunks read ahead that nobody asked for in time",
                                   COUNTER_OF_ENGINE},
    [COUNTER_HEADERS_READ] = {"chunk_headers_read_total",
                              "beginnings of chunks read to find an entry by seq or by time",
                              COUNTER_OF_ENGINE},
    [COUNTER_CHUNKS_DAMAGED] = {"chunks_damaged_total",
                                "chunks found damaged when they were read back", COUNTER_OF_ENGINE},
    [COUNTER_CHUNKS_EVICTED] = {"chunks_evicted_total",
                                "chunks taken out of the arena to make room", COUNTER_OF_ENGINE},
    [COUNTER_SNAPSHOTS] = {"snapshots_total", "snapshots of the system topic that were completed",
                           COUNTER_OF_ENGINE},
    [COUNTER_CHUNKS_TRIMMED] = {"chunks_trimmed_total",
                                "chunks given up because nobody needs them any more",
                                COUNTER_OF_ENGINE},
    [COUNTER_ENTRIES_LOST] = {"entries_lost_total",
                              "entries that retention took before the cursor had passed them",
                              COUNTER_OF_ENGINE},
    [COUNTER_ARENA_WAITS] = {"arena_waits_total", "times a lane had to wait for room in the arena",
                             COUNTER_OF_ENGINE},
    [COUNTER_PINS_REVOKED] = {"pins_revoked_total",
                              "chunks taken from sessions that held them for too long",
                              COUNTER_OF_ENGINE},
    [COUNTER_SYNCS] = {"syncs_total", "group commits that reached stable storage",
                       COUNTER_OF_ENGINE},
    [COUNTER_SYNC_NS] = {"sync_ns_total", "nanoseconds that these took, from first write to end",
                         COUNTER_OF_ENGINE},
    [COUNTER_BYTES_WRITTEN] = {"bytes_written_total", "bytes written to segment files",
                               COUNTER_OF_ENGINE},
    [COUNTER_PASSES] = {"passes_total", "times the engine went over the namespace's lanes and work",
                        COUNTER_OF_ENGINE},
    [COUNTER_PARKS] = {"parks_total", "times a lane without work was left to its socket",
                       COUNTER_OF_ENGINE},
    [COUNTER_WAKES] = {"wakes_total", "sleeping clients woken", COUNTER_OF_ENGINE},
    [COUNTER_TOPICS] = {"topics", "topics that exist", COUNTER_OF_ENGINE},
    [COUNTER_LANES] = {"lanes", "lanes of clients that are attached", COUNTER_OF_ENGINE},
    [COUNTER_ARENA_UNITS_FREE] = {"arena_units_free",
                                  "sixteenths of a chunk that are free in the arena",
                                  COUNTER_OF_ENGINE},
    [COUNTER_SEGMENTS] = {"segments", "segment files of the store", COUNTER_OF_ENGINE},
    [COUNTER_RECOVERY_NS] = {"recovery_ns", "nanoseconds that recovery took at the start",
                             COUNTER_OF_ENGINE},
    [COUNTER_SESSIONS] = {"sessions", "client processes that are connected", COUNTER_OF_CONTROL},
    [COUNTER_SESSIONS_OPENED] = {"sessions_opened_total", "sessions that began",
                                 COUNTER_OF_CONTROL},
    [COUNTER_SESSIONS_REFUSED] = {"sessions_refused_total",
                                  "connections refused: version, limits, no descriptors",
                                  COUNTER_OF_CONTROL},
    [COUNTER_SESSIONS_HOSTILE] = {"sessions_hostile_total",
                                  "sessions closed because of what the client wrote",
                                  COUNTER_OF_CONTROL},
};

void counters_describe(struct directory_shm *directory)
{
    for (uint32_t at = 0; at < COUNTER_COUNT; at++) {
        struct counter_shm *const shared = directory_counter(directory, at);
        const struct counter_spec *const spec = &counter_table[at];
        const size_t name_bytes = strlen(spec->name) + 1;
        const size_t help_bytes = strlen(spec->help) + 1;
        ensure(name_bytes <= sizeof shared->name && help_bytes <= sizeof shared->help);
        memcpy(shared->name, spec->name, name_bytes);
        memcpy(shared->help, spec->help, help_bytes);
    }
}

void counters_init(struct counters *counters, struct directory_shm *directory,
                   enum counter_writer writer)
{
    memset(counters, 0, sizeof *counters);
    counters->directory = directory;
    counters->writer = writer;
}

void counters_publish(struct counters *counters)
{
    while (counters->changed != 0) {
        const uint32_t at = (uint32_t)__builtin_ctzll(counters->changed);
        audit(counter_table[at].writer == counters->writer);
        counters->changed &= counters->changed - 1;
        /* Relaxed: a figure orders nothing, its reader only wants to know. */
        atom_store_relaxed(&directory_counter(counters->directory, at)->value,
                           counters->values[at]);
    }
}
