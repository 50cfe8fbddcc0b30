/* Unit: see unit.h. */
#include "broker/unit.h"

#include <errno.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/fetch.h"
#include "broker/pending.h"
#include "shm/ensure.h"

enum placement_kind {
    PLACE_WHOLE,    /* one frame */
    PLACE_FRAGMENT, /* a frame with `bytes` of the entry's stream */
    PLACE_PAD,      /* a PAD to the end of the chunk */
    PLACE_SKIP,     /* too little room even for that */
};

struct placement {
    enum placement_kind kind;
    uint64_t bytes;
};

/*
 * What comes next in the log for an entry of `size` bytes of which `left` bytes of its stream (total
 * size and payload) are still to be placed; left is 0 before the first fragment.
 */
static struct placement placement_next(uint64_t room, uint64_t size, uint64_t left,
                                       uint64_t chunk_bytes)
{
    if (left == 0 && frame_bytes(size) <= room) {
        return (struct placement){.kind = PLACE_WHOLE, .bytes = size};
    }
    if (room < FRAME_HEADER_BYTES) {
        return (struct placement){.kind = PLACE_SKIP};
    }
    if (room < FRAGMENT_ROOM_MIN || (left == 0 && !frame_fragments(size, chunk_bytes))) {
        return (struct placement){.kind = PLACE_PAD, .bytes = room - FRAME_HEADER_BYTES};
    }
    const uint64_t stream = left == 0 ? FRAGMENT_TOTAL_BYTES + size : left;
    const uint64_t most = room - FRAME_HEADER_BYTES;
    return (struct placement){.kind = PLACE_FRAGMENT, .bytes = stream < most ? stream : most};
}

/* Where a unit being prepared has got to. */
struct rehearsal {
    struct store *store;
    struct topic *topic;
    uint64_t chunk_no;
    uint64_t room;
    bool dry; /* only counts: makes no chunks */
};

int unit_chunk_prepare(struct store *store, struct topic *topic, uint64_t chunk_no, uint64_t seq)
{
    struct chunk *chunk = topic_chunk(topic, chunk_no);
    if (chunk == NULL) {
        return store_chunk_add(store, topic, seq);
    }
    if (chunk->state != CHUNK_RESIDENT) {
        return chunk->started ? fetch_begin(store, chunk, POOL_APPEND)
                              : store_chunk_revive(store, chunk);
    }
    pool_settle(&store->pool, chunk, false);
    return STORE_READY;
}

/* Goes to the start of chunk `chunk_no`, which it makes if the topic has none yet. */
static int rehearse_chunk(struct rehearsal *at, uint64_t chunk_no)
{
    const uint64_t chunk_bytes = at->store->chunk_bytes;
    const int outcome =
        at->dry ? STORE_READY
                : unit_chunk_prepare(at->store, at->topic, chunk_no, at->topic->next_seq);
    if (outcome != STORE_READY) {
        return outcome;
    }
    at->chunk_no = chunk_no;
    at->room = chunk_size(chunk_no, chunk_bytes) - CHUNK_HEADER_BYTES;
    return STORE_READY;
}

/* An entry that needs more than the current chunk. */
static int rehearse_split(struct rehearsal *at, uint64_t size)
{
    uint64_t left = 0;
    for (;;) {
        const uint64_t chunk_bytes = chunk_size(at->chunk_no, at->store->chunk_bytes);
        const struct placement next = placement_next(at->room, size, left, chunk_bytes);
        if (next.kind == PLACE_WHOLE) {
            at->room -= frame_bytes(next.bytes);
            return STORE_READY;
        }
        if (next.kind == PLACE_FRAGMENT) {
            left = (left == 0 ? FRAGMENT_TOTAL_BYTES + size : left) - next.bytes;
            at->room -= frame_bytes(next.bytes);
            if (left == 0) {
                return STORE_READY;
            }
        }
        const int outcome = rehearse_chunk(at, at->chunk_no + 1);
        if (outcome != STORE_READY) {
            return outcome;
        }
    }
}

/* As unit_place() does. */
static inline int rehearse_entry(struct rehearsal *at, uint64_t size)
{
    const uint64_t bytes = frame_bytes(size);
    if (__builtin_expect(bytes <= at->room, 1)) {
        at->room -= bytes;
        return STORE_READY;
    }
    return rehearse_split(at, size);
}

