/*
 * Ledger: a region that is not exactly a ledger of this layout is refused, records lie inside it,
 * and an intent is read back as it was written, in the state it is in.
 * The order of a unit's steps and what a restart makes of them: test_redo.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ledger.h"

enum { LANES = 100 };

static struct ledger_shm *ledger;
static uint64_t bytes;

static void set_up(void)
{
    bytes = ledger_bytes(LANES);
    ledger = aligned_alloc(BLOCK_BYTES, bytes);
    cr_assert_not_null(ledger);
    memset(ledger, 0, bytes);
    ledger_format(ledger, LANES, 9);
}

static void tear_down(void)
{
    free(ledger);
}

TestSuite(shm_ledger, .init = set_up, .fini = tear_down);

Test(shm_ledger, says_what_it_was_made_with)
{
    cr_assert_eq(ledger_check(ledger, bytes), 0);
    cr_assert_eq(ledger->epoch, 9);
    cr_assert_eq(bytes % BLOCK_BYTES, 0);
    cr_assert_geq((const unsigned char *)ledger + bytes,
                  (const unsigned char *)ledger_lane(ledger, LANES));
    cr_assert_eq((uintptr_t)ledger_lane(ledger, 1) % WRITER_STRIDE, 0);
}

Test(shm_ledger, refuses_a_changed_header)
{
    uint64_t *words[] = {&ledger->magic, &ledger->digest, &ledger->bytes, &ledger->lanes_max};
    const uint64_t changes[] = {1000, UINT64_C(1) << 57, UINT64_C(1) << 63, UINT64_MAX - 100};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const uint64_t good = *words[i];
        for (size_t j = 0; j < sizeof changes / sizeof changes[0]; j++) {
            *words[i] = good + changes[j];
            cr_assert_eq(ledger_check(ledger, bytes), -EPROTO, "word %zu + %lx", i, changes[j]);
        }
        *words[i] = good;
    }
    cr_assert_eq(ledger_check(ledger, bytes - BLOCK_BYTES), -EPROTO);
    cr_assert_eq(ledger_check(ledger, bytes + BLOCK_BYTES), -EPROTO);
    cr_assert_eq(ledger_check(ledger, 0), -EPROTO);
    cr_assert_eq(ledger_check(ledger, bytes), 0);
}

Test(shm_ledger, zeroed_records_hold_no_intent)
{
    struct intent intent;
    for (uint32_t i = 0; i < LANES; i++) {
        cr_assert_eq(intent_read(ledger_lane(ledger, i), &intent), INTENT_NONE);
    }
}

static void intent_is(const struct intent *actual, const struct intent *expected)
{
    cr_assert_eq(actual->head, expected->head);
    cr_assert_eq(actual->cq_tail, expected->cq_tail);
    cr_assert_eq(actual->position, expected->position);
    cr_assert_eq(actual->first_seq, expected->first_seq);
    cr_assert_eq(actual->topic, expected->topic);
    cr_assert_eq(actual->count, expected->count);
    cr_assert_eq(actual->error, expected->error);
}

Test(shm_ledger, an_intent_is_read_as_written)
{
    const struct intent written[] = {
        {.head = 1, .cq_tail = 2, .position = 3, .first_seq = 4, .topic = 5, .count = 6},
        {.head = 7, .cq_tail = 8, .error = -EILSEQ},
        {.head = UINT64_MAX,
         .cq_tail = UINT64_MAX,
         .position = UINT64_MAX,
         .first_seq = UINT64_MAX,
         .topic = UINT32_MAX,
         .count = UINT32_MAX,
         .error = INT32_MIN},
        {.topic = UINT32_MAX},
        {.count = UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
        struct lane_record_shm *record = ledger_lane(ledger, (uint32_t)i);
        struct intent read;
        intent_write(record, &written[i]);
        cr_assert_eq(intent_read(record, &read), INTENT_VALID);
        intent_is(&read, &written[i]);
        intent_finish(record, written[i].head, written[i].cq_tail);
        cr_assert_eq(intent_read(record, &read), INTENT_NONE);
        cr_assert_eq(atom_load_relaxed(&record->head), written[i].head);
        cr_assert_eq(atom_load_relaxed(&record->cq_tail), written[i].cq_tail);
    }
    cr_assert_eq(atom_load_relaxed(&ledger_lane(ledger, 5)->intent_valid), 0);
}
