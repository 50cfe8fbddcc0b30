/* Recovery's settling: see recovery_settle.h. */
#include "broker/recovery_settle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/recovery.h"
#include "broker/recovery_replay.h"
#include "broker/segment.h"
#include "shm/cleanup.h"

static int topics_settle(struct recovery *recovery, struct fault *fault)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        struct recovered_topic *topic = &recovery->topics[i];
        if (topic->deleted) {
            recovered_topic_free(topic);
            continue;
        }
        if (!topic->created) {
            return fault_set(fault, -EBADMSG,
                             "the system topic has records of topic %" PRIu64
                             " but none that creates it: restore the store from a backup",
                             topic->id);
        }
        recovered_chunks_trim(topic);
        if (kept != i) {
            recovery->topics[kept] = *topic;
            *topic = (struct recovered_topic){0};
        }
        kept++;
    }
    recovery->topics_count = kept;
    free(recovery->buckets); /* they no longer fit */
    recovery->buckets = NULL;
    recovery->buckets_count = 0;
    return 0;
}

/* One chunk of one topic, in the order in which slots were assigned. */
struct claim {
    uint64_t generation;
    uint32_t topic;
    uint32_t chunk;
};

static int claim_newer_first(const void *left, const void *right)
{
    const uint64_t a = ((const struct claim *)left)->generation;
    const uint64_t b = ((const struct claim *)right)->generation;
    return a < b ? 1 : a > b ? -1 : 0;
}

static struct claim *claims_collect(const struct recovery *recovery, size_t *count)
{
    *count = 0;
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        *count += recovery->topics[i].chunks_count;
    }
    struct claim *claims = malloc((*count + 1) * sizeof *claims);
    if (claims == NULL) {
        return NULL;
    }
    size_t at = 0;
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        for (uint32_t j = 0; j < recovery->topics[i].chunks_count; j++) {
            claims[at++] = (struct claim){recovery->topics[i].chunks[j].generation, i, j};
        }
    }
    qsort(claims, *count, sizeof *claims, claim_newer_first);
    return claims;
}

/* Takes the units of a chunk's slot; false: a newer assignment has one of them. */
static bool units_take(uint8_t *units, uint32_t slot, uint32_t count)
{
    for (uint32_t unit = slot; unit < slot + count; unit++) {
        if (units[unit / 8] & 1u << unit % 8) {
            return false;
        }
    }
    for (uint32_t unit = slot; unit < slot + count; unit++) {
        units[unit / 8] |= (uint8_t)(1u << unit % 8);
    }
    return true;
}

static int claim_check(const struct recovery *recovery, const struct segment_set *segments,
                       const struct claim *claim, uint8_t *units, struct fault *fault)
{
    const struct recovered_topic *topic = &recovery->topics[claim->topic];
    struct recovered_chunk *chunk = &topic->chunks[claim->chunk];
    const uint32_t count = chunk->chunk_no < SMALL_CHUNKS ? 1 : GROUP_UNITS;
    if (!segment_has_slot(segments, chunk->slot) || chunk->slot % count != 0) {
        return fault_set(
            fault, -EBADMSG,
            "topic \"%s\": chunk %" PRIu64 " is recorded in slot %" PRIu32
            ", which is in none of the segments: is a segment file missing? Restore the "
            "store from a backup",
            topic->name, chunk->chunk_no, chunk->slot);
    }
    if (!units_take(units, chunk->slot, count)) {
        chunk->slot = SLOT_NONE;
    }
    return 0;
}

/* Drops assignments whose slot was assigned again later. */
static int slots_settle(struct recovery *recovery, const struct segment_set *segments,
                        struct fault *fault)
{
    const uint64_t units_count = (uint64_t)segments->count * segments->segment_groups * GROUP_UNITS;
    size_t count;
    cleanup_free struct claim *claims = claims_collect(recovery, &count);
    cleanup_free uint8_t *units = calloc(units_count / 8 + 1, 1);
    if (claims == NULL || units == NULL) {
        return fault_set(fault, -ENOMEM, "no memory to recover %zu chunks", count);
    }
    for (size_t i = 0; i < count; i++) {
        const int result = claim_check(recovery, segments, &claims[i], units, fault);
        if (result != 0) {
            return result;
        }
    }
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        struct recovered_topic *topic = &recovery->topics[i];
        uint32_t kept = 0;
        for (uint32_t j = 0; j < topic->chunks_count; j++) {
            if (topic->chunks[j].slot != SLOT_NONE) {
                topic->chunks[kept++] = topic->chunks[j];
            }
        }
        topic->chunks_count = kept;
    }
    return 0;
}

static int name_order(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static int names_check(const struct recovery *recovery, struct fault *fault)
{
    cleanup_free const char **names = malloc((recovery->topics_count + 1) * sizeof *names);
    if (names == NULL) {
        return fault_set(fault, -ENOMEM, "no memory to recover %u topics", recovery->topics_count);
    }
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        names[i] = recovery->topics[i].name;
    }
    qsort(names, recovery->topics_count, sizeof *names, name_order);
    for (uint32_t i = 1; i < recovery->topics_count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return fault_set(fault, -EBADMSG,
                             "the system topic has two topics named \"%s\": restore the store from "
                             "a backup",
                             names[i]);
        }
    }
    return 0;
}

int recovery_settle(struct recovery *recovery, const struct segment_set *segments,
                    struct fault *fault)
{
    int result = topics_settle(recovery, fault);
    if (result == 0) {
        result = names_check(recovery, fault);
    }
    return result == 0 ? slots_settle(recovery, segments, fault) : result;
}
