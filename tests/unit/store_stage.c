/* Store stage: see store_stage.h. */
#include "tests/unit/store_stage.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/fetch.h"
#include "broker/io.h"
#include "broker/pending.h"
#include "broker/refusal.h"
#include "broker/retention.h"
#include "broker/store_pass.h"
#include "broker/stream.h"
#include "broker/topic_admin.h"
#include "shm/cleanup.h"

enum { PASSES_MAX = 200000 };

uint64_t stage_random(struct stage *stage, uint64_t below)
{
    stage->random ^= stage->random >> 12;
    stage->random ^= stage->random << 25;
    stage->random ^= stage->random >> 27;
    return (stage->random * UINT64_C(0x2545f4914f6cdd1d) >> 16) % below;
}

void stage_init(struct stage *stage, uint64_t seed)
{
    *stage = (struct stage){
        .config = {.chunk_bytes = STAGE_CHUNK,
                   .segment_bytes = 16 * STAGE_CHUNK,
                   .arena_bytes = 64 * STAGE_CHUNK,
                   .topics_max = 256,
                   .fsync = FSYNC_EACH,
                   .pin_timeout_ns = UINT64_C(10000000000),
                   .retention = {.consumed = true},
                   .stream_timeout_ns = UINT64_C(10000000000),
                   .data_dir = "/data"},
        .disk = memory_disk_new(seed),
        .reaping = true,
        .random = seed * 2 + 1,
        .now_ns = 1000000,
        .time_ns = UINT64_C(1700000000) * 1000000000,
    };
}

static void *memory_new(uint64_t bytes, uint64_t alignment)
{
    const uint64_t rounded = align_up(bytes, alignment);
    void *memory = aligned_alloc(alignment, rounded);
    cr_assert_not_null(memory);
    return memset(memory, 0, rounded);
}

static void memory_discard(struct stage *stage)
{
    free(stage->directory);
    free(stage->arena.base);
    stage->directory = NULL;
    stage->arena = (struct mapping){.fd = -1};
    stage->store = (struct store){0};
    stage->open = false;
}

int stage_try_open(struct stage *stage)
{
    const struct directory_geometry geometry = {.chunk_bytes = stage->config.chunk_bytes,
                                                .arena_bytes = stage->config.arena_bytes,
                                                .topics_max = stage->config.topics_max};
    stage->directory = memory_new(directory_bytes(&geometry), WRITER_STRIDE);
    directory_format(stage->directory, &geometry, 1, 1);
    stage->arena = (struct mapping){.base = memory_new(stage->config.arena_bytes, BLOCK_BYTES),
                                    .bytes = stage->config.arena_bytes,
                                    .fd = -1};
    stage->io = io_memory_open(stage->disk);
    stage->store = (struct store){.config = &stage->config,
                                  .io = stage->io,
                                  .directory = stage->directory,
                                  .now_ns = stage->now_ns,
                                  .time_ns = stage->time_ns};
    stage->fault = (struct fault){0};
    const int error = store_open(&stage->store, &stage->arena, &stage->fault);
    if (error == 0) {
        stage->open = true;
        if (stage->snapshot_log_bytes != 0) {
            stage->store.snapshot.log_bytes_min = stage->snapshot_log_bytes;
            stage->store.snapshot.step_bytes = 1;
        }
        return 0;
    }
    while (io_in_flight(stage->io) > 0) {
        (void)io_poll(stage->io);
    }
    store_close(&stage->store);
    io_close(stage->io);
    memory_discard(stage);
    return error;
}

void stage_open(struct stage *stage)
{
    const int error = stage_try_open(stage);
    cr_assert_eq(error, 0, "store_open: %d %s", error, stage->fault.text);
}

/* As lane_set.c does with the lanes of a stop. */
static void lane_forget(struct stage_lane *lane)
{
    struct store *store = &lane->stage->store;
    stream_lane_gone(lane->lane);
    while (!list_empty(&lane->lane->pending)) {
        pending_drop(list_entry(list_first(&lane->lane->pending), struct pending, siblings));
    }
    fetch_release(store, lane->lane, true);
    refusals_free(lane->lane);
    list_remove(&lane->lane->dirty);
    topic_admin_release(store, &lane->client);
}

static void lane_discard(struct stage_lane *lane)
{
    lane_free(lane->lane);
    lane_close(&lane->map);
    close(lane->fd);
    close(lane->socket);
    free(lane->answers);
    free(lane);
}

void stage_lane_close(struct stage_lane *lane)
{
    struct stage *stage = lane->stage;
    lane_forget(lane);
    for (uint32_t i = 0; i < stage->lanes_count; i++) {
        if (stage->lanes[i] == lane) {
            stage->lanes[i] = stage->lanes[--stage->lanes_count];
        }
    }
    lane_discard(lane);
}