/* The tail's chunk is there, in the arena, and stays until the unit is placed. */
static int tail_prepare(struct rehearsal *at)
{
    const uint64_t chunk_bytes = at->store->chunk_bytes;
    const uint64_t chunk_no = chunk_number(at->topic->tail_position, chunk_bytes);
    struct chunk *chunk = topic_chunk(at->topic, chunk_no);
    if (chunk == NULL || !chunk->started) {
        return rehearse_chunk(at, chunk_no);
    }
    if (chunk->state != CHUNK_RESIDENT) {
        return fetch_begin(at->store, chunk, POOL_APPEND);
    }
    pool_promote(&at->store->pool, chunk);
    pool_settle(&at->store->pool, chunk, false);
    at->chunk_no = chunk_no;
    at->room = chunk_start(chunk_no + 1, chunk_bytes) - at->topic->tail_position;
    return STORE_READY;
}

/* Could the arena ever hold all chunks of these entries at once, with room for others? Else who waits
 * for room would wait for ever. */
static bool unit_is_possible(const struct rehearsal *from, const uint64_t *sizes, uint64_t count)
{
    const uint64_t chunk_bytes = from->store->chunk_bytes;
    const uint64_t bytes_max = from->store->pool.bigs / 2 * chunk_bytes;
    struct rehearsal at = *from;
    at.dry = true;
    for (uint64_t i = 0; i < count; i++) {
        (void)rehearse_entry(&at, sizes[i]);
        const uint64_t end = chunk_start(at.chunk_no + 1, chunk_bytes);
        if (end - chunk_start(from->chunk_no, chunk_bytes) > bytes_max) {
            return false;
        }
    }
    return true;
}

int unit_prepare(struct store *store, struct topic *topic, const uint64_t *sizes, uint64_t count)
{
    struct rehearsal at = {.store = store, .topic = topic};
    int outcome = tail_prepare(&at);
    bool possible = false;
    for (uint64_t i = 0; i < count && outcome == STORE_READY; i++) {
        if (!possible && frame_bytes(sizes[i]) > at.room) {
            possible = unit_is_possible(&at, sizes + i, count - i);
            outcome = possible ? STORE_READY : -EMSGSIZE;
        }
        if (outcome == STORE_READY) {
            outcome = rehearse_entry(&at, sizes[i]);
        }
    }
    if (outcome != STORE_READY) {
        flush_settle_end(store, topic);
    }
    return outcome;
}

/*
 * Asking the processor for the lines of the arena that are written soon. The arena is so large that
 * each of them comes from far away, and by itself the processor asks for few at a time and for none
 * in another page of 4 KiB, so that a frame's stores would wait for those of the frame before.
 */
static const unsigned char *ahead_end(const struct unit *unit)
{
    enum { AHEAD_BYTES = 2048 };
    return unit->at + (unit->room < AHEAD_BYTES ? unit->room : AHEAD_BYTES);
}

static inline void ahead_ask(struct unit *unit)
{
    enum { CACHE_LINE_BYTES = 64, FOR_WRITING = 1, SECOND_CACHE = 2 };
    const unsigned char *end = ahead_end(unit);
    if (unit->asked < unit->at) {
        unit->asked = unit->at; /* the frame was larger */
    }
    for (; unit->asked < end; unit->asked += CACHE_LINE_BYTES) {
        __builtin_prefetch(unit->asked, FOR_WRITING, SECOND_CACHE);
    }
}

static void unit_enter(struct unit *unit, struct chunk *chunk)
{
    ensure(chunk != NULL && chunk->state == CHUNK_RESIDENT);
    unit->chunk = chunk;
    if (chunk->started) {
        return;
    }
    chunk->started = true;
    chunk->base_seq = unit->seq;
    chunk->base_time_ns = unit->time_ns;
    chunk->base_exact = true;
    struct chunk_header *header = (struct chunk_header *)pool_image(&unit->store->pool, chunk);
    header->base_seq = unit->seq;
    header->base_time_ns = unit->time_ns;
    chunk_header_seal(header);
}

static uint64_t sync_salt(const struct store *store, uint32_t salt, uint16_t flags)
{
    return flags | (store->flush.next_sync & UINT16_MAX) << 16 | (uint64_t)salt << 32;
}

void unit_begin(struct unit *unit, struct store *store, struct topic *topic)
{
    const uint64_t chunk_no = chunk_number(topic->tail_position, store->chunk_bytes);
    *unit = (struct unit){
        .store = store,
        .topic = topic,
        .position = topic->tail_position,
        .room = chunk_start(chunk_no + 1, store->chunk_bytes) - topic->tail_position,
        .seq = topic->next_seq,
        .first_seq = topic->next_seq,
        .time_ns = store->time_ns > topic->last_time_ns ? store->time_ns : topic->last_time_ns,
        .sync_salt = sync_salt(store, store->numbers.salt, 0),
    };
    unit_enter(unit, topic_chunk(topic, chunk_no));
    unit->at = pool_at(&store->pool, unit->chunk, unit->position);
    unit->unsealed = unit->at;
    unit->asked = ahead_end(unit); /* by the unit before */
}

