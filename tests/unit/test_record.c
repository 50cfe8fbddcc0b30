/*
 * Records of the system topic: what is encoded is decoded, and nothing else is accepted: every
 * truncation, every trailing byte and random bytes are answered, never read beyond their end.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/record.h"

static char long_name[TOPIC_NAME_BYTES_MAX];
static char long_value[RECORD_VALUE_BYTES_MAX];

static size_t specimens(struct record *records)
{
    memset(long_name, 'n', sizeof long_name);
    memset(long_value, 'v', sizeof long_value);
    const struct record all[] = {
        {.kind = RECORD_TOPIC_CREATE,
         .topic_id = 1,
         .topic_create = {.time_ns = 2, .name = {"topic", 5}, .retention = {"consumed", 8}}},
        {.kind = RECORD_TOPIC_CREATE,
         .topic_id = UINT64_MAX,
         .topic_create = {.time_ns = UINT64_MAX, .name = {long_name, sizeof long_name}}},
        {.kind = RECORD_TOPIC_DELETE, .topic_id = 3},
        {.kind = RECORD_TOPIC_OPTION,
         .topic_id = 4,
         .topic_option = {.key = {long_name, sizeof long_name},
                          .value = {long_value, sizeof long_value}}},
        {.kind = RECORD_ASSIGN,
         .topic_id = 5,
         .assign = {.chunk_no = 6,
                    .generation = 7,
                    .base_seq = 8,
                    .base_time_ns = 9,
                    .slot = 0xfffefdfc,
                    .age_ns = 12,
                    .durable = {10, 11}}},
        {.kind = RECORD_TRIM, .topic_id = 12, .trim = {.chunk_no = 13, .first = {14, 15}}},
        {.kind = RECORD_CURSOR,
         .topic_id = 16,
         .cursor = {.group = {"default", 7}, .cursor = {17, 18}, .durable = {19, 20}}},
        {.kind = RECORD_MARK, .topic_id = 21, .mark = {.durable = {22, 23}}},
        {.kind = RECORD_VERDICT,
         .topic_id = 24,
         .verdict = {.tail = {25, 26},
                     .durable = {27, 28},
                     .void_from = RECORD_NOTHING_VOID,
                     .salt_floor = 0x89abcdef}},
        {.kind = RECORD_CLOCK, .clock = {.age_ns = 29}},
    };
    memcpy(records, all, sizeof all);
    return sizeof all / sizeof *all;
}

enum { SPECIMENS_MAX = 16 };

static void check_text(struct record_text actual, struct record_text expected)
{
    cr_assert_eq(actual.size, expected.size);
    cr_assert(actual.size == 0 || memcmp(actual.bytes, expected.bytes, actual.size) == 0);
}

static void check_same(const struct record *actual, const struct record *expected)
{
    struct record a = *actual;
    struct record b = *expected;
    cr_assert_eq(a.kind, b.kind);
    if (a.kind == RECORD_TOPIC_CREATE) {
        check_text(a.topic_create.name, b.topic_create.name);
        check_text(a.topic_create.retention, b.topic_create.retention);
        a.topic_create.name = b.topic_create.name;
        a.topic_create.retention = b.topic_create.retention;
    } else if (a.kind == RECORD_TOPIC_OPTION) {
        check_text(a.topic_option.key, b.topic_option.key);
        check_text(a.topic_option.value, b.topic_option.value);
        a.topic_option = b.topic_option;
    } else if (a.kind == RECORD_CURSOR) {
        check_text(a.cursor.group, b.cursor.group);
        a.cursor.group = b.cursor.group;
    }
    /* No struct here has padding that differs: both began as zeros. */
    cr_assert_eq(memcmp(&a.topic_id, &b.topic_id, sizeof a.topic_id), 0);
    cr_assert_eq(memcmp(&a.verdict, &b.verdict, sizeof a.verdict), 0);
}

/* A copy of exactly that size, so that AddressSanitizer sees a read beyond it. */
static int decode_exactly(struct record *record, const uint8_t *bytes, size_t size, uint8_t **copy)
{
    *copy = malloc(size == 0 ? 1 : size);
    memcpy(*copy, bytes, size);
    return record_decode(record, *copy, size);
}

Test(record, comes_back_as_it_was)
{
    struct record records[SPECIMENS_MAX];
    const size_t count = specimens(records);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[RECORD_BYTES_MAX];
        const size_t size = record_encode(&records[i], bytes);
        cr_assert_leq(size, sizeof bytes);
        struct record back;
        uint8_t *copy;
        cr_assert_eq(decode_exactly(&back, bytes, size, &copy), 0, "specimen %zu", i);
        check_same(&back, &records[i]);
        free(copy);
    }
}

Test(record, of_another_length_is_refused)
{
    struct record records[SPECIMENS_MAX];
    const size_t count = specimens(records);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[RECORD_BYTES_MAX + 1] = {0};
        const size_t size = record_encode(&records[i], bytes);
        struct record back;
        uint8_t *copy;
        for (size_t cut = 0; cut < size; cut++) {
            cr_assert_eq(decode_exactly(&back, bytes, cut, &copy), -EBADMSG, "%zu of %zu", cut,
                         size);
            free(copy);
        }
        cr_assert_eq(decode_exactly(&back, bytes, size + 1, &copy), -EBADMSG);
        free(copy);
    }
}

Test(record, of_a_newer_kind_or_version_says_so)
{
    uint8_t bytes[RECORD_BYTES_MAX];
    const struct record record = {.kind = RECORD_TOPIC_DELETE, .topic_id = 1};
    const size_t size = record_encode(&record, bytes);
    struct record back;
    bytes[0] = 200;
    cr_assert_eq(record_decode(&back, bytes, size), -EPROTO);
    bytes[0] = RECORD_TOPIC_DELETE;
    bytes[1]++;
    cr_assert_eq(record_decode(&back, bytes, size), -EPROTO);
    memset(bytes, 0, sizeof bytes);
    cr_assert_eq(record_decode(&back, bytes, size), -EBADMSG);
}

Test(record, random_bytes_are_answered_and_mean_what_they_say)
{
    uint32_t random = 1;
    for (int round = 0; round < 300000; round++) {
        uint8_t bytes[96];
        for (size_t i = 0; i < sizeof bytes; i++) {
            random = random * 1664525 + 1013904223;
            bytes[i] = (uint8_t)(random >> 24);
        }
        bytes[0] %= 10;
        bytes[1] %= 2;
        const size_t size = random % (sizeof bytes + 1);
        struct record record;
        uint8_t *copy;
        if (decode_exactly(&record, bytes, size, &copy) == 0) {
            uint8_t again[RECORD_BYTES_MAX];
            cr_assert_eq(record_encode(&record, again), size);
            cr_assert_eq(memcmp(again, bytes, size), 0);
        }
        free(copy);
    }
}