static void lanes_forget(struct stage *stage)
{
    stage->store.ending = true;
    for (uint32_t i = 0; i < stage->lanes_count; i++) {
        lane_forget(stage->lanes[i]);
    }
    while (stage->lanes_count > 0) {
        lane_discard(stage->lanes[--stage->lanes_count]);
    }
}

static void drain(struct stage *stage)
{
    segment_set_stop(&stage->store.segments);
    while (io_in_flight(stage->io) > 0) {
        (void)io_poll(stage->io);
    }
}

static void close_now(struct stage *stage)
{
    drain(stage);
    lanes_forget(stage);
    store_close(&stage->store);
    io_close(stage->io);
    memory_discard(stage);
}

static void sync_everything(struct stage *stage)
{
    struct store *store = &stage->store;
    const uint64_t sync = flush_want(store);
    for (unsigned i = 0; store->flush.durable_sync < sync || !flush_idle(&store->flush); i++) {
        cr_assert_lt(i, PASSES_MAX, "sync %zu never came", (size_t)sync);
        flush_tick(store);
        (void)io_poll(stage->io);
    }
}

void stage_close(struct stage *stage)
{
    sync_everything(stage);
    marks_begin(&stage->store, false);
    while (marks_running(&stage->store.marks)) {
        (void)marks_step(&stage->store);
        (void)fetch_verify(&stage->store); /* of the system topic's tail */
        flush_tick(&stage->store);
        (void)io_poll(stage->io);
    }
    sync_everything(stage);
    snapshot_stop(&stage->store);
    drain(stage);
    store_seal(&stage->store);
    close_now(stage);
}

/* Nothing of the killed process is left but its disk: its memory is freed without its help. */
void stage_power_off(struct stage *stage, enum memory_loss loss)
{
    /* What is in flight refers to the store's memory, so the disk is taken as it is first. */
    struct memory_disk *after = memory_disk_clone(stage->disk, stage_random(stage, UINT32_MAX));
    struct memory_disk *before = stage->disk;
    close_now(stage);
    memory_disk_free(before);
    memory_disk_power_off(after, loss);
    stage->disk = after;
}

void stage_deinit(struct stage *stage)
{
    if (stage->open) {
        stage->disk->fail_at = 0;
        close_now(stage);
    }
    memory_disk_free(stage->disk);
    stage->disk = NULL;
}

/* Lanes. */

struct stage_lane *stage_lane_open_sized(struct stage *stage, uint64_t sq_bytes)
{
    struct stage_lane *lane = aligned_alloc(WRITER_STRIDE, align_up(sizeof *lane, WRITER_STRIDE));
    cr_assert_not_null(lane);
    cr_assert_lt(stage->lanes_count, STAGE_LANES_MAX);
    *lane = (struct stage_lane){.stage = stage};
    list_init(&lane->client.lanes);
    list_init(&lane->client.topic_refs);
    lane->client.pins_fd = -1;
    const int error = lane_new(&lane->lane, &lane->client, stage->lanes_count + 1, sq_bytes,
                               &lane->record, &lane->fd, &lane->socket);
    cr_assert_eq(error, 0, "%s", strerror(-error));
    cr_assert_eq(lane_open(&lane->map, lane->fd), 0);
    list_push_back(&lane->client.lanes, &lane->lane->siblings);
    lane->lane->state = LANE_ACTIVE;
    stage->lanes[stage->lanes_count++] = lane;
    return lane;
}

struct stage_lane *stage_lane_open(struct stage *stage)
{
    return stage_lane_open_sized(stage, SQ_BYTES_DEFAULT);
}

bool stage_lane_has_room(const struct stage_lane *lane, uint64_t bytes)
{
    const uint64_t used = lane->tail - lane_room(&lane->map);
    return submission_bytes(bytes) <= lane->map.sq_bytes - used &&
           lane->submissions - lane->silent - lane->reaped < CQ_SLOTS;
}

static struct stage_answer *answer_new(struct stage_lane *lane)
{
    if (lane->submissions == lane->answers_room) {
        lane->answers_room = lane->answers_room == 0 ? 64 : lane->answers_room * 2;
        lane->answers = realloc(lane->answers, lane->answers_room * sizeof *lane->answers);
        cr_assert_not_null(lane->answers);
    }
    struct stage_answer *answer = &lane->answers[lane->submissions++];
    *answer = (struct stage_answer){0};
    return answer;
}

