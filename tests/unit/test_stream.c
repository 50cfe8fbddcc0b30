/*
 * Streams over a whole store on a memory disk: what is placed over many turns is seen at once or
 * never, byte for byte, in arenas and lanes far smaller than itself, wherever its body is cut; after
 * an abort, a time-out, the owner's end, a full disk, a failed one or a lost topic nothing of it is
 * there, its slots are free again, and what is appended next survives a power loss, after which the
 * scan meets what the stream left on the disk. Others wait in their lanes or are refused.
 *
 * TEST_STREAM_SECONDS says how long the random runs go on (3 each).
 *
 * Seen to fail with: a rollback that records no verdict, or takes no new salt (in some seconds); chunks
 * of an open stream called clean before they are written; a stream's sync numbers believed by recovery;
 * the tail's chunk called written as far as the stream had it; lanes that are not told of a stream's
 * end; no bound on what DATA brings; a rollback that does not wait until it is durable, or leaves a
 * chunk begun that holds nothing.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/stream.h"
#include "broker/stream_undo.h"
#include "shm/cleanup.h"
#include "tests/support/deadline.h"
#include "tests/unit/store_reader.h"

enum { SMALL_LANE = 64 * 1024, ENTRIES_MAX = 20000 };

/* What a stream is to hold, laid out as its body. */
struct load {
    struct stream_open_shm open;
    unsigned char *body;
    uint32_t sizes[ENTRIES_MAX];
};

/* A stream on its way. */
struct sender {
    struct stage_lane *lane;
    struct stage_topic topic;
    const struct load *load;
    uint64_t sent;
    uint64_t ask; /* of its OPEN */
};

/* What was appended, by topic and seq. */
struct known {
    uint32_t size;
    uint64_t stamp;
};

static struct stage stage;
static struct stage_lane *lane;
static struct stage_lane *other;
static struct stage_topic topic;
static struct load load;
static struct known known[ENTRIES_MAX];
static uint64_t known_count;
static uint64_t seed;

static void begin(void)
{
    seed = 11;
    stage_init(&stage, seed);
    stage.config.arena_bytes = 16 * STAGE_CHUNK;
    stage_open(&stage);
    lane = stage_lane_open_sized(&stage, SMALL_LANE);
    other = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
    known_count = 0;
}

static void end(void)
{
    stage_deinit(&stage);
    free(load.body);
    load.body = NULL;
}

TestSuite(stream, .init = begin, .fini = end, .timeout = 600);

static struct topic *state(void)
{
    return stage_topic_of(&stage, topic);
}

static uint64_t below(uint64_t bound)
{
    return stage_random(&stage, bound);
}

/* count entries of these sizes (or, NULL, of random ones below `most`) with stamps from `stamp` on. */
static void load_make(struct load *made, const uint32_t *sizes, uint32_t count, uint64_t most,
                      uint64_t stamp)
{
    cr_assert_leq(count, (uint32_t)ENTRIES_MAX);
    made->open = (struct stream_open_shm){.entries = count};
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t size = sizes != NULL ? sizes[i] : (uint32_t)below(most);
        made->sizes[i] = size;
        made->open.bytes += size;
        made->open.body_bytes += batch_item_bytes(size);
        made->open.entry_bytes_max =
            size > made->open.entry_bytes_max ? size : made->open.entry_bytes_max;
    }
    free(made->body);
    made->body = calloc(1, made->open.body_bytes + 1);
    unsigned char *at = made->body;
    for (uint32_t i = 0; i < count; i++) {
        const struct batch_item_shm item = {.bytes = made->sizes[i]};
        memcpy(at, &item, sizeof item);
        stage_fill(at + sizeof item, made->sizes[i], stamp + i);
        at += batch_item_bytes(made->sizes[i]);
    }
}

/* They are what the topic holds from `seq` on. */
static void know(const struct load *made, uint64_t seq, uint64_t stamp)
{
    cr_assert_eq(seq, known_count, "it begins with seq %zu", (size_t)seq);
    for (uint64_t i = 0; i < made->open.entries; i++) {
        cr_assert_lt(known_count, (uint64_t)ENTRIES_MAX);
        known[known_count++] = (struct known){.size = made->sizes[i], .stamp = stamp + i};
    }
}

static void append(uint32_t size)
{
    const uint64_t stamp = 1000000 + known_count;
    const uint64_t ask = stage_append(other, topic, size, stamp, 0);
    const struct stage_answer *answer = stage_answered(other, ask);
    cr_assert_eq(answer->error, 0);
    cr_assert_eq(answer->seq, known_count);
    known[known_count++] = (struct known){.size = size, .stamp = stamp};
}

static void compare(void *context, const struct stage_entry *entry)
{
    (void)context;
    cr_assert_lt(entry->seq, known_count);
    const struct known *expected = &known[entry->seq];
    cr_assert_eq(entry->size, expected->size, "seed %zu: %zu", (size_t)seed, (size_t)entry->seq);
    cleanup_free unsigned char *bytes = malloc(entry->size + 1);
    stage_fill(bytes, entry->size, expected->stamp);
    cr_assert(memcmp(bytes, entry->bytes, entry->size) == 0, "seed %zu: %zu differs", (size_t)seed,
              (size_t)entry->seq);
}

