/*
 * What a client can write into its lane: every kind with any header and body, indices that lie, bytes
 * that change while they are read. Nobody but the offender notices: its submissions are answered with
 * errors or its client is expelled, and what others append stays as they gave it.
 *
 * TEST_FUZZ_SECONDS says how long each of the two random tests goes on (3).
 *
 * Seen to fail with: a batch's item sizes read again when they are copied; the tail not bounded;
 * bodies longer than what was published, alone or in a run; unknown flags let through; the sum of an
 * item's offset and size left to wrap; room told only at the end of a turn.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "broker/pending.h"
#include "tests/support/deadline.h"
#include "tests/unit/store_reader.h"

enum { ATTACKERS = 3, ATTACKED = 4 };

static struct stage stage;
static struct stage_lane *victim;
static struct stage_topic topic;
static uint64_t appended;

static void begin(void)
{
    stage_init(&stage, 13);
    stage_open(&stage);
    victim = stage_lane_open(&stage);
    topic = stage_topic_open(victim, "victim");
    appended = 0;
}

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(append, .init = begin, .fini = end, .timeout = 600);

static void compare(void *context, const struct stage_entry *entry)
{
    (void)context;
    unsigned char bytes[2000];
    cr_assert_leq(entry->size, sizeof bytes);
    stage_fill(bytes, entry->size, entry->seq);
    cr_assert(memcmp(bytes, entry->bytes, entry->size) == 0, "entry %zu differs",
              (size_t)entry->seq);
}

/* The victim goes on as if nothing had happened. */
static void victim_appends(void)
{
    const uint32_t size = (uint32_t)stage_random(&stage, 2000);
    const uint64_t ask = stage_append(victim, topic, size, appended, 0);
    for (int i = 0; i < 50 && !stage_answer(victim, ask)->given; i++) {
        (void)stage_pass(&stage);
        stage_reap(victim);
    }
    cr_assert(!victim->hostile, "%s", victim->client.hostile);
    const struct stage_answer *answer = stage_answer(victim, ask);
    cr_assert(answer->given);
    cr_assert_eq(answer->error, 0, "%d", answer->error);
    cr_assert_eq(answer->seq, appended);
    appended++;
}

static void victim_intact(void)
{
    const struct topic *state = stage_topic_of(&stage, topic);
    cr_assert_eq(state->next_seq, appended);
    stage_read(&stage, stage_topic_of(&stage, topic), compare, NULL);
}

static int error_of(const struct stage_request *request)
{
    return stage_answered(victim, stage_submit(victim, request))->error;
}

Test(append, refusals)
{
    const struct stage_topic stale = {.index = topic.index, .incarnation = topic.incarnation + 1};
    const struct stage_topic none = {.index = UINT32_MAX, .incarnation = 1};
    const struct stage_topic system = {.index = SYSTEM_TOPIC_INDEX, .incarnation = 1};
    const uint16_t kinds[] = {SUBMIT_APPEND,       SUBMIT_WAIT_TAIL,  SUBMIT_FETCH,
                              SUBMIT_TOPIC_DELETE, SUBMIT_TOPIC_TRIM, SUBMIT_TOPIC_CLOSE,
                              SUBMIT_TOPIC_SET};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        cr_assert_eq(error_of(&(struct stage_request){.kind = kinds[i], .topic = stale}), -ESTALE);
        cr_assert_eq(error_of(&(struct stage_request){.kind = kinds[i], .topic = none}), -ESTALE);
        cr_assert_eq(error_of(&(struct stage_request){.kind = kinds[i], .topic = system}), -ESTALE);
    }
    cr_assert_eq(error_of(&(struct stage_request){
                     .kind = SUBMIT_APPEND, .flags = SUBMIT_NO_CREATE, .topic = topic}),
                 -ENOENT);
    cr_assert_eq(error_of(&(struct stage_request){
                     .kind = SUBMIT_APPEND, .flags = SUBMIT_AT, .topic = topic, .arg = 1}),
                 -EILSEQ);
    cr_assert_eq(error_of(&(struct stage_request){.kind = SUBMIT_TOPIC_OPEN}), -EINVAL);
    static const char name[300] = "x";
    cr_assert_eq(
        error_of(&(struct stage_request){.kind = SUBMIT_TOPIC_OPEN, .body = name, .bytes = 2}),
        -EINVAL);
    cr_assert_eq(
        error_of(&(struct stage_request){.kind = SUBMIT_TOPIC_OPEN, .body = name, .bytes = 256}),
        -EINVAL);
    victim_appends();
    victim_intact();
}

