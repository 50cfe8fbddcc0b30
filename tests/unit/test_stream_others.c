/*
 * What open streams leave to others: there are never so many that what they hold is all of the arena, and
 * what one has placed is nothing that a reader can ask for.
 * How: a store on a memory disk (store_stage.h) with an arena of 16 chunks.
 *
 * Seen to fail with: no bound on streams; chunks that are fetched because an open stream has begun
 * them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "tests/unit/store_stream.h"

enum {
    ARENA_CHUNKS = 16,
    STREAMS_MAX = ARENA_CHUNKS / 4,
    STREAMS = ARENA_CHUNKS + 4,
    ENTRIES = 40
};

/* One client of many. */
struct owner {
    struct stage_lane *lane;
    struct stage_topic topic;
    struct stage_stream stream;
};

static struct stage stage;
static struct owner owners[STREAMS];
static uint32_t sizes[ENTRIES];

static void begin(void)
{
    stage_init(&stage, 5);
    stage.config.arena_bytes = ARENA_CHUNKS * STAGE_CHUNK;
    stage_open(&stage);
    for (int i = 0; i < ENTRIES; i++) {
        sizes[i] = 60000;
    }
    for (int i = 0; i < STREAMS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        owners[i].lane = stage_lane_open(&stage);
        owners[i].topic = stage_topic_open(owners[i].lane, name);
    }
}

static void end(void)
{
    for (int i = 0; i < STREAMS; i++) {
        stage_stream_free(&owners[i].stream);
    }
    stage_deinit(&stage);
}

TestSuite(stream_others, .init = begin, .fini = end, .timeout = 600);

static struct topic *state(const struct owner *owner)
{
    return stage_topic_of(&stage, owner->topic);
}

static void open_stream(struct owner *owner)
{
    stage_stream_open(&owner->stream, owner->lane, owner->topic, sizes, ENTRIES, 1);
}

static void send_upto(struct owner *owner, uint64_t bytes)
{
    struct stage_stream *stream = &owner->stream;
    bytes = bytes < stream->bytes ? bytes : stream->bytes;
    for (unsigned i = 0; stream->sent < bytes; i++) {
        cr_assert_lt(i, 10000U, "nothing is taken");
        if (!stage_stream_send(stream, bytes - stream->sent)) {
            (void)stage_pass(&stage);
        }
    }
    stage_settle(&stage);
}

static const struct stage_answer *finish(struct owner *owner, uint16_t kind)
{
    for (unsigned i = 0; !stage_lane_has_room(owner->lane, 0); i++) {
        cr_assert_lt(i, 10000U, "nothing is taken");
        (void)stage_pass(&stage);
    }
    (void)stage_ask(owner->lane, kind, owner->topic, 0, 0);
    return stage_answered(owner->lane, owner->stream.ask);
}

/* As many as there may be, each in the middle of a large chunk of its own: others are served meanwhile. */
Test(stream_others, leave_them_the_arena)
{
    struct owner *const last = &owners[STREAMS - 1];
    struct owner *const other = &owners[STREAMS - 2];
    uint32_t open = 0;
    for (int i = 0; i < STREAMS - 2; i++) {
        open_stream(&owners[i]);
        stage_settle(&stage);
        if (state(&owners[i])->stream != NULL) {
            send_upto(&owners[i], 200000);
            open++;
        }
    }
    cr_assert_eq(open, (uint32_t)STREAMS_MAX);
    for (uint64_t i = 0; i < 40; i++) {
        const uint64_t ask = stage_append(other->lane, other->topic, 30000, i, 0);
        cr_assert_eq(stage_answered(other->lane, ask)->error, 0);
    }
    const struct stage_request refused = {.kind = SUBMIT_STREAM_OPEN,
                                          .flags = SUBMIT_NO_WAIT,
                                          .topic = last->topic,
                                          .body = &(struct stream_open_shm){.entries = 1,
                                                                            .bytes = 8,
                                                                            .body_bytes = 16,
                                                                            .entry_bytes_max = 8},
                                          .bytes = sizeof(struct stream_open_shm)};
    const uint64_t ask = stage_submit(last->lane, &refused);
    cr_assert_eq(stage_answered(last->lane, ask)->error, -EAGAIN);
    /* Each that ends lets another one begin. */
    for (int i = 0; i < STREAMS - 2; i++) {
        send_upto(&owners[i], UINT64_MAX);
        cr_assert_eq(finish(&owners[i], SUBMIT_STREAM_COMMIT)->error, 0);
        cr_assert_eq(state(&owners[i])->next_seq, (uint64_t)ENTRIES);
    }
    cr_assert_eq(stage.store.streams_count, 0);
}

/* In a topic without entries the first chunk is begun, written and evicted, and nobody's to see. */
Test(stream_others, what_is_open_cannot_be_fetched)
{
    struct owner *const owner = &owners[0];
    struct stage_lane *const reader = owners[1].lane;
    open_stream(owner);
    send_upto(owner, UINT64_MAX);
    cr_assert_not_null(state(owner)->stream);
    const struct chunk *first = topic_chunk(state(owner), 0);
    cr_assert(first->started && first->state == CHUNK_COLD, "the arena is too large for this test");
    const uint64_t by_chunk = stage_ask(reader, SUBMIT_FETCH, owner->topic, 0, SUBMIT_BY_CHUNK);
    const uint64_t by_seq = stage_ask(reader, SUBMIT_FETCH, owner->topic, 0, SUBMIT_BY_SEQ);
    cr_assert_eq(stage_answered(reader, by_chunk)->error, -EAGAIN);
    cr_assert_eq(stage_answered(reader, by_seq)->error, -EAGAIN);
    cr_assert_eq(finish(owner, SUBMIT_STREAM_ABORT)->error, -ECANCELED);
    const uint64_t ask = stage_append(owner->lane, owner->topic, 10, 1, 0);
    cr_assert_eq(stage_answered(owner->lane, ask)->seq, 0);
}