static void verify(void)
{
    cr_assert_eq(state()->next_seq, known_count, "seed %zu: %zu entries, not %zu", (size_t)seed,
                 (size_t)state()->next_seq, (size_t)known_count);
    stage_read(&stage, state(), compare, NULL);
}

static void lanes_reopen(void)
{
    lane = stage_lane_open_sized(&stage, SMALL_LANE);
    other = stage_lane_open(&stage);
    topic = stage_topic_open(lane, "t");
}

static void reopen(void)
{
    stage_close(&stage);
    stage_open(&stage);
    lanes_reopen();
}

static struct sender send_open(struct stage_lane *to, unsigned flags, uint64_t arg)
{
    const struct stage_request request = {.kind = SUBMIT_STREAM_OPEN,
                                          .flags = (uint16_t)flags,
                                          .topic = topic,
                                          .arg = arg,
                                          .body = &load.open,
                                          .bytes = sizeof load.open};
    return (struct sender){
        .lane = to, .topic = topic, .load = &load, .ask = stage_submit(to, &request)};
}

static uint64_t send_kind(const struct sender *sender, uint16_t kind)
{
    return stage_ask(sender->lane, kind, sender->topic, 0, 0);
}

/* Sends the next bytes, at most `most`, as far as there is room; false: all is sent. */
static bool send_data(struct sender *sender, uint64_t most)
{
    const uint64_t left = sender->load->open.body_bytes - sender->sent;
    uint64_t bytes = left < most ? left : most;
    bytes = bytes < UNIT_BYTES_MAX ? bytes : UNIT_BYTES_MAX;
    if (left == 0) {
        return false;
    }
    while (bytes > 1 && !stage_lane_has_room(sender->lane, bytes)) {
        bytes /= 2;
    }
    if (stage_lane_has_room(sender->lane, bytes)) {
        const struct stage_request request = {.kind = SUBMIT_STREAM_DATA,
                                              .topic = sender->topic,
                                              .body = sender->load->body + sender->sent,
                                              .bytes = (uint32_t)bytes};
        (void)stage_submit(sender->lane, &request);
        sender->sent += bytes;
    }
    return true;
}

static void passes(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        (void)stage_pass(&stage);
    }
}

/* Sends until so many bytes of the body have gone. */
static void send_upto(struct sender *sender, uint64_t bytes, uint64_t most)
{
    while (sender->sent < bytes && send_data(sender, 1 + below(most))) {
        passes(1);
    }
}

static const struct stage_answer *send_all(struct sender *sender, uint64_t most)
{
    send_upto(sender, UINT64_MAX, most);
    while (!stage_lane_has_room(sender->lane, 0)) {
        passes(1);
    }
    (void)send_kind(sender, SUBMIT_STREAM_COMMIT);
    return stage_answered(sender->lane, sender->ask);
}

/* One commit: nothing is there before, everything after, also after restarts. */
static void commit(uint32_t count, uint64_t most, uint64_t cut)
{
    const uint64_t stamp = below(1 << 30);
    load_make(&load, NULL, count, most, stamp);
    const uint64_t tail = state()->tail_position;
    struct sender sender = send_open(lane, 0, 0);
    send_upto(&sender, UINT64_MAX, cut);
    passes(3);
    cr_assert_eq(state()->tail_position, tail);
    cr_assert_eq(state()->next_seq, known_count);
    const struct stage_answer *answer = send_all(&sender, cut);
    cr_assert_eq(answer->error, 0, "%d", answer->error);
    know(&load, answer->seq, stamp);
    verify();
    cr_assert_null(state()->stream);
    cr_assert_eq(stage_holds(&stage), 0);
}

Test(stream, committed)
{
    append(100);
    commit(1, 4 << 20, UNIT_BYTES_MAX);
    commit(300, 40000, UNIT_BYTES_MAX);
    append(5000);
    commit(5000, 3, 700);
    commit(4000, 900, 13);
    commit(1, 1, 100);
    append(0);
    reopen();
    verify();
    commit(40, 200000, UNIT_BYTES_MAX);
    append(70000);
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    lanes_reopen();
    verify();
}

/* Bodies that are cut at every byte of their first items. */
Test(stream, cut_anywhere)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 0, 31, 16, 5000};
    const uint32_t count = sizeof sizes / sizeof sizes[0];
    load_make(&load, sizes, count, 0, 5);
    for (uint64_t cut = 1; cut < 120; cut++) {
        struct sender sender = send_open(lane, 0, 0);
        const struct stage_request first = {
            .kind = SUBMIT_STREAM_DATA, .topic = topic, .body = load.body, .bytes = (uint32_t)cut};
        (void)stage_submit(lane, &first);
        sender.sent = cut;
        const struct stage_answer *answer = send_all(&sender, 1 << 20);
        cr_assert_eq(answer->error, 0);
        know(&load, answer->seq, 5);
    }
    verify();
}

/* Whichever way it ends: nothing of it is there, and what comes next holds. */
enum ending { END_ABORT, END_TIMEOUT, END_LANE, END_POWER, ENDINGS };

