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
};

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
};

/* Bytes that belong to somebody else: the caller's when encoding, the decoded record's after. */
struct record_text {
    const void *bytes;
    uint16_t size;
};

/* A place in a topic's log, with the seq of the next entry there. */
struct record_place {
    uint64_t position;
    uint64_t seq;
};

struct record_topic_create {
    uint64_t time_ns; /* since the epoch */
    struct record_text name;
    struct record_text retention;
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

/* What lay behind `tail` never was: no frame from there on counts unless its salt is salt_floor or
 * higher, and chunks from void_from on have no slots. */
struct record_verdict {
    struct record_place tail;
    struct record_place durable;
    uint64_t void_from; /* chunk_no */
    uint32_t salt_floor;
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
    };
};

/* Writes a record and returns its size, at most RECORD_BYTES_MAX. Texts within their bounds. */
size_t record_encode(const struct record *record, uint8_t bytes[RECORD_BYTES_MAX]);

/*
 * Reads a record whose texts then point into `bytes`. -EBADMSG: it is none; -EPROTO: its kind or
 * version is unknown, so a newer Tusk wrote it.
 */
int record_decode(struct record *record, const void *bytes, size_t size);

#endif