Test(append, bad_batches)
{
    const uint64_t fits[] = {1, 0};
    const uint64_t wraps[] = {UINT64_MAX, 0};
    const uint64_t nearly[] = {UINT64_MAX - 7, 0};
    const uint64_t long_by_one[] = {9, 0};
    const uint64_t *bodies[] = {wraps, nearly, long_by_one};
    struct stage_request request = {
        .kind = SUBMIT_BATCH, .topic = topic, .arg = 1, .body = fits, .bytes = sizeof fits};
    for (int i = 0; i < 3; i++) {
        request.body = bodies[i];
        cr_assert_eq(error_of(&request), -EINVAL);
    }
    request.body = fits;
    const uint64_t counts[] = {0, 3, UINT64_MAX, UINT64_MAX / 8 + 1};
    for (int i = 0; i < 4; i++) {
        request.arg = counts[i];
        cr_assert_eq(error_of(&request), -EINVAL, "%zu", (size_t)counts[i]);
    }
    /* Sums that wrap to exactly what is there. */
    const uint64_t second_wraps[] = {0, UINT64_MAX};
    request.body = wraps;
    request.arg = 1;
    request.bytes = 8;
    cr_assert_eq(error_of(&request), -EINVAL);
    request.body = second_wraps;
    request.arg = 2;
    request.bytes = 16;
    cr_assert_eq(error_of(&request), -EINVAL);
    cr_assert_eq(stage_topic_of(&stage, topic)->next_seq, 0);
    request.body = fits;
    request.arg = 1;
    cr_assert_eq(error_of(&request), 0);
}

/* A client that waits for room does not wait for the rest of its turn. */
Test(append, room_is_told_within_a_turn)
{
    enum { ENTRIES = 1000, SIZE = 64 };
    const uint64_t bytes = submission_bytes(ENTRIES * batch_item_bytes(SIZE));
    uint32_t sizes[ENTRIES];
    for (int i = 0; i < ENTRIES; i++) {
        sizes[i] = SIZE;
    }
    cr_assert_geq(bytes, victim->map.sq_bytes / 4);
    /* Once in passes, so that there are slots. */
    (void)stage_answered(victim, stage_batch(victim, topic, sizes, ENTRIES, 0, 0));
    const uint64_t head = lane_room(&victim->map);
    const uint64_t done = lane_completions(&victim->map);
    for (int i = 1; i < 3; i++) {
        (void)stage_batch(victim, topic, sizes, ENTRIES, (uint64_t)i * ENTRIES, 0);
    }
    uint64_t tail;
    cr_assert_eq(submit_lane(&stage.store, victim->lane, victim->map.sq_bytes, &tail),
                 SUBMIT_TAKEN);
    cr_assert_eq(victim->lane->head, head + 2 * bytes);
    cr_assert_eq(lane_room(&victim->map), head + bytes);
    cr_assert_eq(lane_completions(&victim->map), done + 1);
    cr_assert_eq(victim->lane->head_published, head, "who sleeps would not be told");
    lane_reap_to(&victim->map, done + 1);
    victim->lane->cq_head_seen -= victim->map.cq_slots; /* the last look was long ago */
    cr_assert_eq(lane_has_slot(victim->lane), 1, "what was told may be reaped");
    stage_settle(&stage);
    cr_assert_eq(lane_room(&victim->map), head + 2 * bytes);
    appended = 3 * ENTRIES;
    victim_intact();
}

Test(append, quiet_failures_are_told_once)
{
    struct stage_request request = {
        .kind = SUBMIT_APPEND, .flags = SUBMIT_QUIET | SUBMIT_AT, .topic = topic, .arg = 7};
    (void)stage_submit(victim, &request);
    request.flags = SUBMIT_QUIET | SUBMIT_NO_CREATE;
    (void)stage_submit(victim, &request);
    const uint64_t wait = stage_ask(victim, SUBMIT_WAIT, topic, 0, SUBMIT_DURABLE);
    cr_assert_eq(stage_answered(victim, wait)->error, -EILSEQ, "the first failure");
    const uint64_t again = stage_ask(victim, SUBMIT_WAIT, topic, 0, 0);
    cr_assert_eq(stage_answered(victim, again)->error, 0);
}

/* A lane of an attacker, written without any rules. */
static void write_raw(struct stage_lane *lane, const struct submission_shm *header,
                      const void *body, uint64_t bytes, uint64_t advance)
{
    unsigned char *at = lane_at(&lane->map, lane->tail);
    memcpy(at, header, sizeof *header);
    memcpy(at + sizeof *header, body, bytes);
    lane->tail += advance;
    lane_publish(&lane->map, lane->tail);
}