static void ended_by(enum ending ending, uint64_t upto)
{
    const uint64_t tail = state()->tail_position;
    const uint64_t bytes = upto < load.open.body_bytes ? upto : load.open.body_bytes;
    struct sender sender = send_open(lane, 0, 0);
    send_upto(&sender, bytes, UNIT_BYTES_MAX);
    passes((unsigned)below(40));
    switch (ending) {
    case END_ABORT:
        (void)send_kind(&sender, SUBMIT_STREAM_ABORT);
        cr_assert_eq(stage_answered(lane, sender.ask)->error, -ECANCELED);
        break;
    case END_TIMEOUT:
        passes(40);
        cr_assert(!stage_answer(lane, sender.ask)->given);
        stage_clock(&stage, stage.config.stream_timeout_ns);
        cr_assert_eq(stage_answered(lane, sender.ask)->error, -ETIMEDOUT);
        (void)send_data(&sender, 1000);
        (void)send_kind(&sender, SUBMIT_STREAM_COMMIT);
        stage_settle(&stage);
        break;
    case END_LANE:
        stage_lane_close(lane);
        lane = stage_lane_open_sized(&stage, SMALL_LANE);
        topic = stage_topic_open(lane, "t");
        stage_settle(&stage);
        break;
    case END_POWER:
    case ENDINGS:
        stage_power_off(&stage, LOSE_RANDOM);
        stage_open(&stage);
        lanes_reopen();
        break;
    }
    cr_assert(!lane->hostile, "%s", lane->client.hostile);
    if (state() != NULL && state()->state == TOPIC_PRESENT) {
        cr_assert_null(state()->stream);
        cr_assert_eq(state()->tail_position, tail);
    }
    verify();
}

/* After the end: what the stream left on the disk is met by a scan, between and behind new frames. */
static void goes_on(void)
{
    append((uint32_t)below(3000));
    if (below(2) == 0) {
        stage_power_off(&stage, LOSE_RANDOM);
        stage_open(&stage);
        lanes_reopen();
        verify();
    }
    append((uint32_t)below(70000));
    stage_power_off(&stage, LOSE_UNSYNCED);
    stage_open(&stage);
    lanes_reopen();
    verify();
}

static void every_end(enum ending ending)
{
    append(100);
    for (uint64_t upto = 0; upto < 3 << 20; upto += 1 + below(150000)) {
        load_make(&load, NULL, 60, 100000, upto);
        ended_by(ending, upto);
        goes_on();
    }
}

Test(stream, aborted)
{
    every_end(END_ABORT);
}

Test(stream, timed_out)
{
    every_end(END_TIMEOUT);
}

Test(stream, owner_gone)
{
    every_end(END_LANE);
}

Test(stream, power_lost)
{
    every_end(END_POWER);
}

/* The first thing that ever happens to a topic. */
Test(stream, aborted_in_an_empty_topic)
{
    load_make(&load, NULL, 50, 100000, 3);
    for (int i = 0; i < 4; i++) {
        ended_by((enum ending)i, i % 2 == 0 ? 500 : 2 << 20);
    }
    goes_on();
}

/* What was placed behind the tail, but never written, counts for nothing: the chunk may be evicted, and
 * begins with the next unit. */
Test(stream, aborted_before_anything_of_it_was_written)
{
    load_make(&load, NULL, 10, 300, 3);
    ended_by(END_ABORT, 1000);
    const struct chunk *chunk = topic_chunk(state(), 0);
    cr_assert_not_null(chunk);
    cr_assert_eq(state()->tail_position, chunk_first_frame(0, STAGE_CHUNK));
    cr_assert(!chunk->started);
    cr_assert(list_linked(&chunk->clean), "nothing of it is to be written: it may go");
    stage_clock(&stage, UINT64_C(1000000000));
    const uint64_t now_ns = stage.store.time_ns;
    append(10);
    cr_assert_geq(chunk->base_time_ns, now_ns);
}

/* What was written of it may be found by a scan until the verdict is durable: nobody appends before. */
Test(stream, what_was_written_is_void_for_good_before_the_topic_goes_on)
{
    append(100);
    load_make(&load, NULL, 60, 20000, 3);
    struct sender sender = send_open(lane, 0, 0);
    send_upto(&sender, UINT64_MAX, UNIT_BYTES_MAX);
    passes(5);
    cr_assert(state()->stream->written);
    (void)send_kind(&sender, SUBMIT_STREAM_ABORT);
    const uint64_t behind = stage_append(other, topic, 10, 7, 0);
    uint64_t verdict = 0;
    while (state()->stream != NULL) {
        verdict = state()->stream->lane == NULL ? state()->stream->sync : 0;
        passes(1);
        cr_assert(state()->stream == NULL || !stage_answer(other, behind)->given);
    }
    cr_assert_neq(verdict, 0);
    cr_assert_geq(stage.store.flush.durable_sync, verdict);
    cr_assert_eq(stage_answered(other, behind)->seq, known_count);
    known[known_count++] = (struct known){.size = 10, .stamp = 7};
    verify();
}

/* What a snapshot will say of the topic, which replaces the verdict: frames of the stream are none. */
Test(stream, its_salt_is_too_low_from_then_on)
{
    append(100);
    const uint64_t tail = state()->tail_position;
    const uint32_t salt = stage.store.numbers.salt;
    load_make(&load, NULL, 60, 20000, 3);
    ended_by(END_ABORT, UINT64_MAX);
    const struct salt_floor floor = state()->floor;
    cr_assert_eq(floor.position, tail);
    cr_assert_gt(floor.salt, salt);
}