uint64_t stage_submit(struct stage_lane *lane, const struct stage_request *request)
{
    cr_assert(stage_lane_has_room(lane, request->bytes), "the lane is full");
    const uint64_t user_data = lane->submissions;
    (void)answer_new(lane);
    lane->silent += request->kind >= SUBMIT_STREAM_DATA && request->kind <= SUBMIT_STREAM_ABORT;
    const struct submission_shm header = {
        .bytes = request->bytes,
        .kind = request->kind,
        .flags = request->flags,
        .topic = request->topic.index,
        .incarnation = request->topic.incarnation,
        .user_data = user_data,
        .arg = request->arg,
    };
    unsigned char *at = lane_at(&lane->map, lane->tail);
    memcpy(at, &header, sizeof header);
    if (request->bytes > 0) {
        memcpy(at + SUBMISSION_HEADER_BYTES, request->body, request->bytes);
    }
    lane->tail += submission_bytes(request->bytes);
    lane_publish(&lane->map, lane->tail);
    return user_data;
}

uint64_t stage_ask(struct stage_lane *lane, uint16_t kind, struct stage_topic topic, uint64_t arg,
                   unsigned flags)
{
    const struct stage_request request = {
        .kind = kind, .flags = (uint16_t)flags, .topic = topic, .arg = arg};
    return stage_submit(lane, &request);
}

uint64_t stage_append(struct stage_lane *lane, struct stage_topic topic, uint32_t size,
                      uint64_t stamp, unsigned flags)
{
    cleanup_free unsigned char *bytes = malloc(size + 1);
    stage_fill(bytes, size, stamp);
    const struct stage_request request = {.kind = SUBMIT_APPEND,
                                          .flags = (uint16_t)flags,
                                          .topic = topic,
                                          .body = bytes,
                                          .bytes = size};
    return stage_submit(lane, &request);
}

uint64_t stage_batch(struct stage_lane *lane, struct stage_topic topic, const uint32_t *sizes,
                     uint32_t count, uint64_t stamp, unsigned flags)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += batch_item_bytes(sizes[i]);
    }
    cleanup_free unsigned char *body = calloc(1, bytes + 1);
    unsigned char *at = body;
    for (uint32_t i = 0; i < count; i++) {
        const struct batch_item_shm item = {.bytes = sizes[i]};
        memcpy(at, &item, sizeof item);
        stage_fill(at + sizeof item, sizes[i], stamp + i);
        at += batch_item_bytes(sizes[i]);
    }
    const struct stage_request request = {.kind = SUBMIT_BATCH,
                                          .flags = (uint16_t)flags,
                                          .topic = topic,
                                          .arg = count,
                                          .body = body,
                                          .bytes = (uint32_t)bytes};
    return stage_submit(lane, &request);
}

uint64_t stage_claim(struct stage_lane *lane, struct stage_topic topic, uint64_t bytes_max,
                     uint32_t entries_max, uint32_t persist_every, unsigned flags)
{
    const struct claim_request_shm body = {
        .entries_max = entries_max, .chunks_max = 16, .persist_every = persist_every};
    const struct stage_request request = {.kind = SUBMIT_CLAIM,
                                          .flags = (uint16_t)flags,
                                          .topic = topic,
                                          .arg = bytes_max,
                                          .body = &body,
                                          .bytes = sizeof body};
    return stage_submit(lane, &request);
}

struct stage_topic stage_topic_open(struct stage_lane *lane, const char *name)
{
    const struct stage_request request = {
        .kind = SUBMIT_TOPIC_OPEN, .body = name, .bytes = (uint32_t)strlen(name)};
    const uint64_t ask = stage_submit(lane, &request);
    while (!stage_answer(lane, ask)->given) {
        (void)stage_pass(lane->stage);
        stage_reap(lane);
    }
    const struct stage_answer *answer = stage_answer(lane, ask);
    cr_assert_eq(answer->error, 0, "topic %s: %d", name, answer->error);
    return (struct stage_topic){.index = (uint32_t)answer->value,
                                .incarnation = (uint32_t)answer->seq};
}

struct topic *stage_topic_of(const struct stage *stage, struct stage_topic topic)
{
    return topic_set_find(&stage->store.topics, topic.index, topic.incarnation);
}

const struct stage_answer *stage_answer(const struct stage_lane *lane, uint64_t user_data)
{
    cr_assert_lt(user_data, lane->submissions);
    return &lane->answers[user_data];
}

const struct stage_answer *stage_answered(struct stage_lane *lane, uint64_t user_data)
{
    stage_settle(lane->stage);
    stage_reap(lane);
    const struct stage_answer *answer = stage_answer(lane, user_data);
    cr_assert(answer->given, "submission %zu was never answered", (size_t)user_data);
    return answer;
}