static void attack(const struct submission_shm *header, uint64_t advance, const char *what)
{
    struct stage_lane *lane = stage_lane_open(&stage);
    const unsigned char body[64] = {0};
    write_raw(lane, header, body, sizeof body, advance);
    victim_appends();
    cr_assert(lane->hostile, "not noticed: %s", what);
    cr_assert_neq(lane->client.hostile[0], '\0');
    stage_lane_close(lane);
    victim_appends();
}

Test(append, expelled)
{
    attack(&(struct submission_shm){.kind = SUBMIT_NOTHING}, 32, "zeros");
    attack(&(struct submission_shm){.kind = 99}, 32, "an unknown kind");
    attack(&(struct submission_shm){.kind = SUBMIT_WAIT, .bytes = 1}, 32, "too long by one");
    attack(&(struct submission_shm){.kind = SUBMIT_WAIT, .bytes = UINT32_MAX}, 64, "4 GiB");
    attack(&(struct submission_shm){.kind = SUBMIT_WAIT, .flags = 1024}, 32, "unknown flags");
    attack(&(struct submission_shm){.kind = SUBMIT_WAIT}, 16, "half a header");
    attack(&(struct submission_shm){.kind = SUBMIT_WAIT}, 33, "a tail off its alignment");
    attack(&(struct submission_shm){.kind = SUBMIT_WAIT}, SQ_BYTES_DEFAULT + 16, "a tail ahead");
    attack(&(struct submission_shm){.kind = SUBMIT_WAIT}, (uint64_t)-32, "a tail behind");
    attack(&(struct submission_shm){.kind = SUBMIT_CLAIM, .bytes = 15}, 48, "a short CLAIM");
    victim_intact();
}

/* A run of entries ends where what was published ends. */
Test(append, run_ends_at_the_tail)
{
    struct stage_lane *lane = stage_lane_open(&stage);
    const struct stage_topic own = stage_topic_open(lane, "own");
    struct submission_shm header = {.kind = SUBMIT_APPEND,
                                    .flags = SUBMIT_QUIET,
                                    .bytes = 16,
                                    .topic = own.index,
                                    .incarnation = own.incarnation};
    const unsigned char body[16] = {0};
    memcpy(lane_at(&lane->map, lane->tail + 48), &header, sizeof header);
    write_raw(lane, &header, body, sizeof body, 48 + 32);
    victim_appends();
    cr_assert(lane->hostile);
    cr_assert_eq(stage_topic_of(&stage, own)->next_seq, 1);
    stage_lane_close(lane);
}

enum { WRAPPED_BYTES_MAX = 130000, WRAPPED_ROUNDS = 40 };

static void compare_large(void *context, const struct stage_entry *entry)
{
    static unsigned char bytes[WRAPPED_BYTES_MAX];
    uint64_t *seen = context;
    cr_assert_leq(entry->size, sizeof bytes);
    stage_fill(bytes, entry->size, entry->seq);
    cr_assert(memcmp(bytes, entry->bytes, entry->size) == 0, "entry %zu differs",
              (size_t)entry->seq);
    ++*seen;
}

/* Payloads that begin before the end of the ring and end far behind it, where the engine has not
 * mapped it a second time: alone, in a run, and as items of batches. */
Test(append, payloads_across_the_end_of_the_ring)
{
    const uint32_t sizes[] = {10, 50000, 20};
    uint64_t copied = 0;
    uint64_t seen = 0;
    uint64_t last = 0;
    for (int i = 0; i < WRAPPED_ROUNDS; i++) {
        const struct lane_map *map = &victim->lane->map;
        const uint32_t size = (uint32_t)stage_random(&stage, WRAPPED_BYTES_MAX);
        copied += size > lane_engine_piece(map, victim->tail + SUBMISSION_HEADER_BYTES);
        last = stage_append(victim, topic, size, appended++, 0);
        if (i % 2 == 0) {
            last = stage_batch(victim, topic, sizes, 3, appended, 0);
            appended += 3;
        }
        cr_assert_eq(stage_answered(victim, last)->error, 0);
    }
    cr_assert_gt(copied, 2, "nothing lay across the end");
    cr_assert_geq(stage.store.payload_room, victim->lane->map.mirror_bytes);
    stage_read(&stage, stage_topic_of(&stage, topic), compare_large, &seen);
    cr_assert_eq(seen, appended);
}