/* What a rolled-back stream had taken is free again: many of them need no more than one. */
Test(stream, slots_come_back)
{
    append(10);
    load_make(&load, NULL, 100, 90000, 3);
    ended_by(END_ABORT, UINT64_MAX);
    const uint64_t segments = stage.store.segments.count;
    for (int i = 0; i < 30; i++) {
        ended_by((enum ending)(i % 3), UINT64_MAX);
    }
    append(10);
    cr_assert_eq(state()->chunk_count, 1);
    cr_assert_leq(stage.store.segments.count, segments + 1); /* the system topic grows */
}

/* Slow is not dead: as long as something comes, or cannot be taken, there is no time-out. */
Test(stream, progress_counts)
{
    load_make(&load, NULL, 20, 3000, 3);
    struct sender sender = send_open(lane, 0, 0);
    while (send_data(&sender, 997)) {
        passes(1);
        stage_clock(&stage, stage.config.stream_timeout_ns - 100000);
        passes(2);
    }
    const uint64_t next = stream_next_ns(&stage.store);
    cr_assert(next > stage.now_ns && next <= stage.now_ns + 100000, "a sleeper would miss it");
    cr_assert_eq(send_all(&sender, 997)->error, 0);
}

/* What waits for us does not run out of time. */
Test(stream, a_stream_that_the_arena_keeps_waiting_is_not_timed_out)
{
    load_make(&load, NULL, 20, 3000, 3);
    struct sender sender = send_open(lane, 0, 0);
    send_upto(&sender, 1000, 500);
    passes(3);
    state()->stream->stalled = true; /* as its last turn would have left it */
    stage_clock(&stage, 2 * stage.config.stream_timeout_ns);
    passes(3);
    cr_assert_not_null(state()->stream);
    cr_assert(!stage_answer(lane, sender.ask)->given);
    state()->stream->stalled = false;
    stage_clock(&stage, 2 * stage.config.stream_timeout_ns);
    cr_assert_eq(stage_answered(lane, sender.ask)->error, -ETIMEDOUT);
}

Test(stream, others_wait)
{
    append(10);
    load_make(&load, NULL, 40, 30000, 3);
    struct sender sender = send_open(lane, 0, 0);
    send_upto(&sender, 100000, 5000);
    const uint64_t first = stage_append(other, topic, 10, 7, 0);
    struct stage_lane *impatient = stage_lane_open_sized(&stage, SMALL_LANE);
    const uint64_t refused = stage_append(impatient, topic, 10, 8, SUBMIT_NO_WAIT);
    const uint64_t refused_too = stage_append(impatient, topic, 10, 8, SUBMIT_NO_WAIT);
    struct stage_lane *third = stage_lane_open_sized(&stage, 1 << 20);
    const uint64_t batch = stage_batch(third, topic, (const uint32_t[]){5, 6}, 2, 9, 0);
    const struct stage_topic elsewhere = stage_topic_open(lane, "elsewhere");
    const uint64_t behind = stage_append(third, elsewhere, 10, 1, 0);
    struct stage_lane *fourth = stage_lane_open(&stage);
    const uint64_t free = stage_append(fourth, elsewhere, 10, 2, 0);
    cr_assert_eq(stage_answered(impatient, refused)->error, -EAGAIN);
    cr_assert_eq(stage_answered(impatient, refused_too)->error, -EAGAIN);
    cr_assert_eq(stage_answered(fourth, free)->error, 0);
    cr_assert(!stage_answer(other, first)->given);
    cr_assert(!stage_answer(third, batch)->given);
    cr_assert(!stage_answer(third, behind)->given);
    cr_assert(other->waiting && third->waiting && !impatient->waiting);
    const struct stage_answer *answer = send_all(&sender, 5000);
    cr_assert_eq(answer->error, 0);
    know(&load, answer->seq, 3);
    cr_assert_eq(stage_answered(other, first)->seq, known_count);
    cr_assert_eq(stage_answered(third, batch)->seq, known_count + 1);
    cr_assert_eq(stage_answered(third, behind)->error, 0);
    const uint64_t still = stage_append(impatient, topic, 10, 8, SUBMIT_NO_WAIT);
    cr_assert_eq(stage_answered(impatient, still)->error, -EAGAIN, "before RESUME");
    const uint64_t patient = stage_append(impatient, topic, 10, 10, 0);
    const uint64_t behind_it = stage_append(impatient, topic, 10, 11, SUBMIT_NO_WAIT);
    cr_assert_eq(stage_answered(impatient, patient)->error, 0);
    cr_assert_eq(stage_answered(impatient, behind_it)->error, -EAGAIN, "nor in another's unit");
    (void)stage_ask(impatient, SUBMIT_RESUME, topic, 0, 0);
    const uint64_t passes_now = stage_append(impatient, topic, 10, 8, SUBMIT_NO_WAIT);
    cr_assert_eq(stage_answered(impatient, passes_now)->error, 0);
}

/* A second stream waits for the first, or is refused; then it has its turn. */
Test(stream, one_at_a_time)
{
    load_make(&load, NULL, 30, 30000, 3);
    struct sender first = send_open(lane, 0, 0);
    send_upto(&first, 100000, 5000);
    struct sender second = send_open(other, 0, 0);
    struct stage_lane *third = stage_lane_open_sized(&stage, SMALL_LANE);
    const struct sender refused = send_open(third, SUBMIT_NO_WAIT, 0);
    (void)send_kind(&refused, SUBMIT_STREAM_ABORT);
    (void)send_data(&second, 20000);
    passes(5);
    cr_assert_eq(stage_answered(third, refused.ask)->error, -EAGAIN);
    const struct stage_answer *answer = send_all(&first, 5000);
    cr_assert_eq(answer->error, 0);
    know(&load, answer->seq, 3);
    answer = send_all(&second, 5000);
    cr_assert_eq(answer->error, 0);
    know(&load, answer->seq, 3);
    verify();
}

