/*
 * A topic's chunks against a plain model: they come and go at the two ends in any mixture, every
 * number finds its own chunk or none, and looking for a seq or a time never begins behind the chunk
 * that holds the entry, and in exactly that one where the beginnings are known.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "broker/topic.h"

static struct topic topic;

static void tear_down(void)
{
    while (topic.chunk_count > 0) {
        chunk_free(topic_chunk_shift(&topic));
    }
    free(topic.chunk_memory);
}

TestSuite(topic, .fini = tear_down);

static struct chunk *push(uint64_t number)
{
    struct chunk *chunk = chunk_new(NULL, number);
    cr_assert_not_null(chunk);
    cr_assert_eq(topic_chunk_push(&topic, chunk), 0);
    return chunk;
}

Test(topic, a_new_chunk_is_nowhere)
{
    struct chunk *chunk = chunk_new(&topic, 7);
    cr_assert_not_null(chunk);
    cr_assert_eq(chunk->topic, &topic);
    cr_assert_eq(chunk->number, 7);
    cr_assert_eq(chunk->state, CHUNK_COLD);
    cr_assert_eq(chunk->unit, UNIT_NONE);
    cr_assert_eq(chunk->slot, SLOT_NONE);
    cr_assert_eq(chunk->next_slot, SLOT_NONE);
    cr_assert(list_empty(&chunk->waiters));
    cr_assert_not(list_linked(&chunk->clean));
    chunk_free(chunk);
}

Test(topic, without_chunks_finds_none)
{
    cr_assert_null(topic_chunk(&topic, 0));
    cr_assert_null(topic_chunk(&topic, UINT64_MAX));
    cr_assert_null(topic_locate_seq(&topic, 0));
    cr_assert_null(topic_locate_seq(&topic, UINT64_MAX));
}

Test(topic, may_begin_at_any_number)
{
    struct chunk *first = push(UINT64_C(1) << 40);
    struct chunk *second = push((UINT64_C(1) << 40) + 1);
    cr_assert_eq(first->topic, &topic);
    cr_assert_eq(topic_chunk(&topic, UINT64_C(1) << 40), first);
    cr_assert_eq(topic_chunk(&topic, (UINT64_C(1) << 40) + 1), second);
    cr_assert_null(topic_chunk(&topic, (UINT64_C(1) << 40) - 1));
    cr_assert_null(topic_chunk(&topic, (UINT64_C(1) << 40) + 2));
    cr_assert_null(topic_chunk(&topic, 0));
    chunk_free(topic_chunk_shift(&topic));
    chunk_free(topic_chunk_shift(&topic));
    cr_assert_null(topic_chunk(&topic, UINT64_C(1) << 40));
    struct chunk *again = push(3); /* all are gone: it may begin anew */
    cr_assert_eq(topic_chunk(&topic, 3), again);
}

Test(topic, chunks_leave_no_gap, .signal = SIGABRT)
{
    push(0);
    push(2);
}

Test(topic, does_not_give_what_it_has_not, .signal = SIGABRT)
{
    (void)topic_chunk_shift(&topic);
}

static void agree(struct chunk *const *model, uint64_t begin, uint64_t end)
{
    cr_assert_eq(topic.chunk_count, end - begin);
    for (uint64_t number = begin > 2 ? begin - 2 : 0; number < end + 2; number++) {
        cr_assert_eq(topic_chunk(&topic, number),
                     number >= begin && number < end ? model[number] : NULL);
    }
}

Test(topic, agrees_with_a_model_over_random_use)
{
    enum { CHUNKS_MAX = 3000 };
    static struct chunk *model[CHUNKS_MAX];
    uint64_t begin = 0;
    uint64_t end = 0;
    srand(1);
    while (end < CHUNKS_MAX) {
        for (int count = rand() % 30; count > 0 && end < CHUNKS_MAX; count--) {
            model[end] = push(end);
            end++;
        }
        for (int count = rand() % 29; count > 0 && begin < end; count--) {
            struct chunk *gone = topic_chunk_shift(&topic);
            cr_assert_eq(gone, model[begin++]);
            chunk_free(gone);
        }
        agree(model, begin, end);
    }
    cr_assert_lt(topic.chunk_room, CHUNKS_MAX, "room for chunks that are gone is not used again");
}

/* Chunks whose true beginnings are known to the test; `exact` percent of them also to the topic. */
struct beginnings {
    uint64_t seq[64];
    uint64_t count;
};

static void chunks_make(struct beginnings *truth, uint64_t count, int exact)
{
    uint64_t seq = 0;
    uint64_t bound = 0;
    truth->count = count;
    for (uint64_t i = 0; i < count; i++) {
        struct chunk *chunk = push(i);
        truth->seq[i] = seq;
        chunk->base_exact = rand() % 100 < exact;
        bound = chunk->base_exact ? seq : bound;
        chunk->base_seq = bound;
        chunk->base_time_ns = bound * 10;
        seq += (uint64_t)rand() % 4 == 0 ? 0 : 1 + (uint64_t)rand() % 20; /* 0: one entry in both */
    }
}

static void chunks_drop(void)
{
    while (topic.chunk_count > 0) {
        chunk_free(topic_chunk_shift(&topic));
    }
}

/* The last chunk that begins at or before the seq: the entry begins there or, if it is the first
 * that this chunk has, before. */
static uint64_t chunk_of(const struct beginnings *truth, uint64_t seq)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < truth->count; i++) {
        if (truth->seq[i] <= seq) {
            found = i;
        }
    }
    return found;
}

Test(topic, locates_where_all_beginnings_are_known)
{
    srand(2);
    for (int round = 0; round < 300; round++) {
        struct beginnings truth;
        chunks_make(&truth, 1 + (uint64_t)rand() % 60, 100);
        for (uint64_t seq = 0; seq < 1000; seq++) {
            cr_assert_eq(topic_locate_seq(&topic, seq)->number, chunk_of(&truth, seq));
        }
        chunks_drop();
    }
}

Test(topic, never_begins_behind_the_entry)
{
    srand(3);
    for (int round = 0; round < 300; round++) {
        struct beginnings truth;
        chunks_make(&truth, 1 + (uint64_t)rand() % 60, rand() % 100);
        for (uint64_t seq = 0; seq < 1000; seq++) {
            const struct chunk *found = topic_locate_seq(&topic, seq);
            cr_assert_leq(found->number, chunk_of(&truth, seq));
            cr_assert_leq(found->base_seq, seq);
        }
        chunks_drop();
    }
}

Test(topic, begins_at_the_first_chunk_for_what_is_trimmed)
{
    for (uint64_t number = 0; number < 4; number++) {
        struct chunk *chunk = push(number);
        chunk->base_seq = 100 * (number + 1);
        chunk->base_exact = true;
    }
    cr_assert_eq(topic_locate_seq(&topic, 5)->number, 0);
    cr_assert_eq(topic_locate_seq(&topic, 99)->number, 0);
    cr_assert_eq(topic_locate_seq(&topic, 100)->number, 0);
    cr_assert_eq(topic_locate_seq(&topic, 200)->number, 1);
    cr_assert_eq(topic_locate_seq(&topic, UINT64_MAX)->number, 3);
}