Test(append, too_many_outstanding)
{
    struct stage_lane *lane = stage_lane_open_sized(&stage, 1 << 20);
    stage.reaping = false;
    const struct submission_shm header = {.kind = SUBMIT_WAIT};
    for (int i = 0; i <= CQ_SLOTS; i++) {
        cr_assert(!lane->hostile);
        write_raw(lane, &header, "", 0, 32);
        (void)stage_pass(&stage);
    }
    cr_assert(lane->hostile);
    stage_lane_close(lane);
    lane = stage_lane_open(&stage);
    lane_reap_to(&lane->map, UINT64_MAX / 2);
    for (int i = 0; i <= CQ_SLOTS; i++) {
        write_raw(lane, &header, "", 0, 32);
        (void)stage_pass(&stage);
    }
    cr_assert(lane->hostile);
    cr_assert_not_null(strstr(lane->client.hostile, "CQ head"), "%s", lane->client.hostile);
    stage_lane_close(lane);
    victim_appends();
    victim_intact();
}

struct attacker {
    struct stage_lane *lane;
    struct stage_topic topics[ATTACKED];
};

static void attacker_open(struct attacker *attacker)
{
    attacker->lane = stage_lane_open(&stage);
    for (int i = 0; i < ATTACKED; i++) {
        const char *names[ATTACKED] = {"a", "b", "c", "d"};
        attacker->topics[i] = stage_topic_open(attacker->lane, names[i]);
    }
}

static uint64_t odd_number(void)
{
    static const uint64_t odd[] = {0,          1,         7,         8,          15,   16,
                                   31,         255,       256,       4095,       4096, 65536,
                                   UINT32_MAX, INT32_MAX, INT64_MAX, UINT64_MAX, 1000, 100};
    const uint64_t kind = stage_random(&stage, 3);
    return kind == 0   ? odd[stage_random(&stage, sizeof odd / sizeof *odd)]
           : kind == 1 ? stage_random(&stage, 64)
                       : stage_random(&stage, UINT64_MAX);
}

static uint64_t body_bytes(uint16_t kind)
{
    if (kind == SUBMIT_CLAIM && stage_random(&stage, 50) != 0) {
        return sizeof(struct claim_request_shm);
    }
    return stage_random(&stage, stage_random(&stage, 8) == 0 ? 20000 : 200);
}

/* Mostly what an honest client could send, with some of it wrong. */
static void write_random(struct attacker *attacker)
{
    static uint64_t body[20008 / 8 + 1];
    struct submission_shm header = {
        .kind = (uint16_t)(1 + stage_random(&stage, 13)),
        .flags = (uint16_t)(stage_random(&stage, 3) == 0 ? stage_random(&stage, 1024)
                                                         : stage_random(&stage, 2)),
        .user_data = stage_random(&stage, 64),
        .arg = odd_number(),
    };
    const struct stage_topic of = attacker->topics[stage_random(&stage, ATTACKED)];
    header.topic = stage_random(&stage, 20) == 0 ? (uint32_t)odd_number() : of.index;
    header.incarnation = stage_random(&stage, 20) == 0 ? (uint32_t)odd_number() : of.incarnation;
    header.bytes = (uint32_t)body_bytes(header.kind);
    const uint64_t bytes = header.bytes;
    for (uint64_t i = 0; i <= bytes / 8; i++) {
        body[i] = odd_number();
    }
    const uint64_t items = stage_random(&stage, 6);
    if (header.kind == SUBMIT_BATCH && items > 0) {
        header.arg = items;
        const uint64_t each = align_down(bytes / items, 8);
        header.bytes = (uint32_t)(each * items);
        for (uint64_t i = 0; i < items && each >= 8; i++) {
            body[i * each / 8] = each - 8;
        }
    }
    if (stage_random(&stage, 500) == 0) {
        header.bytes = (uint32_t)odd_number();
        header.kind = (uint16_t)odd_number();
    }
    write_raw(attacker->lane, &header, body, bytes, submission_bytes(bytes));
    if (stage_random(&stage, 2000) == 0) {
        lane_publish(&attacker->lane->map, odd_number());
    }
    if (stage_random(&stage, 2000) == 0) {
        lane_reap_to(&attacker->lane->map, odd_number());
    }
}

static void attacker_turn(struct attacker *attacker)
{
    struct stage_lane *lane = attacker->lane;
    for (int i = 0; i < 4; i++) {
        if (lane->map.sq_bytes - (lane->tail - lane_room(&lane->map)) > 24000) {
            write_random(attacker);
        }
    }
    if (stage_random(&stage, 3) != 0) {
        lane_reap_to(&lane->map, lane_completions(&lane->map));
    }
    if (lane->hostile || stage_random(&stage, 300) == 0) {
        stage_lane_close(lane);
        attacker_open(attacker);
    }
}