Test(stream, expected_seq)
{
    append(10);
    load_make(&load, NULL, 3, 3000, 3);
    struct sender sender = send_open(lane, SUBMIT_AT, 2);
    (void)send_kind(&sender, SUBMIT_STREAM_ABORT);
    cr_assert_eq(stage_answered(lane, sender.ask)->error, -EILSEQ);
    sender = send_open(lane, SUBMIT_AT, 1);
    cr_assert_eq(send_all(&sender, 5000)->seq, 1);
}

/* Limits are kept before anything is written; what contradicts itself is refused or hostile. */
Test(stream, announced)
{
    static const struct {
        struct stream_open_shm open;
        int error;
    } cases[] = {
        {{.entries = 0, .bytes = 0, .body_bytes = 0}, -EINVAL},
        {{.entries = 1, .bytes = 8, .body_bytes = 15, .entry_bytes_max = 8}, -EINVAL},
        {{.entries = 1, .bytes = 8, .body_bytes = 24, .entry_bytes_max = 8}, -EINVAL},
        {{.entries = BATCH_ENTRIES_MAX + 1, .body_bytes = 8 * (BATCH_ENTRIES_MAX + 1)}, -EMSGSIZE},
        {{.entries = UINT64_MAX, .body_bytes = UINT64_MAX}, -EMSGSIZE},
        {{.entries = 2, .bytes = BATCH_BYTES_MAX + 8, .body_bytes = BATCH_BYTES_MAX + 24},
         -EMSGSIZE},
        {{.entries = 1, .bytes = UINT64_MAX - 7, .body_bytes = 0}, -EMSGSIZE},
        {{.entries = 1,
          .bytes = ENTRY_BYTES_MAX + 8,
          .body_bytes = ENTRY_BYTES_MAX + 16,
          .entry_bytes_max = ENTRY_BYTES_MAX + 8},
         -EMSGSIZE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        load.open = cases[i].open;
        const struct sender sender = send_open(lane, 0, 0);
        (void)send_kind(&sender, SUBMIT_STREAM_COMMIT);
        cr_assert_eq(stage_answered(lane, sender.ask)->error, cases[i].error, "case %zu", i);
        cr_assert_eq(state()->state, TOPIC_ABSENT);
    }
    append(10);
    verify();
}

/* Bodies that are not what was announced. */
Test(stream, contradicted)
{
    static const uint32_t sizes[] = {100, 200, 300};
    static const struct {
        uint64_t item; /* its size is changed ... */
        uint64_t size; /* ... to this */
    } cases[] = {{0, 104}, {0, UINT64_MAX}, {0, 96}, {1, 301}, {2, 304}, {2, 0}, {0, 301}};
    append(10);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (uint64_t cut = 1; cut < 700; cut += 61) {
            load_make(&load, sizes, 3, 0, 3);
            uint64_t offset = 0;
            for (uint64_t item = 0; item < cases[i].item; item++) {
                offset += batch_item_bytes(sizes[item]);
            }
            memcpy(load.body + offset, &cases[i].size, 8);
            struct sender sender = send_open(lane, 0, 0);
            cr_assert_eq(send_all(&sender, cut)->error, -EINVAL, "case %zu", i);
            verify();
        }
    }
    cr_assert(!lane->hostile);
}

static void hostile(const struct stage_request *request, bool open)
{
    struct stage_lane *bad = stage_lane_open_sized(&stage, 1 << 20);
    load_make(&load, NULL, 3, 3000, 3);
    if (open) {
        (void)send_open(bad, 0, 0);
    }
    (void)stage_submit(bad, request);
    stage_settle(&stage);
    cr_assert(bad->hostile, "kind %u was taken", request->kind);
    stage_lane_close(bad);
    stage_settle(&stage);
    append(10);
    verify();
}

Test(stream, hostile_clients)
{
    static unsigned char bytes[UNIT_BYTES_MAX + 16];
    const struct stage_topic wrong = stage_topic_open(lane, "wrong");
    const struct stage_request requests[] = {
        {.kind = SUBMIT_STREAM_DATA, .topic = topic, .body = bytes, .bytes = 20000},
        {.kind = SUBMIT_STREAM_DATA, .topic = topic, .body = bytes, .bytes = sizeof bytes},
        {.kind = SUBMIT_STREAM_DATA, .topic = wrong, .body = bytes, .bytes = 8},
        {.kind = SUBMIT_STREAM_COMMIT, .topic = topic},
        {.kind = SUBMIT_STREAM_COMMIT, .topic = wrong},
        {.kind = SUBMIT_STREAM_OPEN, .topic = topic, .body = &load.open, .bytes = 32},
        {.kind = SUBMIT_APPEND, .topic = topic, .body = bytes, .bytes = 8},
        {.kind = SUBMIT_APPEND, .topic = wrong, .body = bytes, .bytes = 8},
        {.kind = SUBMIT_BATCH, .topic = topic, .body = bytes, .bytes = 8, .arg = 1},
    };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        hostile(&requests[i], true);
    }
    hostile(&requests[0], false);
    hostile(&requests[3], false);
    hostile(&(struct stage_request){.kind = SUBMIT_STREAM_ABORT, .topic = topic}, false);
    hostile(&(struct stage_request){.kind = SUBMIT_STREAM_OPEN, .topic = topic, .bytes = 0}, false);
}

