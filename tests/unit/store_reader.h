/*
 * Store reader: reads the topics of a store stage, whole and by two ways that know nothing of how the
 * engine placed them.
 * Runs on:    the test's thread.
 */
#ifndef TUSK_TESTS_UNIT_STORE_READER_H
#define TUSK_TESTS_UNIT_STORE_READER_H

#include "tests/unit/store_stage.h"

/* Where the bytes of a chunk are: in the arena, or on the disk as the running system sees it. */
const unsigned char *stage_image(struct stage *stage, const struct chunk *chunk);

struct stage_entry {
    uint64_t seq;
    uint64_t position;
    uint64_t size;
    uint64_t time_ns;
    const unsigned char *bytes;
    bool batch;
    bool batch_end;
};

/*
 * Reads a topic as a reader does, by positions and sizes alone, from its first entry to its tail, and
 * once more with frame_scan.h, which must agree in everything. Seqs are dense and times never go
 * back. Calls each() for every entry.
 */
void stage_read(struct stage *stage, struct topic *topic,
                void (*each)(void *context, const struct stage_entry *entry), void *context);

#endif