void unit_turn(struct unit *unit, uint32_t salt, uint16_t flags)
{
    const struct store *store = unit->store;
    unit->sync_salt = sync_salt(store, salt, flags);
    unit->time_ns = store->time_ns > unit->time_ns ? store->time_ns : unit->time_ns;
}

void unit_seal(struct unit *unit)
{
    while (unit->unsealed < unit->at) {
        struct frame_header *frame = (struct frame_header *)unit->unsealed;
        frame_seal_seeded(frame);
        unit->unsealed += frame_bytes(frame->size);
    }
}

void unit_next_chunk(struct unit *unit)
{
    unit_seal(unit);
    const uint64_t chunk_no = unit->chunk->number + 1;
    flush_mark_full(unit->store, unit->chunk);
    unit->position = chunk_first_frame(chunk_no, unit->store->chunk_bytes);
    unit->room = chunk_size(chunk_no, unit->store->chunk_bytes) - CHUNK_HEADER_BYTES;
    unit_enter(unit, topic_chunk(unit->topic, chunk_no));
    unit->at = pool_at(&unit->store->pool, unit->chunk, unit->position);
    unit->unsealed = unit->at;
    unit->asked = unit->at;
    ahead_ask(unit);
}

/* Frames lie on its alignment. */
typedef uint64_t half __attribute__((vector_size(16)));

/* Writes a header whose checksum field holds the seed until it is sealed, as two whole vectors. */
static struct frame_header *frame_start(const struct unit *unit, uint64_t size, uint16_t flags)
{
    half *to = (half *)unit->at;
    to[0] = (half){(uint32_t)size | (uint64_t)unit->chunk->seed << 32, unit->seq};
    to[1] = (half){unit->time_ns, flags | unit->sync_salt};
    return (struct frame_header *)unit->at;
}

/*
 * Moves on behind a frame whose payload is in place. Its checksum follows some frames later: computed
 * at once it would load what has just been stored in other pieces, and so wait for each store to
 * leave the core (4 times the time for 256 bytes).
 */
static void frame_finish(struct unit *unit, uint64_t bytes)
{
    enum { UNSEALED_BYTES_MAX = 16 * 1024 };
    unit->at += bytes;
    unit->position += bytes;
    unit->room -= bytes;
    ahead_ask(unit);
    if (unit->at - unit->unsealed >= UNSEALED_BYTES_MAX) {
        unit_seal(unit);
    }
}

/* The bytes between a payload's end and the next frame are zero: nothing of what the unit held before
 * goes to the disk. They lie in the frame's last vector, which is cleared before the rest is
 * written. */
static void frame_clear_end(const struct unit *unit, uint64_t bytes)
{
    *(half *)(unit->at + bytes - sizeof(half)) = (half){0, 0};
}

void unit_place_whole(struct unit *unit, const void *payload, uint64_t size, uint16_t flags)
{
    const uint64_t bytes = frame_bytes(size);
    frame_clear_end(unit, bytes);
    struct frame_header *frame = frame_start(unit, size, flags | FRAME_FIRST | FRAME_LAST);
    memcpy(frame + 1, payload, size);
    frame_finish(unit, bytes);
}

static void place_pad(struct unit *unit, uint64_t size)
{
    struct frame_header *frame = frame_start(unit, size, FRAME_PAD);
    memset(frame + 1, 0, size);
    frame_finish(unit, FRAME_HEADER_BYTES + size);
}

/* Ends the current chunk: a PAD, or zeroes where there is too little room for one. */
static void place_end(struct unit *unit, struct placement last)
{
    if (last.kind == PLACE_PAD) {
        place_pad(unit, last.bytes);
    } else {
        memset(unit->at, 0, unit->room);
    }
}

/* Copies [from, from + count) of the stream "total size, payload" of an entry. */
static void stream_copy(unsigned char *to, const unsigned char *payload, uint64_t size,
                        uint64_t from, uint64_t count)
{
    if (from == 0) {
        memcpy(to, &size, FRAGMENT_TOTAL_BYTES);
        memcpy(to + FRAGMENT_TOTAL_BYTES, payload, count - FRAGMENT_TOTAL_BYTES);
    } else {
        memcpy(to, payload + from - FRAGMENT_TOTAL_BYTES, count);
    }
}