/* One submission that the arena could never hold at once. */
Test(stream, larger_than_the_arena)
{
    struct stage_lane *wide = stage_lane_open_sized(&stage, 16 << 20);
    append(10);
    const uint32_t large = 7 << 20;
    uint64_t ask = stage_append(wide, topic, large, 77, 0);
    passes(1);
    const uint64_t behind = stage_append(other, topic, 10, 78, 0);
    const struct stage_answer *answer = stage_answered(wide, ask);
    cr_assert_eq(answer->error, 0);
    cr_assert_eq(answer->seq, known_count);
    known[known_count++] = (struct known){.size = large, .stamp = 77};
    cr_assert_eq(stage_answered(other, behind)->seq, known_count);
    known[known_count++] = (struct known){.size = 10, .stamp = 78};
    static uint32_t sizes[ENTRIES_MAX / 2];
    for (size_t i = 0; i < ENTRIES_MAX / 2; i++) {
        sizes[i] = (uint32_t)below(1300);
    }
    load_make(&load, sizes, ENTRIES_MAX / 2, 0, 5);
    ask = stage_batch(wide, topic, sizes, ENTRIES_MAX / 2, 5, 0);
    answer = stage_answered(wide, ask);
    cr_assert_eq(answer->error, 0);
    know(&load, answer->seq, 5);
    verify();
    reopen();
    verify();
}

Test(stream, larger_than_the_arena_and_its_lane_ends)
{
    struct stage_lane *wide = stage_lane_open_sized(&stage, 16 << 20);
    append(10);
    (void)stage_append(wide, topic, 7 << 20, 77, 0);
    passes(30);
    cr_assert_not_null(state()->stream);
    stage_lane_close(wide);
    stage_settle(&stage);
    verify();
    goes_on();
}

Test(stream, its_topic_is_deleted)
{
    append(10);
    load_make(&load, NULL, 60, 100000, 3);
    struct sender sender = send_open(lane, 0, 0);
    send_upto(&sender, 2 << 20, UNIT_BYTES_MAX);
    const uint64_t deleted = stage_ask(other, SUBMIT_TOPIC_DELETE, topic, 0, 0);
    cr_assert_eq(stage_answered(other, deleted)->error, 0);
    cr_assert_eq(stage_answered(lane, sender.ask)->error, -ESTALE);
    (void)send_kind(&sender, SUBMIT_STREAM_ABORT);
    stage_settle(&stage);
    cr_assert(list_empty(&stage.store.streams));
    cr_assert_eq(stage_holds(&stage), 0);
    topic = stage_topic_open(lane, "u");
    known_count = 0;
    commit(40, 100000, UNIT_BYTES_MAX);
}

Test(stream, disk_full)
{
    append(10);
    stage.disk->capacity = 24 * STAGE_CHUNK * 16;
    load_make(&load, NULL, 600, 100000, 3);
    struct sender sender = send_open(lane, 0, 0);
    send_upto(&sender, UINT64_MAX, UNIT_BYTES_MAX);
    (void)send_kind(&sender, SUBMIT_STREAM_COMMIT);
    cr_assert_eq(stage_answered(lane, sender.ask)->error, -ENOSPC);
    cr_assert_eq(stage.store.fenced, 0);
    verify();
    goes_on();
}

Test(stream, disk_fails)
{
    append(10);
    load_make(&load, NULL, 60, 100000, 3);
    struct sender sender = send_open(lane, 0, 0);
    send_upto(&sender, 1 << 20, UNIT_BYTES_MAX);
    const uint64_t waits = stage_append(other, topic, 10, 1, 0);
    memory_disk_fail(stage.disk, 0, -EIO, true);
    send_upto(&sender, UINT64_MAX, UNIT_BYTES_MAX);
    (void)send_kind(&sender, SUBMIT_STREAM_COMMIT);
    cr_assert_eq(stage_answered(lane, sender.ask)->error, -EIO);
    cr_assert_eq(stage_answered(other, waits)->error, -EIO);
    cr_assert_eq(state()->next_seq, 1);
}

/* A stream that is open through many syncs of others, with numbers that are old when it ends, and a
 * power loss that takes any of what no sync covered. */
static void through_syncs(void)
{
    const struct stage_topic elsewhere = stage_topic_open(other, "elsewhere");
    const uint64_t stamp = below(1 << 30);
    load_make(&load, NULL, 80, 60000, stamp);
    struct sender sender = send_open(lane, 0, 0);
    const uint64_t upto = below(3) == 0 ? UINT64_MAX : below(load.open.body_bytes);
    while (sender.sent < upto && send_data(&sender, 1 + below(UNIT_BYTES_MAX))) {
        if (below(3) == 0) {
            (void)stage_append(other, elsewhere, 100, 1, SUBMIT_QUIET);
        }
        passes((unsigned)below(6));
    }
    bool committed = false;
    if (sender.sent == load.open.body_bytes) {
        while (!stage_lane_has_room(lane, 0)) {
            passes(1);
        }
        (void)send_kind(&sender, SUBMIT_STREAM_COMMIT);
        passes((unsigned)below(60));
        committed = stage_answer(lane, sender.ask)->given;
    }
    const bool durable = state() != NULL && state()->durable_seq > known_count;
    stage_power_off(&stage, LOSE_RANDOM);
    stage_open(&stage);
    lanes_reopen();
    if (state()->next_seq > known_count) {
        cr_assert(committed || sender.sent == load.open.body_bytes);
        know(&load, known_count, stamp);
    }
    cr_assert(!durable || state()->next_seq == known_count);
    verify();
    append((uint32_t)below(50000));
}

