/*
 * Record: what the entries of the system topic say, in bytes.
 * Runs on:    any thread; pure functions.
 * Invariants: little-endian, a kind and a version byte first; record_decode() accepts exactly what
 *             record_encode() writes. Records are absolute and idempotent: the last one of its kind
 *             about an object holds.
 * Trust:      decoded bytes come from a disk: every size is checked against what is there.
 * Not here:   when records are written (system_topic), what they add up to (recovery.h).
 */
#ifndef TUSK_BROKER_RECORD_H
#define TUSK_BROKER_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "shm/limits.h"

enum {
    RECORD_TEXT_BYTES_MAX = 255, /* retention texts, group names, option keys */
    RECORD_VALUE_BYTES_MAX = 1024,
    /* No record is longer: the fixed part, and the longest two texts. */
    RECORD_BYTES_MAX = 128 + RECORD_TEXT_BYTES_MAX + RECORD_VALUE_BYTES_MAX,
    /* Items of one record with many. */
    RECORD_ITEMS_MAX = 38,
    RECORD_MARK_ITEM_BYTES = 32,
    RECORD_CHUNK_ITEM_BYTES = 36,
};
_Static_assert(RECORD_ITEMS_MAX *RECORD_CHUNK_ITEM_BYTES + 20 <= RECORD_BYTES_MAX, "they fit");

/* For record_verdict.void_from: no assignment is void. */
#define RECORD_NOTHING_VOID UINT64_MAX

/* Stored; never renumbered. */
enum record_kind {
    RECORD_TOPIC_CREATE = 1,
    RECORD_TOPIC_DELETE = 2,
    RECORD_TOPIC_OPTION = 3,
    RECORD_ASSIGN = 4,
    RECORD_TRIM = 5,
    RECORD_CURSOR = 6,
    RECORD_MARK = 7,
    RECORD_VERDICT = 8,
    RECORD_MARKS = 9,
    RECORD_TOPIC = 10,  /* in snapshots */
    RECORD_CHUNKS = 11, /* in snapshots */
    RECORD_CLOCK = 12,
};

/* Bytes that belong to somebody else: the caller's when encoding, the decoded record's after. */
struct record_text {
    const void *bytes;
    uint16_t size;
};

/* The one group that there is, and the one option of topics. */
#define RECORD_GROUP_DEFAULT "default"
#define RECORD_KEY_RETENTION "retention"

/* Of a string constant. */
#define RECORD_TEXT(constant)                                                                      \
    (struct record_text)                                                                           \
    {                                                                                              \
        .bytes = (constant), .size = sizeof(constant) - 1                                          \
    }

/* A place in a topic's log, with the seq of the next entry there. */
struct record_place {
    uint64_t position;
    uint64_t seq;
};

struct record_topic_create {
    uint64_t time_ns; /* since the epoch */
    struct record_text name;
    struct record_text retention; /* empty: the store's */
};

struct record_topic_option {
    struct record_text key;
    struct record_text value;
};

/* A chunk of the topic lies in a slot, from now on. */
struct record_assign {
    uint64_t chunk_no;
    uint64_t generation;
    uint64_t base_seq; /* a lower bound */
    uint64_t base_time_ns;
    uint32_t slot;
    uint64_t age_ns;             /* the age clock at that time (retention.h); 0: not known */
    struct record_place durable; /* what of the topic is durable at that time */
};

/* Everything before `first` is gone. */
struct record_trim {
    uint64_t chunk_no; /* the first one kept */
    struct record_place first;
};

struct record_cursor {
    struct record_text group;
    struct record_place cursor;
    struct record_place durable;
};

struct record_mark {
    struct record_place durable;
};

/* Items in bytes that belong to somebody else, as a text's do. */
struct record_items {
    const uint8_t *bytes;
    uint16_t count;
};

/* What is durable of many topics: items of struct record_mark_item. */
struct record_mark_item {
    uint64_t topic_id;
    struct record_place durable;
    uint64_t time_ns; /* no entry below is newer */
};

/* All that holds of a topic but for its chunks, its options and its cursor, which follow. */
struct record_topic {
    uint64_t created_ns;
    struct record_text name;
    struct record_text retention;
    uint64_t as_of; /* position in the system topic: what is recorded below is in this */
    struct record_place first;
    struct record_place durable;
    uint64_t last_time_ns;
    uint64_t floor_position; /* as of a verdict's tail and salt_floor */
    uint32_t floor_salt;
};

/* Consecutive chunks of a topic and their slots: items of struct record_chunk. */
struct record_chunk {
    uint64_t generation;
    uint64_t base_seq; /* a lower bound */
    uint64_t base_time_ns;
    uint64_t age_ns; /* as in record_assign */
    uint32_t slot;
};

struct record_chunks {
    uint64_t chunk_no; /* of the first one */
    struct record_items items;
};

/* What lay behind `tail` never was: no frame from there on counts unless its salt is salt_floor or
 * higher, and chunks from void_from on have no slots. */
struct record_verdict {
    struct record_place tail;
    struct record_place durable;
    uint64_t void_from; /* chunk_no */
    uint32_t salt_floor;
};

/* The age clock of the store; topic_id is 0. */
struct record_clock {
    uint64_t age_ns;
};

struct record {
    enum record_kind kind;
    uint64_t topic_id;
    union {
        struct record_topic_create topic_create;
        struct record_topic_option topic_option;
        struct record_assign assign;
        struct record_trim trim;
        struct record_cursor cursor;
        struct record_mark mark;
        struct record_verdict verdict;
        struct record_items marks;
        struct record_topic topic;
        struct record_chunks chunks;
        struct record_clock clock;
    };
};

/* Item i of the bytes, in and out. */
void record_mark_item_put(uint8_t *bytes, uint32_t i, const struct record_mark_item *item);
struct record_mark_item record_mark_item_get(const struct record_items *items, uint32_t i);
void record_chunk_put(uint8_t *bytes, uint32_t i, const struct record_chunk *chunk);
struct record_chunk record_chunk_get(const struct record_items *items, uint32_t i);

/* Writes a record and returns its size, at most RECORD_BYTES_MAX. Texts and items within their
 * bounds. */
size_t record_encode(const struct record *record, uint8_t bytes[RECORD_BYTES_MAX]);

/*
 * Reads a record whose texts and items then point into `bytes`. -EBADMSG: it is none; -EPROTO: its
 * kind or version is unknown, so a newer Tusk wrote it.
 */
int record_decode(struct record *record, const void *bytes, size_t size);

#endif
