/*
 * Submission: the engine's one copy of a header says what the client wrote, zeroed memory says
 * nothing, and no size that fits a header wraps.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "shm/lane.h"

static struct lane_map lane_of_memory(void)
{
    struct lane_map map = {.sq_bytes = SQ_BYTES_MIN};
    map.sq = calloc(2, SQ_BYTES_MIN);
    cr_assert_not_null(map.sq);
    return map;
}

Test(shm_submission, zeroed_memory_is_nothing)
{
    struct lane_map map = lane_of_memory();
    const struct submission copy = submission_copy(&map, 4096);
    cr_assert_eq(copy.kind, SUBMIT_NOTHING);
    cr_assert_eq(copy.bytes, 0);
    free(map.sq);
}

Test(shm_submission, the_copy_has_every_field)
{
    struct lane_map map = lane_of_memory();
    const struct submission_shm written = {
        .bytes = 0x01020304,
        .kind = 0x0506,
        .flags = 0x0708,
        .topic = 0x090a0b0c,
        .incarnation = 0x0d0e0f10,
        .user_data = UINT64_C(0x1112131415161718),
        .arg = UINT64_C(0x191a1b1c1d1e1f20),
    };
    const uint64_t index = SQ_BYTES_MIN * 7 + 48;
    memcpy(lane_at(&map, index), &written, sizeof written);
    cr_assert_eq(map.sq + 48, (unsigned char *)lane_at(&map, index));
    const struct submission copy = submission_copy(&map, index);
    cr_assert_eq(copy.bytes, written.bytes);
    cr_assert_eq(copy.kind, written.kind);
    cr_assert_eq(copy.flags, written.flags);
    cr_assert_eq(copy.topic, written.topic);
    cr_assert_eq(copy.incarnation, written.incarnation);
    cr_assert_eq(copy.user_data, written.user_data);
    cr_assert_eq(copy.arg, written.arg);
    free(map.sq);
}

Test(shm_submission, sizes_are_aligned_and_do_not_wrap)
{
    cr_assert_eq(sizeof(struct submission_shm), SUBMISSION_HEADER_BYTES);
    cr_assert_eq(sizeof(struct batch_item_shm), BATCH_ITEM_BYTES);
    for (uint64_t body = 0; body < 100; body++) {
        const uint64_t bytes = submission_bytes(body);
        cr_assert(bytes % 16 == 0 && bytes >= 32 + body && bytes < 48 + body);
        const uint64_t item = batch_item_bytes(body);
        cr_assert(item % 8 == 0 && item >= 8 + body && item < 16 + body);
    }
    cr_assert_eq(submission_bytes(UINT32_MAX), (UINT64_C(1) << 32) + 32);
    cr_assert_eq(batch_item_bytes(UINT32_MAX), (UINT64_C(1) << 32) + 8);
}

Test(shm_submission, flags_are_distinct_and_all_known)
{
    const unsigned flags[] = {SUBMIT_QUIET,   SUBMIT_AT,     SUBMIT_NO_WAIT, SUBMIT_NO_CREATE,
                              SUBMIT_DURABLE, SUBMIT_PEEK,   SUBMIT_STRICT,  SUBMIT_BY_CHUNK,
                              SUBMIT_BY_SEQ,  SUBMIT_BY_TIME};
    unsigned seen = 0;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        cr_assert_eq(seen & flags[i], 0);
        seen |= flags[i];
    }
    cr_assert_eq(seen, SUBMIT_FLAGS_KNOWN);
}