static uint64_t seconds(void)
{
    const char *text = getenv("TEST_STREAM_SECONDS");
    return text == NULL ? 3 : strtoull(text, NULL, 10);
}

static void stage_renew(void)
{
    static const enum fsync_schedule schedules[] = {FSYNC_EACH, FSYNC_INTERVAL, FSYNC_NONE};
    stage_deinit(&stage);
    stage_init(&stage, ++seed);
    stage.config.arena_bytes = (16 + below(3) * 8) * STAGE_CHUNK;
    stage.config.fsync = schedules[below(3)];
    stage.config.fsync_interval_ns = 20000;
    stage_open(&stage);
    io_memory_shuffle(stage.io);
    lanes_reopen();
    known_count = 0;
}

Test(stream, torn_at_any_moment, .timeout = 0)
{
    const uint64_t deadline = now_ms() + seconds() * 1000;
    do {
        stage_renew();
        stage.config.fsync = FSYNC_EACH; /* so that what append() was told is there afterwards */
        for (int i = 0; i < 4; i++) {
            through_syncs();
        }
    } while (now_ms() < deadline);
}

/* A random mix on several lanes and topics against what their answers say. */

enum { MIX_LANES = 4, MIX_TOPICS = 2, MIX_ASKS = 4000, MIX_SEQS = 40000 };

struct mix_ask {
    struct stage_lane *lane;
    int topic;
    uint64_t user_data;
    uint64_t stamp;
    uint32_t count;
    uint32_t sizes[40];
    bool aborted;
};

struct mix_lane {
    struct stage_lane *lane;
    struct load load;
    struct sender sender;
    struct mix_ask *stream; /* on its way, or NULL */
};

static struct mix_lane mix_lanes[MIX_LANES];
static struct stage_topic mix_topics[MIX_TOPICS];
static struct mix_ask mix_asks[MIX_ASKS];
static struct known mix_known[MIX_TOPICS][MIX_SEQS];
static unsigned mix_count;

static struct mix_ask *mix_ask(struct mix_lane *from, int index)
{
    cr_assert_lt(mix_count, (unsigned)MIX_ASKS);
    struct mix_ask *ask = &mix_asks[mix_count++];
    *ask =
        (struct mix_ask){.lane = from->lane, .topic = index, .stamp = below(1 << 30), .count = 1};
    return ask;
}

static void mix_append(struct mix_lane *from, int index)
{
    const uint32_t size = (uint32_t)below(below(10) == 0 ? 20000 : 600);
    if (!stage_lane_has_room(from->lane, size)) {
        return;
    }
    struct mix_ask *ask = mix_ask(from, index);
    ask->sizes[0] = size;
    ask->user_data = stage_append(from->lane, mix_topics[index], size, ask->stamp, 0);
}

static void mix_open(struct mix_lane *from, int index)
{
    if (!stage_lane_has_room(from->lane, 64)) {
        return;
    }
    struct mix_ask *ask = mix_ask(from, index);
    ask->count = 1 + (uint32_t)below(40);
    load_make(&from->load, NULL, ask->count, below(3) == 0 ? 60000 : 900, ask->stamp);
    memcpy(ask->sizes, from->load.sizes, ask->count * sizeof ask->sizes[0]);
    const struct stage_request request = {.kind = SUBMIT_STREAM_OPEN,
                                          .topic = mix_topics[index],
                                          .body = &from->load.open,
                                          .bytes = sizeof from->load.open};
    from->sender =
        (struct sender){.lane = from->lane, .topic = mix_topics[index], .load = &from->load};
    ask->user_data = stage_submit(from->lane, &request);
    from->stream = ask;
}

static void mix_end(struct mix_lane *from)
{
    if (!stage_lane_has_room(from->lane, 0)) {
        return;
    }
    const bool complete = from->sender.sent == from->load.open.body_bytes;
    from->stream->aborted = !complete;
    (void)send_kind(&from->sender, complete ? SUBMIT_STREAM_COMMIT : SUBMIT_STREAM_ABORT);
    from->stream = NULL;
}

static void mix_step(void)
{
    struct mix_lane *from = &mix_lanes[below(MIX_LANES)];
    const uint64_t kind = below(100);
    if (kind < 30) {
        (void)stage_pass(&stage);
    } else if (from->stream == NULL) {
        if (kind < 75) {
            mix_append(from, (int)below(MIX_TOPICS));
        } else {
            mix_open(from, (int)below(MIX_TOPICS));
        }
    } else if (kind >= 98 || !send_data(&from->sender, 1 + below(30000))) {
        mix_end(from);
    }
}