static void place_fragment(struct unit *unit, const void *payload, uint64_t size, uint64_t left,
                           uint64_t count, uint16_t batch)
{
    const uint64_t stream = FRAGMENT_TOTAL_BYTES + size;
    const uint64_t from = stream - left;
    const bool last = count == left;
    uint16_t flags = (uint16_t)((from == 0 ? FRAME_FIRST : 0) | (last ? FRAME_LAST : 0));
    flags |= (uint16_t)(last ? batch : batch & ~FRAME_BATCH_END);
    const uint64_t bytes = frame_bytes(count);
    frame_clear_end(unit, bytes);
    struct frame_header *frame = frame_start(unit, count, flags);
    stream_copy((unsigned char *)(frame + 1), payload, size, from, count);
    frame_finish(unit, bytes);
}

void unit_place_split(struct unit *unit, const void *payload, uint64_t size, uint16_t flags)
{
    uint64_t left = 0;
    for (;;) {
        const uint64_t chunk_bytes = chunk_size(unit->chunk->number, unit->store->chunk_bytes);
        const struct placement next = placement_next(unit->room, size, left, chunk_bytes);
        switch (next.kind) {
        case PLACE_WHOLE:
            unit_place_whole(unit, payload, size, flags);
            return;
        case PLACE_FRAGMENT:
            left = left == 0 ? FRAGMENT_TOTAL_BYTES + size : left;
            place_fragment(unit, payload, size, left, next.bytes, flags);
            left -= next.bytes;
            if (left == 0) {
                return;
            }
            break;
        case PLACE_PAD:
        case PLACE_SKIP:
            place_end(unit, next);
            break;
        }
        unit_next_chunk(unit);
    }
}

enum unit_piece unit_piece_begin(struct unit *unit, struct piece *piece, uint16_t flags)
{
    const uint64_t chunk_bytes = chunk_size(unit->chunk->number, unit->store->chunk_bytes);
    const struct placement next = placement_next(unit->room, piece->size, piece->left, chunk_bytes);
    if (next.kind == PLACE_PAD || next.kind == PLACE_SKIP) {
        place_end(unit, next);
        return UNIT_PIECE_CHUNK;
    }
    const bool fragment = next.kind == PLACE_FRAGMENT;
    const bool first = piece->left == 0;
    piece->bytes = next.bytes;
    piece->filled = 0;
    if (fragment && first) {
        piece->left = FRAGMENT_TOTAL_BYTES + piece->size;
    }
    piece->last = !fragment || piece->left == next.bytes;
    flags |= (uint16_t)((first ? FRAME_FIRST : 0) | (piece->last ? FRAME_LAST : 0));
    frame_clear_end(unit, frame_bytes(next.bytes));
    struct frame_header *frame = frame_start(unit, next.bytes, flags);
    if (fragment && first) {
        memcpy(frame + 1, &piece->size, FRAGMENT_TOTAL_BYTES);
        piece->filled = FRAGMENT_TOTAL_BYTES;
    }
    return UNIT_PIECE_FRAME;
}

void unit_piece_fill(const struct unit *unit, struct piece *piece, const void *bytes,
                     uint64_t count)
{
    ensure(count <= piece->bytes - piece->filled);
    memcpy(unit->at + FRAME_HEADER_BYTES + piece->filled, bytes, count);
    piece->filled += count;
}

bool unit_piece_finish(struct unit *unit, struct piece *piece)
{
    ensure(piece->filled == piece->bytes);
    frame_finish(unit, frame_bytes(piece->bytes));
    if (!piece->last) {
        piece->left -= piece->bytes;
        return false;
    }
    *piece = (struct piece){0};
    unit->seq++;
    return true;
}

bool unit_place_marker(struct unit *unit)
{
    if (unit->room < FRAME_HEADER_BYTES) {
        memset(unit->at, 0, unit->room);
        return false;
    }
    (void)frame_start(unit, 0, FRAME_PAD | FRAME_BATCH | FRAME_BATCH_END);
    frame_finish(unit, FRAME_HEADER_BYTES);
    return true;
}

uint64_t unit_end(struct unit *unit)
{
    unit_seal(unit);
    unit->tail = frame_settle(unit->position, unit->chunk->number, unit->store->chunk_bytes);
    if (unit->tail != unit->position) {
        memset(unit->at, 0, unit->room);
        flush_mark_full(unit->store, unit->chunk);
    }
    return unit->tail;
}

void unit_publish(struct unit *unit)
{
    struct topic *topic = unit->topic;
    topic->tail_position = unit->tail;
    topic->next_seq = unit->seq;
    topic->last_time_ns = unit->time_ns;
    topic_publish(topic->shm, topic->tail_position, topic->next_seq);
    flush_mark_dirty(unit->store, topic);
    store_topic_moved(unit->store, topic);
}
