/*
 * Crowd: many topics, each with a little in it, and what they cost the broker.
 * Not here: starting the broker (tuskd.h).
 */
#ifndef TUSK_TESTS_SUPPORT_CROWD_H
#define TUSK_TESTS_SUPPORT_CROWD_H

#include <tusk/tusk.h>

#include "tests/support/tuskd.h"

/* Append entry n to each of the topics [0, count), which come into being with their first one. */
void crowd_append(struct tusk *connection, uint32_t count, uint32_t n);

/* Every `step`th topic has exactly the entries [0, entries), as crowd_append() has made them. */
void crowd_check(struct tusk *connection, uint32_t count, uint32_t step, uint32_t entries);

/* Memory of the broker's own, and what it shares with its clients. Bytes. */
struct crowd_memory {
    uint64_t private_bytes;
    uint64_t shared_bytes;
};

struct crowd_memory crowd_memory(const struct tuskd *tuskd);

/* How long the broker's last start took to open its store. */
uint64_t crowd_recovery_us(struct tusk *connection);

#endif