static void mix_answer(const struct mix_ask *ask, uint64_t *entries)
{
    const struct stage_answer *answer = stage_answer(ask->lane, ask->user_data);
    cr_assert(answer->given, "seed %zu: an answer is missing", (size_t)seed);
    cr_assert_eq(answer->error, ask->aborted ? -ECANCELED : 0, "seed %zu: %d", (size_t)seed,
                 answer->error);
    for (uint32_t i = 0; !ask->aborted && i < ask->count; i++) {
        cr_assert_lt(answer->seq + i, (uint64_t)MIX_SEQS);
        struct known *entry = &mix_known[ask->topic][answer->seq + i];
        cr_assert_eq(entry->stamp, 0, "seed %zu: seq %zu was given twice", (size_t)seed,
                     (size_t)answer->seq + i);
        *entry = (struct known){.size = ask->sizes[i], .stamp = ask->stamp + i};
        entries[ask->topic]++;
    }
}

/* Each lane's asks got rising seqs in each topic. */
static void mix_order(void)
{
    for (int i = 0; i < MIX_LANES; i++) {
        uint64_t next[MIX_TOPICS] = {0};
        for (unsigned a = 0; a < mix_count; a++) {
            const struct mix_ask *ask = &mix_asks[a];
            if (ask->lane == mix_lanes[i].lane && !ask->aborted) {
                const uint64_t seq = stage_answer(ask->lane, ask->user_data)->seq;
                cr_assert_geq(seq, next[ask->topic], "seed %zu: order of a lane", (size_t)seed);
                next[ask->topic] = seq + ask->count;
            }
        }
    }
}

static void mix_run(void)
{
    stage_renew();
    memset(mix_known, 0, sizeof mix_known);
    mix_count = 0;
    for (int i = 0; i < MIX_LANES; i++) {
        mix_lanes[i].lane = stage_lane_open_sized(&stage, SMALL_LANE << below(3));
        mix_lanes[i].stream = NULL;
    }
    for (int i = 0; i < MIX_TOPICS; i++) {
        mix_topics[i] = stage_topic_open(lane, i == 0 ? "t" : "u");
    }
    for (unsigned steps = 200 + (unsigned)below(1500); steps > 0; steps--) {
        mix_step();
    }
    for (bool left = true; left;) { /* one may wait for another */
        left = false;
        for (int i = 0; i < MIX_LANES; i++) {
            if (mix_lanes[i].stream != NULL) {
                mix_end(&mix_lanes[i]);
                left = true;
            }
        }
        passes(1);
    }
    stage_settle(&stage);
    uint64_t entries[MIX_TOPICS] = {0};
    for (unsigned i = 0; i < mix_count; i++) {
        mix_answer(&mix_asks[i], entries);
    }
    mix_order();
    for (int i = 0; i < MIX_TOPICS; i++) {
        topic = mix_topics[i];
        known_count = entries[i];
        memcpy(known, mix_known[i], sizeof known);
        if (entries[i] > 0) {
            verify();
        }
    }
    cr_assert_eq(stage_holds(&stage), 0);
    cr_assert(list_empty(&stage.store.streams));
}

Test(stream, random_mix, .timeout = 0)
{
    const uint64_t deadline = now_ms() + seconds() * 1000;
    do {
        mix_run();
    } while (now_ms() < deadline);
    for (int i = 0; i < MIX_LANES; i++) {
        free(mix_lanes[i].load.body);
        mix_lanes[i].load.body = NULL;
    }
}

/* A stream is given up and another of the same sizes takes its place: what the first left in the
 * tail's chunk lies where the second's frames belong, with their seqs. */
static void same_sizes_again(void)
{
    enum { SIZE = 32, COUNT = 200 }; /* frames that no sector's end cuts */
    uint32_t sizes[COUNT];
    const uint32_t count = 64 + (uint32_t)below(below(4) == 0 ? COUNT - 64 : 8);
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = SIZE;
    }
    load_make(&load, sizes, count, 0, 1);
    struct sender first = send_open(lane, 0, 0);
    send_upto(&first, UINT64_MAX, UNIT_BYTES_MAX);
    passes((unsigned)below(4));
    (void)send_kind(&first, SUBMIT_STREAM_ABORT);
    if (below(2) == 0) {
        stage_settle(&stage);
    }
    const uint64_t stamp = 2 + below(1 << 30);
    load_make(&load, sizes, count, 0, stamp);
    struct sender second = send_open(lane, 0, 0);
    send_upto(&second, UINT64_MAX, UNIT_BYTES_MAX);
    (void)send_kind(&second, SUBMIT_STREAM_COMMIT);
    passes((unsigned)below(8));
    const bool durable = state()->durable_seq > known_count;
    stage_power_off(&stage, durable ? LOSE_UNSYNCED : LOSE_RANDOM);
    stage_open(&stage);
    io_memory_shuffle(stage.io);
    lanes_reopen();
    if (state()->next_seq > known_count) {
        know(&load, known_count, stamp);
    }
    cr_assert(!durable || state()->next_seq == known_count);
    verify();
    append(SIZE);
}

Test(stream, given_up_and_sent_again, .timeout = 0)
{
    const uint64_t deadline = now_ms() + seconds() * 1000;
    do {
        stage_renew();
        stage.config.fsync = FSYNC_EACH;
        for (int i = 0; i < 8; i++) {
            same_sizes_again();
        }
    } while (now_ms() < deadline);
}
