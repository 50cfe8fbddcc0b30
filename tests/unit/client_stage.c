/* Client stage: see client_stage.h. */
#include "tests/unit/client_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "shm/control.h"
#include "shm/ensure.h"
#include "shm/frame.h"
#include "shm/wake.h"

#define STAGE_CHUNK_BYTES CHUNK_BYTES_MIN
#define STAGE_ARENA_BYTES (UINT64_C(16) << 20)

static unsigned char *image_of(struct stage *stage, uint32_t unit)
{
    return (unsigned char *)stage->arena_map.base +
           (uint64_t)unit * small_chunk_bytes(STAGE_CHUNK_BYTES);
}

static void chunk_show(struct stage *stage, struct stage_topic *topic, uint64_t chunk_no)
{
    struct stage_chunk *chunk = &topic->chunks[chunk_no];
    static uint64_t stamps;
    if (!chunk->shown) {
        chunk->shown = true;
        chunk_stamp_set(directory_stamp(stage->directory, chunk->unit), ++stamps);
    }
    topic_map_chunk(topic->shm, chunk_no, chunk->unit);
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The chunk of a position, assigned at its first use. */
static unsigned char *chunk_at(struct stage *stage, struct stage_topic *topic, uint64_t position,
                               uint64_t seq)
{
    const uint64_t chunk_no = chunk_number(position, STAGE_CHUNK_BYTES);
    ensure(chunk_no < STAGE_CHUNKS);
    struct stage_chunk *chunk = &topic->chunks[chunk_no];
    if (chunk_no >= topic->chunk_count) {
        const uint64_t bytes = chunk_size(chunk_no, STAGE_CHUNK_BYTES);
        chunk->unit = stage->units_used;
        stage->units_used += (uint32_t)(bytes / small_chunk_bytes(STAGE_CHUNK_BYTES));
        ensure(stage->units_used <= stage->directory->header.units);
        chunk->base_seq = seq;
        chunk->base_time_ns = clock_ns();
        *(struct chunk_header *)(void *)image_of(stage, chunk->unit) = (struct chunk_header){
            .magic = CHUNK_MAGIC,
            .version = CHUNK_FORMAT_VERSION,
            .topic_id = atom_load_relaxed(&topic->shm->topic_id),
            .chunk_no = chunk_no,
            .base_seq = seq,
            .base_time_ns = chunk->base_time_ns,
        };
        topic->chunk_count = chunk_no + 1;
        chunk_show(stage, topic, chunk_no);
    }
    return image_of(stage, chunk->unit) + (position - chunk_start(chunk_no, STAGE_CHUNK_BYTES));
}

/* One frame behind the tail, payload from two pieces. */
static void frame_put(struct stage *stage, struct stage_topic *topic, unsigned flags,
                      const void *head, uint64_t head_bytes, const void *body, uint64_t body_bytes,
                      uint64_t frame_size)
{
    unsigned char *at = chunk_at(stage, topic, topic->position, topic->next_seq);
    *(struct frame_header *)(void *)at = (struct frame_header){
        .size = (uint32_t)frame_size,
        .seq = topic->next_seq,
        .time_ns = clock_ns(),
        .flags = (uint16_t)flags,
    };
    if (head_bytes > 0) {
        memcpy(at + FRAME_HEADER_BYTES, head, head_bytes);
    }
    if (body_bytes > 0) {
        memcpy(at + FRAME_HEADER_BYTES + head_bytes, body, body_bytes);
    }
    topic->position =
        frame_settle(topic->position + frame_bytes(frame_size),
                     chunk_number(topic->position, STAGE_CHUNK_BYTES), STAGE_CHUNK_BYTES);
}

static uint64_t room_at(uint64_t position)
{
    const uint64_t chunk_no = chunk_number(position, STAGE_CHUNK_BYTES);
    return chunk_start(chunk_no + 1, STAGE_CHUNK_BYTES) - position;
}

/* An entry as shm/frame.h lays it out. */
static void entry_put(struct stage *stage, struct stage_topic *topic, const unsigned char *data,
                      uint64_t size)
{
    const uint64_t chunk_no = chunk_number(topic->position, STAGE_CHUNK_BYTES);
    const bool fits = frame_bytes(size) <= room_at(topic->position);
    if (!fits && (!frame_fragments(size, chunk_size(chunk_no, STAGE_CHUNK_BYTES)) ||
                  room_at(topic->position) < FRAGMENT_ROOM_MIN)) {
        frame_put(stage, topic, FRAME_PAD, NULL, 0, NULL, 0,
                  room_at(topic->position) - FRAME_HEADER_BYTES);
    }
    topic->positions[topic->next_seq] = topic->position;
    topic->sizes[topic->next_seq] = size;
    if (frame_bytes(size) <= room_at(topic->position)) {
        frame_put(stage, topic, FRAME_FIRST | FRAME_LAST, NULL, 0, data, size, size);
        topic->next_seq++;
        return;
    }
    uint64_t done = 0;
    for (bool first = true; first || done < size; first = false) {
        const uint64_t head = first ? FRAGMENT_TOTAL_BYTES : 0;
        uint64_t part = room_at(topic->position) - FRAME_HEADER_BYTES - head;
        part = part < size - done ? part : size - done;
        const unsigned flags = (first ? FRAME_FIRST : 0U) | (done + part == size ? FRAME_LAST : 0U);
        frame_put(stage, topic, flags, &size, head, data + done, part, head + part);
        done += part;
    }
    topic->next_seq++;
}

static void topic_show_tail(struct stage *stage, struct stage_topic *topic)
{
    if (topic_state(topic->shm) == TOPIC_ABSENT) {
        atom_store_relaxed(&topic->shm->topic_id, (uint64_t)(topic - stage->topics) + 100);
        topic_announce(topic->shm, TOPIC_PRESENT);
    }
    topic_publish(topic->shm, topic->position, topic->next_seq);
    if (!atomic_load(&stage->durable_held)) {
        topic_publish_durable(topic->shm, topic->position, topic->next_seq);
    }
}

static void complete(struct stage_lane *lane, const struct submission *submission, uint64_t seq,
                     int error, uint64_t value)
{
    const struct completion_shm completion = {
        .user_data = submission->user_data, .seq = seq, .error = error, .value = value};
    lane_engine_complete(&lane->map, lane->cq_tail++, &completion);
}

static void append_take(struct stage *stage, struct stage_lane *lane, struct stage_topic *topic,
                        const struct submission *submission)
{
    const unsigned char *body = lane_at(&lane->map, lane->head + SUBMISSION_HEADER_BYTES);
    const uint64_t first = topic->next_seq;
    int error = atomic_load(&stage->append_error);
    if (topic_state(topic->shm) == TOPIC_DELETED) {
        error = -ESTALE;
    } else if ((submission->flags & SUBMIT_NO_CREATE) != 0 &&
               topic_state(topic->shm) == TOPIC_ABSENT) {
        error = -ENOENT;
    } else if ((submission->flags & SUBMIT_AT) != 0 && submission->arg != first) {
        error = -EILSEQ;
    }
    if (error == 0 && topic_state(topic->shm) == TOPIC_ABSENT) {
        atom_store_relaxed(&topic->shm->topic_id, (uint64_t)(topic - stage->topics) + 100);
        topic_announce(topic->shm, TOPIC_PRESENT);
    }
    if (error == 0 && submission->kind == SUBMIT_APPEND) {
        entry_put(stage, topic, body, submission->bytes);
    }
    for (uint64_t i = 0; error == 0 && submission->kind == SUBMIT_BATCH && i < submission->arg;
         i++) {
        const uint64_t bytes = ((const struct batch_item_shm *)(const void *)body)->bytes;
        entry_put(stage, topic, body + BATCH_ITEM_BYTES, bytes);
        body += batch_item_bytes(bytes);
    }
    if (error == 0) {
        topic_show_tail(stage, topic);
    }
    if ((submission->flags & SUBMIT_QUIET) == 0) {
        complete(lane, submission, first, error, 0);
    } else if (error != 0 && lane->failed == 0) {
        lane->failed = error;
    }
}

static struct stage_topic *topic_open(struct stage *stage, const unsigned char *name,
                                      uint64_t bytes)
{
    for (uint32_t i = 0; i < STAGE_TOPICS; i++) {
        struct stage_topic *topic = &stage->topics[i];
        if (topic->shm == NULL) {
            topic->shm = directory_topic(stage->directory, i);
            memcpy(topic->name, name, bytes);
            memcpy(topic->shm->name, name, bytes);
            topic->shm->name_bytes = bytes;
            topic->position = CHUNK_HEADER_BYTES;
            atom_store_relaxed(&topic->shm->tail_position, topic->position);
            atom_store_relaxed(&topic->shm->first_position, topic->position);
            atom_store_relaxed(&topic->shm->incarnation, (UINT64_C(7) << 32) + i + 1);
            atom_store_relaxed(&stage->directory->topics_used, i + 1);
            topic_announce(topic->shm, TOPIC_ABSENT);
            return topic;
        }
        if (topic_state(topic->shm) != TOPIC_DELETED && strlen(topic->name) == bytes &&
            memcmp(topic->name, name, bytes) == 0) {
            return topic;
        }
    }
    ensure(false);
}

static bool waiter_over(const struct stage *stage, const struct stage_waiter *waiter, int *error)
{
    const struct submission *submission = &waiter->submission;
    const bool durable = (submission->flags & SUBMIT_DURABLE) != 0;
    *error = 0;
    if (submission->kind == SUBMIT_WAIT) {
        return !atomic_load(&stage->durable_held);
    }
    const struct topic_shm *topic = stage->topics[submission->topic].shm;
    if (topic_state(topic) == TOPIC_DELETED) {
        *error = -ESTALE;
        return true;
    }
    return (durable ? topic_durable_seq(topic) : topic_published_seq(topic)) > submission->arg;
}

static void waiters_look(struct stage *stage)
{
    for (int i = 0; i < STAGE_TOPICS && !atomic_load(&stage->durable_held); i++) {
        const struct stage_topic *topic = &stage->topics[i];
        if (topic->shm != NULL && topic_durable_seq(topic->shm) != topic->next_seq) {
            topic_publish_durable(topic->shm, topic->position, topic->next_seq);
        }
    }
    for (int i = 0; i < STAGE_WAITERS; i++) {
        struct stage_waiter *waiter = &stage->waiters[i];
        int error;
        if (waiter->pending && waiter_over(stage, waiter, &error)) {
            waiter->pending = false;
            complete(waiter->lane, &waiter->submission, 0, error, 0);
        }
    }
}

static void waiter_add(struct stage *stage, struct stage_lane *lane,
                       const struct submission *submission)
{
    for (int i = 0; i < STAGE_WAITERS; i++) {
        struct stage_waiter *waiter = &stage->waiters[i];
        if (!waiter->pending) {
            *waiter =
                (struct stage_waiter){.pending = true, .lane = lane, .submission = *submission};
            return;
        }
    }
    ensure(false);
}

static void cancel_take(struct stage *stage, const struct stage_lane *lane, uint64_t user_data)
{
    for (int i = 0; i < STAGE_WAITERS; i++) {
        struct stage_waiter *waiter = &stage->waiters[i];
        if (waiter->pending && waiter->lane == lane && waiter->submission.user_data == user_data) {
            waiter->pending = false;
            complete(waiter->lane, &waiter->submission, 0, -ECANCELED, 0);
        }
    }
}

static void wait_take(struct stage *stage, struct stage_lane *lane,
                      const struct submission *submission)
{
    if ((submission->flags & SUBMIT_DURABLE) == 0 || lane->failed != 0) {
        complete(lane, submission, 0, lane->failed, 0);
        lane->failed = 0;
        return;
    }
    for (int i = 0; i < STAGE_WAITERS; i++) { /* a newer one ends the pending one */
        if (stage->waiters[i].pending && stage->waiters[i].lane == lane &&
            stage->waiters[i].submission.kind == SUBMIT_WAIT) {
            cancel_take(stage, lane, stage->waiters[i].submission.user_data);
        }
    }
    waiter_add(stage, lane, submission);
}

/* Takes a chunk's image away unless a client pins it. */
static bool chunk_take_away(struct stage *stage, struct stage_topic *topic, uint64_t chunk_no)
{
    const struct pins_shm *pins = stage->pins_map.base;
    struct stage_chunk *chunk = &topic->chunks[chunk_no];
    topic_unmap_chunk(topic->shm, chunk_no, chunk->unit);
    struct atom *stamp = directory_stamp(stage->directory, chunk->unit);
    const uint64_t before = chunk_stamp(stamp);
    chunk_stamp_set(stamp, before | CHUNK_STAMP_EVICTING);
    fence_full(); /* [P3] */
    for (int i = 0; i < PINS_MAX; i++) {
        const uint64_t word = atom_load_relaxed(&pins->pin[i]); /* ordered by [P3] */
        if (pin_unit_next(word) == chunk->unit + 1 && pin_is_of(word, before)) {
            chunk_stamp_set(stamp, before);
            return false;
        }
    }
    chunk->shown = false;
    chunk_stamp_set(stamp, 0);
    return true;
}

static void fetch_take(struct stage *stage, struct stage_lane *lane, struct stage_topic *topic,
                       const struct submission *submission)
{
    uint64_t chunk_no = submission->arg;
    atomic_fetch_add(&stage->fetches, 1);
    if ((submission->flags & SUBMIT_BY_CHUNK) == 0) {
        const bool by_seq = (submission->flags & SUBMIT_BY_SEQ) != 0;
        for (chunk_no = topic->chunk_count; chunk_no > 1; chunk_no--) {
            const struct stage_chunk *chunk = &topic->chunks[chunk_no - 1];
            if (by_seq ? chunk->base_seq < submission->arg
                       : chunk->base_time_ns <= submission->arg) {
                break;
            }
        }
        chunk_no = chunk_no > 0 ? chunk_no - 1 : 0;
    }
    if (chunk_no >= topic->chunk_count || topic->chunks[chunk_no].gone) {
        complete(lane, submission, 0, chunk_no < topic->chunk_count ? -ENODATA : -EAGAIN, 0);
        return;
    }
    chunk_show(stage, topic, chunk_no);
    complete(lane, submission, topic->chunks[chunk_no].unit, 0, chunk_no);
}

/* The chunks that the cursor leaves behind with a claim. */
static void claim_note(struct stage *stage, const struct stage_lane *lane,
                       struct stage_topic *topic, uint64_t first, uint64_t end)
{
    struct stage_claim *claim = stage->claims;
    while (claim->pending) {
        claim++;
    }
    ensure(claim < stage->claims + STAGE_WAITERS);
    if (end > first && atomic_load(&stage->trims)) {
        const uint64_t position = end < topic->next_seq ? topic->positions[end] : topic->position;
        *claim = (struct stage_claim){
            .pending = true,
            .lane = lane,
            .topic = topic,
            .cq_index = lane->cq_tail,
            .chunks_from = chunk_number(topic->positions[first], STAGE_CHUNK_BYTES),
            .chunks_to = chunk_number(position, STAGE_CHUNK_BYTES),
        };
    }
}

/* Overwrites the chunks of reaped claims, unless they are pinned. */
static void claims_trim(struct stage *stage, const struct stage_lane *lane)
{
    for (struct stage_claim *claim = stage->claims; claim < stage->claims + STAGE_WAITERS;
         claim++) {
        if (!claim->pending || claim->lane != lane ||
            lane_engine_cq_head(&lane->map) <= claim->cq_index) {
            continue;
        }
        claim->pending = false;
        for (uint64_t no = claim->chunks_from; no < claim->chunks_to; no++) {
            struct stage_chunk *chunk = &claim->topic->chunks[no];
            chunk->gone = true;
            if (chunk_take_away(stage, claim->topic, no)) {
                memset(image_of(stage, chunk->unit), 0xdd, chunk_size(no, STAGE_CHUNK_BYTES));
                atomic_fetch_add(&stage->trimmed, 1);
            }
        }
    }
}

static void claim_take(struct stage *stage, struct stage_lane *lane, struct stage_topic *topic,
                       const struct submission *submission)
{
    const struct claim_request_shm *request =
        lane_at(&lane->map, lane->head + SUBMISSION_HEADER_BYTES);
    const uint64_t first = topic->cursor_seq;
    uint64_t seq = first;
    uint64_t bytes = 0;
    while (seq < topic->next_seq && seq - first < request->entries_max &&
           (seq == first || topic->sizes[seq] <= submission->arg - bytes)) {
        bytes += topic->sizes[seq];
        bytes = bytes < submission->arg ? bytes : submission->arg;
        seq++;
    }
    if ((submission->flags & SUBMIT_PEEK) == 0) {
        topic->cursor_seq = seq;
        claim_note(stage, lane, topic, first, seq);
    }
    atom_store_relaxed(&topic->shm->cursor_seq, topic->cursor_seq);
    atom_store_relaxed(&topic->shm->cursor_exists, 1);
    complete(lane, submission, first, (int)(seq - first),
             seq > first ? topic->positions[first] : topic->position);
}

static void take(struct stage *stage, struct stage_lane *lane, const struct submission *submission)
{
    struct stage_topic *topic = &stage->topics[submission->topic % STAGE_TOPICS];
    switch ((enum submission_kind)submission->kind) {
    case SUBMIT_APPEND:
    case SUBMIT_BATCH:
        append_take(stage, lane, topic, submission);
        break;
    case SUBMIT_WAIT:
        wait_take(stage, lane, submission);
        break;
    case SUBMIT_WAIT_TAIL:
        waiter_add(stage, lane, submission);
        break;
    case SUBMIT_FETCH:
        fetch_take(stage, lane, topic, submission);
        break;
    case SUBMIT_CLAIM:
        claim_take(stage, lane, topic, submission);
        break;
    case SUBMIT_TOPIC_OPEN:
        topic = topic_open(stage, lane_at(&lane->map, lane->head + SUBMISSION_HEADER_BYTES),
                           submission->bytes);
        complete(lane, submission, atom_load_relaxed(&topic->shm->incarnation), 0,
                 (uint64_t)(topic - stage->topics));
        break;
    case SUBMIT_TOPIC_DELETE:
        if (topic_state(topic->shm) == TOPIC_PRESENT) {
            topic_announce(topic->shm, TOPIC_DELETED);
            complete(lane, submission, 0, 0, 0);
        } else {
            complete(lane, submission, 0, -ENOENT, 0);
        }
        break;
    case SUBMIT_CANCEL:
        cancel_take(stage, lane, submission->arg);
        break;
    case SUBMIT_TOPIC_CLOSE:
    case SUBMIT_RESUME:
        break;
    case SUBMIT_TOPIC_TRIM:
    case SUBMIT_TOPIC_SET:
    case SUBMIT_TOPIC_GET:
    case SUBMIT_STREAM_OPEN:
    case SUBMIT_STREAM_DATA:
    case SUBMIT_STREAM_COMMIT:
    case SUBMIT_STREAM_ABORT:
    case SUBMIT_NOTHING:
    default:
        complete(lane, submission, 0, -EINVAL, 0);
    }
}

/* A pass over one lane: takes what is there, publishes, wakes, parks. */
static void lane_turn(struct stage *stage, struct stage_lane *lane)
{
    const uint64_t head_before = lane->head;
    if (atomic_load(&stage->stalled)) {
        return;
    }
    const uint64_t tail = lane_engine_tail(&lane->map);
    while (lane->head != tail) {
        const struct submission submission = submission_copy(&lane->map, lane->head);
        ensure(submission_bytes(submission.bytes) <= tail - lane->head);
        ensure(lane->cq_tail - lane_engine_cq_head(&lane->map) < lane->map.cq_slots);
        take(stage, lane, &submission);
        lane->head += submission_bytes(submission.bytes);
    }
    waiters_look(stage);
    claims_trim(stage, lane);
    if (lane->head != head_before) {
        lane->parked = false;
        atom_store_relaxed(&lane->map.shm->parked, 0);
    }
    if (lane->head != head_before || lane->cq_tail != lane->cq_published) {
        lane->cq_published = lane->cq_tail;
        lane_engine_publish(&lane->map, lane->head, lane->cq_tail);
        fence_full(); /* [W4] */
        const uint64_t waiting = atom_load_relaxed(&lane->map.shm->waiting);
        if (waiting != 0 && waiting <= lane->cq_tail) {
            atomic_fetch_add(&stage->rings, 1);
            (void)wake_ring(lane->socket);
        }
    } else if (atomic_load(&stage->parked) && !lane->parked) {
        lane->parked = true;
        atomic_fetch_add(&stage->parkings, 1);
        atom_store_relaxed(&lane->map.shm->parked, ++lane->parkings);
        wake_fence_engine(true); /* [W1] */
    }
    unsigned char bytes[64];
    const ssize_t got = recv(lane->socket, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0) {
        atomic_fetch_add(&stage->woken, (uint64_t)got);
    }
}

static void lane_add(struct stage *stage, int session, const union control_message *request)
{
    struct stage_lane *lane = stage->lanes;
    while (lane->open) {
        lane++;
    }
    ensure(lane < stage->lanes + STAGE_LANES);
    *lane = (struct stage_lane){.lane_id = ++stage->last_lane};
    int sockets[2];
    lane->fd = lane_create(lane->lane_id, request->lane.sq_bytes);
    ensure(lane->fd >= 0 && lane_open(&lane->map, lane->fd) == 0 && wake_pair(sockets) == 0);
    atom_store_relaxed(&lane->map.shm->parked, ++lane->parkings);
    lane->parked = true;
    atomic_fetch_add(&stage->parkings, 1);
    lane->socket = sockets[0];
    lane->open = true;
    union control_message reply;
    control_begin(&reply, CONTROL_LANE_OPENED, sizeof reply.lane, request->header.id);
    reply.lane.lane_id = lane->lane_id;
    reply.lane.sq_bytes = request->lane.sq_bytes;
    const int fds[2] = {lane->fd, sockets[1]};
    ensure(control_send(session, &reply, fds, 2) == 0);
    close(sockets[1]);
}

static void lane_drop(struct stage *stage, struct stage_lane *lane)
{
    lane_turn(stage, lane);
    for (int i = 0; i < STAGE_WAITERS; i++) {
        if (stage->waiters[i].lane == lane) {
            stage->waiters[i].pending = false;
        }
    }
    lane_close(&lane->map);
    close(lane->fd);
    close(lane->socket);
    lane->open = false;
}

static void control_answer(struct stage *stage, int session, const union control_message *request)
{
    union control_message reply;
    const uint64_t id = request->header.id;
    if (request->header.kind == CONTROL_HELLO) {
        control_begin(&reply, CONTROL_WELCOME, sizeof reply.welcome, id);
        reply.welcome.directory_bytes = stage->directory->header.bytes;
        reply.welcome.arena_bytes = stage->directory->header.arena_bytes;
        const int fds[2] = {stage->directory_share, stage->arena_share};
        ensure(control_send(session, &reply, fds, 2) == 0);
    } else if (request->header.kind == CONTROL_LANE_OPEN) {
        lane_add(stage, session, request);
    } else if (request->header.kind == CONTROL_PINS_OPEN) {
        control_begin(&reply, CONTROL_PINS_OPENED, sizeof reply.header, id);
        ensure(control_send(session, &reply, &stage->pins_fd, 1) == 0);
    } else if (request->header.kind == CONTROL_LANE_CLOSE) {
        for (struct stage_lane *lane = stage->lanes; lane < stage->lanes + STAGE_LANES; lane++) {
            if (lane->open && lane->lane_id == request->lane.lane_id) {
                lane_drop(stage, lane);
            }
        }
        control_begin(&reply, CONTROL_LANE_CLOSED, sizeof reply.lane, id);
        reply.lane.lane_id = request->lane.lane_id;
        ensure(control_send(session, &reply, NULL, 0) == 0);
    }
}

static void control_turn(struct stage *stage)
{
    const int accepted = accept4(stage->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (int i = 0; i < STAGE_SESSIONS; i++) {
        union control_message request;
        if (stage->sessions[i] < 0 && accepted >= 0) {
            stage->sessions[i] = accepted;
            break;
        }
        if (stage->sessions[i] < 0) {
            continue;
        }
        const int error = control_receive(stage->sessions[i], &request, NULL, 0);
        if (error == 0) {
            control_answer(stage, stage->sessions[i], &request);
        } else if (error != -EAGAIN) {
            close(stage->sessions[i]);
            stage->sessions[i] = -1;
        }
    }
}

static void *engine(void *arg)
{
    struct stage *stage = arg;
    for (uint64_t pass = 0; !atomic_load(&stage->stop); pass++) {
        for (int i = 0; i < STAGE_LANES; i++) {
            if (stage->lanes[i].open) {
                lane_turn(stage, &stage->lanes[i]);
            }
        }
        if (pass % 64 == 0) {
            control_turn(stage);
            sched_yield();
        }
    }
    for (int i = 0; i < STAGE_LANES; i++) {
        if (stage->lanes[i].open) {
            close(stage->lanes[i].socket);
            close(stage->lanes[i].fd);
            lane_close(&stage->lanes[i].map);
            stage->lanes[i].open = false;
        }
    }
    for (int i = 0; i < STAGE_SESSIONS; i++) {
        if (stage->sessions[i] >= 0) {
            close(stage->sessions[i]);
            stage->sessions[i] = -1;
        }
    }
    close(stage->listener);
    return NULL;
}

static void regions_make(struct stage *stage, bool each)
{
    const struct directory_geometry geometry = {.chunk_bytes = STAGE_CHUNK_BYTES,
                                                .arena_bytes = STAGE_ARENA_BYTES,
                                                .topics_max = STAGE_TOPICS};
    strcpy(stage->directory_path, "/dev/shm/tusk-stage-XXXXXX");
    ensure(mkdtemp(stage->directory_path) != NULL);
    stage->directory_fd = open(stage->directory_path, O_DIRECTORY | O_CLOEXEC);
    ensure(mapping_create(&stage->directory_map, stage->directory_fd, "directory",
                          directory_bytes(&geometry)) == 0);
    ensure(mapping_create(&stage->arena_map, stage->directory_fd, "arena", STAGE_ARENA_BYTES) == 0);
    ensure(mapping_create(&stage->pins_map, stage->directory_fd, "pins", sizeof(struct pins_shm)) ==
           0);
    stage->directory = stage->directory_map.base;
    directory_format(stage->directory, &geometry, 1, (uint64_t)getpid());
    atom_store_relaxed(&stage->directory->sync_each, each); /* nobody runs yet */
    atom_store_relaxed(&stage->directory->strict, 1);
    atom_store_relaxed(&stage->directory->persist_every, 1);
    stage->directory_share = mapping_share(stage->directory_fd, "directory");
    stage->arena_share = mapping_share(stage->directory_fd, "arena");
    stage->pins_fd = stage->pins_map.fd;
    ensure(stage->directory_share >= 0 && stage->arena_share >= 0);
}

void stage_begin(struct stage *stage, bool each)
{
    memset(stage, 0, sizeof *stage);
    regions_make(stage, each);
    for (int i = 0; i < STAGE_SESSIONS; i++) {
        stage->sessions[i] = -1;
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(stage->socket_path, sizeof stage->socket_path, "%s/socket", stage->directory_path);
    ensure(strlen(stage->socket_path) < sizeof address.sun_path);
    strcpy(address.sun_path, stage->socket_path);
    stage->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ensure(bind(stage->listener, (struct sockaddr *)&address, sizeof address) == 0);
    ensure(listen(stage->listener, 64) == 0);
    ensure(pthread_create(&stage->thread, NULL, engine, stage) == 0);
}

void stage_kill(struct stage *stage)
{
    if (!atomic_exchange(&stage->stop, true)) {
        pthread_join(stage->thread, NULL);
    }
}

void stage_end(struct stage *stage)
{
    static const char *const names[] = {"directory", "arena", "pins", "socket"};
    stage_kill(stage);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unlinkat(stage->directory_fd, names[i], 0);
    }
    rmdir(stage->directory_path);
    close(stage->directory_share);
    close(stage->arena_share);
    close(stage->directory_fd);
    mapping_close(&stage->directory_map);
    mapping_close(&stage->arena_map);
    mapping_close(&stage->pins_map);
}

void stage_set(_Atomic bool *word, bool value)
{
    atomic_store(word, value);
    const struct timespec pass = {.tv_nsec = 5 * 1000 * 1000};
    nanosleep(&pass, NULL);
}

uint32_t stage_evict(struct stage *stage, struct stage_topic *topic)
{
    uint32_t pinned = 0;
    stage_set(&stage->stalled, true);
    for (uint64_t no = 0; no < topic->chunk_count; no++) {
        pinned += !chunk_take_away(stage, topic, no);
    }
    stage_set(&stage->stalled, false);
    return pinned;
}

struct stage_topic *stage_topic(struct stage *stage, const char *name)
{
    for (int i = 0; i < STAGE_TOPICS; i++) {
        if (stage->topics[i].shm != NULL && strcmp(stage->topics[i].name, name) == 0) {
            return &stage->topics[i];
        }
    }
    return NULL;
}

void stage_delete(struct stage *stage, const char *name)
{
    topic_announce(stage_topic(stage, name)->shm, TOPIC_DELETED);
}

void stage_trim(struct stage *stage, const char *name, uint64_t first_seq)
{
    const struct stage_topic *topic = stage_topic(stage, name);
    topic_publish_first(topic->shm, topic->positions[first_seq], first_seq);
}

struct tusk *stage_connect(struct stage *stage, const struct tusk_options *options)
{
    struct tusk_options given = TUSK_OPTIONS_INIT;
    if (options != NULL) {
        given = *options;
    }
    given.socket_path = stage->socket_path;
    struct tusk *tusk = NULL;
    ensure(tusk_connect(&tusk, &given) == 0);
    return tusk;
}