void stage_reap(struct stage_lane *lane)
{
    const uint64_t posted = lane_completions(&lane->map);
    cr_assert_leq(posted - lane->reaped, lane->map.cq_slots);
    while (lane->reaped != posted) {
        const struct completion_shm *completion = lane_completion(&lane->map, lane->reaped++);
        cr_assert_lt(completion->user_data, lane->submissions);
        struct stage_answer *answer = &lane->answers[completion->user_data];
        cr_assert(!answer->given, "submission %zu was answered twice",
                  (size_t)completion->user_data);
        *answer = (struct stage_answer){.given = true,
                                        .seq = completion->seq,
                                        .error = completion->error,
                                        .value = completion->value};
    }
    lane_reap_to(&lane->map, lane->reaped);
}

/* The pass. */

void stage_clock(struct stage *stage, uint64_t ns)
{
    stage->now_ns += ns;
    stage->time_ns += ns;
    stage->store.now_ns = stage->now_ns;
    stage->store.time_ns = stage->time_ns;
}

static void retry(struct stage *stage)
{
    store_retry(&stage->store);
    for (uint32_t i = 0; i < stage->lanes_count; i++) {
        stage->lanes[i]->blocked = false;
    }
}

static bool lane_take(struct stage_lane *lane)
{
    struct store *store = &lane->stage->store;
    const uint64_t before = lane->lane->head;
    uint64_t tail;
    fetch_release(store, lane->lane, false);
    switch (submit_lane(store, lane->lane, 128 * 1024, &tail)) {
    case SUBMIT_TAKEN:
        break;
    case SUBMIT_AGAIN:
        return true;
    case SUBMIT_BLOCKED:
        lane->blocked = true;
        break;
    case SUBMIT_WAITING:
        lane->waiting = true;
        break;
    case SUBMIT_HOSTILE:
        lane->hostile = true;
        break;
    }
    return lane->lane->head != before;
}

bool stage_take(struct stage *stage)
{
    const bool freed = stage->store.freed;
    bool done = freed;
    if (freed) {
        retry(stage);
    }
    if (stage->store.stream_ended) {
        stage->store.stream_ended = false;
        for (uint32_t i = 0; i < stage->lanes_count; i++) {
            stage->lanes[i]->waiting = false;
        }
    }
    for (uint32_t i = 0; i < stage->lanes_count; i++) {
        struct stage_lane *lane = stage->lanes[i];
        if (!lane->blocked && !lane->waiting && !lane->hostile) {
            done = lane_take(lane) || done;
        }
    }
    if (freed) {
        fetch_retry(&stage->store);
    }
    return done;
}

void stage_look(struct stage *stage)
{
    struct store *store = &stage->store;
    store_topics_look(store);
    list_each(node, &store->publish)
    {
        struct lane *lane = list_entry(node, struct lane, dirty);
        list_remove(node);
        lane->publish_due = false;
        lane->cq_tail_published = lane->cq_tail;
        lane->head_published = lane->head;
        lane_engine_publish(&lane->map, lane->head, lane->cq_tail);
    }
    for (uint32_t i = 0; stage->reaping && i < stage->lanes_count; i++) {
        stage_reap(stage->lanes[i]);
    }
}

bool stage_pass(struct stage *stage)
{
    stage_clock(stage, 1000);
    bool done = io_poll(stage->io) > 0;
    done = stage_take(stage) || done;
    done = store_work(&stage->store) || done;
    stage_look(stage);
    return done || io_in_flight(stage->io) > 0 || stage->store.freed || stage->store.stream_ended;
}

void stage_settle(struct stage *stage)
{
    /* A pass that does nothing may leave something for the next one; two in a row do not. */
    unsigned quiet = 0;
    for (unsigned i = 0; quiet < 3; i++) {
        cr_assert_lt(i, PASSES_MAX, "the stage does not settle");
        quiet = stage_pass(stage) ? 0 : quiet + 1;
        const uint64_t due = flush_next_ns(&stage->store);
        if (quiet == 2 && due != UINT64_MAX && due > stage->now_ns) {
            stage_clock(stage, due - stage->now_ns);
            quiet = 0;
        }
    }
}

void stage_fill(void *bytes, uint64_t size, uint64_t stamp)
{
    unsigned char *at = bytes;
    uint64_t state = (stamp + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ size;
    for (uint64_t i = 0; i < size; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        at[i] = (unsigned char)(state >> 56);
    }
}

static uint64_t topic_holds(const struct topic *topic)
{
    uint64_t holds = 0;
    for (uint32_t i = 0; i < topic->chunk_count; i++) {
        holds += topic->chunks[i]->holds;
    }
    return holds;
}

uint64_t stage_holds(const struct stage *stage)
{
    uint64_t holds = 0;
    list_each(node, &stage->store.topics.all)
    {
        holds += topic_holds(list_entry(node, struct topic, topics));
    }
    list_each(freed, &stage->store.frees)
    {
        holds += list_entry(freed, struct chunk, frees)->holds;
    }
    return holds;
}