static uint64_t fuzz_ms(void)
{
    const char *text = getenv("TEST_FUZZ_SECONDS");
    return (text == NULL ? 3 : strtoull(text, NULL, 10)) * 1000;
}

static void fuzz(struct attacker *attackers)
{
    const uint64_t stop = now_ms() + fuzz_ms();
    while (now_ms() < stop && appended < 200000) {
        for (int i = 0; i < ATTACKERS; i++) {
            attacker_turn(&attackers[i]);
        }
        (void)stage_pass(&stage);
        victim_appends();
        if (appended % 500 == 0) {
            const uint64_t trim = stage_ask(victim, SUBMIT_TOPIC_TRIM, topic, appended - 100, 0);
            while (!stage_answer(victim, trim)->given) {
                (void)stage_pass(&stage);
                stage_reap(victim);
            }
            victim_intact();
        }
    }
    for (int i = 0; i < ATTACKERS; i++) {
        stage_lane_close(attackers[i].lane);
    }
    stage_settle(&stage);
    cr_assert_eq(stage_holds(&stage), 0, "attackers left something behind");
    cr_assert_eq(stage.store.fenced, 0);
    victim_intact();
    stage_reap(victim);
    stage.reaping = true;
    stage_close(&stage);
    stage_open(&stage);
    victim = stage_lane_open(&stage);
    topic = stage_topic_open(victim, "victim");
    victim_intact();
}

Test(append, anything)
{
    struct attacker attackers[ATTACKERS];
    stage.reaping = false;
    for (int i = 0; i < ATTACKERS; i++) {
        attacker_open(&attackers[i]);
    }
    fuzz(attackers);
    cr_assert_gt(appended, 100);
}

/* Somebody else writes into the lane all the while. */
struct scribbler {
    struct lane_map map;
    pthread_t thread;
    struct atom stop;
};

static void *scribble(void *context)
{
    struct scribbler *scribbler = context;
    uint64_t state = 88172645463325252;
    while (atom_load_relaxed(&scribbler->stop) == 0) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        const uint64_t words = scribbler->map.sq_bytes / 8;
        struct atom *word = (struct atom *)(void *)scribbler->map.sq + state % words;
        /* Small changes to what was there pass more checks than noise. */
        const uint64_t before = atom_load_relaxed(word);
        const unsigned kind = (unsigned)(state >> 60);
        atom_store_relaxed(word, kind < 6    ? before ^ UINT64_C(1) << (state >> 33) % 64
                                 : kind < 12 ? (state >> 20) % 512
                                             : state);
    }
    return NULL;
}

Test(append, bytes_that_change_while_read)
{
    struct attacker attackers[ATTACKERS];
    static struct scribbler scribblers[ATTACKERS];
    const uint64_t stop = now_ms() + fuzz_ms();
    while (now_ms() < stop) {
        stage.reaping = false;
        for (int i = 0; i < ATTACKERS; i++) {
            attacker_open(&attackers[i]);
        }
        for (int i = 0; i < ATTACKERS; i++) {
            scribblers[i] = (struct scribbler){0};
            cr_assert_eq(lane_open(&scribblers[i].map, attackers[i].lane->fd), 0);
            pthread_create(&scribblers[i].thread, NULL, scribble, &scribblers[i]);
        }
        for (int round = 0; round < 200; round++) {
            for (int i = 0; i < ATTACKERS; i++) {
                struct stage_lane *lane = attackers[i].lane;
                if (!lane->hostile &&
                    lane->map.sq_bytes - (lane->tail - lane_room(&lane->map)) > 24000) {
                    write_random(&attackers[i]);
                }
                lane_reap_to(&lane->map, lane_completions(&lane->map));
            }
            victim_appends();
        }
        for (int i = 0; i < ATTACKERS; i++) {
            atom_store_relaxed(&scribblers[i].stop, 1);
            pthread_join(scribblers[i].thread, NULL);
            lane_close(&scribblers[i].map);
            stage_lane_close(attackers[i].lane);
        }
        stage_settle(&stage);
        cr_assert_eq(stage_holds(&stage), 0);
        const uint64_t trim = stage_ask(victim, SUBMIT_TOPIC_TRIM, topic, appended - 20, 0);
        (void)stage_answered(victim, trim);
        victim_intact();
    }
}
