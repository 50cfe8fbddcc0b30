/* Chunk view: see chunk_view.h. */
#include "clientlib/chunk_view.h"

#include <errno.h>

#include "clientlib/lane_op.h"
#include "shm/pins.h"
#include "shm/wake.h"

enum {
    /* An image that is reused between the broker's answer and the pin is asked for again. */
    FETCH_ATTEMPTS = 8,
    /* A chunk that is being read from disk is waited for at least so long: a caller with shorter
     * time-outs would otherwise never get it. */
    FETCH_TIMEOUT_MS = 1000,
};

/* A pin word was cleared, also one that held nothing in the end: an engine that is short of room may
 * have counted it, and sleeps until it is told (tests/model/unpin.pml). */
static void shortage_look(const struct chunk_view *view, struct client_lane *lane)
{
    wake_fence_client(lane->client_fences);                                   /* [W2] */
    if (atom_load_relaxed(&view->topic->tusk->directory->arena_short) != 0) { /* ordered by [W2] */
        (void)lane_ring(lane);
    }
}

static struct atom *stamp_of(const struct chunk_view *view, uint32_t unit)
{
    return directory_stamp(view->topic->tusk->directory, unit);
}

static void spare_add(struct chunk_view *view, struct atom *word)
{
    view->spares[view->spare_count++] = word; /* with the holds they are never more than MAX */
}

void chunk_view_spares_give(struct chunk_view *view)
{
    if (view->spare_count > 0 && !handle_forked(view->topic->tusk)) {
        pin_words_give(&view->topic->tusk->arena, view->spares, view->spare_count);
    }
    view->spare_count = 0;
}

/* Unpins; the word becomes a spare one. */
static void hold_release(struct chunk_view *view, const struct chunk_hold *hold,
                         struct client_lane *lane)
{
    struct tusk *tusk = view->topic->tusk;
    pin_word_holds_nothing(&tusk->arena, hold->pin);
    pin_release(hold->pin);
    spare_add(view, hold->pin);
    if (lane != NULL) {
        shortage_look(view, lane);
    }
}

void chunk_view_release(struct chunk_view *view, struct client_lane *lane)
{
    /* A forked child hasn't got the pins: they are its parent's. */
    for (uint32_t i = 0; i < view->count && !handle_forked(view->topic->tusk); i++) {
        hold_release(view, &view->holds[i], lane);
    }
    chunk_view_spares_give(view);
    view->count = 0;
    view->image = NULL;
    view->transient = false;
}

void chunk_view_trim(struct chunk_view *view, struct client_lane *lane)
{
    if (view->image == NULL) {
        chunk_view_release(view, lane);
        return;
    }
    for (uint32_t i = 0; i + 1 < view->count; i++) {
        hold_release(view, &view->holds[i], lane);
    }
    chunk_view_spares_give(view);
    view->holds[0] = *chunk_view_hold(view);
    view->holds[0].used = false;
    view->count = 1;
}

void chunk_view_leave(struct chunk_view *view, struct client_lane *lane)
{
    if (view->image != NULL && !chunk_view_hold(view)->used) {
        hold_release(view, chunk_view_hold(view), lane);
        view->count--;
    }
    view->image = NULL;
}

/* Is what lies in the unit the chunk that is looked for? It is pinned. */
static bool image_is(const struct chunk_view *view, uint32_t unit, uint64_t chunk_no)
{
    const struct arena *arena = &view->topic->tusk->arena;
    const uint64_t offset = (uint64_t)unit * arena->unit_bytes;
    if (!layout_inside(offset, chunk_size(chunk_no, arena->chunk_bytes), arena->bytes)) {
        return false;
    }
    const volatile struct chunk_header *header =
        (const struct chunk_header *)(const void *)(arena->images + offset);
    /* The topic's id is written once, before its first entry is published [T1]. */
    return header->magic == CHUNK_MAGIC && header->chunk_no == chunk_no &&
           header->topic_id == atom_load_relaxed(&view->topic->shm->topic_id);
}

static void view_show(struct chunk_view *view, struct chunk_hold *hold, uint64_t chunk_no)
{
    struct arena *arena = &view->topic->tusk->arena;
    hold->stamp_word = stamp_of(view, hold->unit);
    view->holds[view->count++] = *hold;
    view->transient = pin_word_transient(arena, hold->pin);
    view->image = arena->images + (uint64_t)hold->unit * arena->unit_bytes;
    view->chunk_no = chunk_no;
    view->start = chunk_start(chunk_no, arena->chunk_bytes);
    view->bytes = chunk_size(chunk_no, arena->chunk_bytes);
    pin_word_holds(arena, hold->pin, hold->unit, view->bytes / arena->unit_bytes, hold->stamp);
}

/* Pins the chunk if the topic's map names it. */
static bool mapped_take(const struct chunk_view *view, struct client_lane *lane,
                        struct chunk_hold *hold, uint64_t chunk_no)
{
    const struct directory_header_shm *header = &view->topic->tusk->directory->header;
    if (topic_chunk_unit(view->topic->shm, chunk_no, &hold->unit) == 0 ||
        hold->unit >= header->units) {
        return false;
    }
    if (pin_take(hold->pin, stamp_of(view, hold->unit), hold->unit, &hold->stamp) == 0) {
        shortage_look(view, lane);
        return false;
    }
    if (!image_is(view, hold->unit, chunk_no)) {
        pin_release(hold->pin);
        shortage_look(view, lane);
        return false;
    }
    return true;
}

/* Asks the broker for a chunk and pins it. 0 with the hold and *chunk_no; 1: it was reused in
 * between; or -errno. */
static int fetch_take(const struct chunk_view *view, struct client_lane *lane, unsigned by,
                      uint64_t arg, struct chunk_hold *hold, uint64_t *chunk_no,
                      struct expiry expiry)
{
    const struct lane_request fetch = {.kind = SUBMIT_FETCH,
                                       .flags = by,
                                       .topic_word = view->topic->word,
                                       .arg = arg,
                                       .pin = hold->pin};
    struct lane_op *op;
    int error = lane_op_submit(lane, &fetch, expiry, false, &op);
    if (error != 0) {
        return error;
    }
    error = lane_op_await(lane, op, expiry, false);
    if (error != 0) {
        lane_op_cancel(lane, op, view->topic->word);
        lane_op_drop(lane, op);
        return error;
    }
    hold->stamp = op->stamp;
    const struct completion_shm result = lane_op_take(lane, op);
    if (result.error < 0) {
        return result.error;
    }
    if (hold->stamp == 0) {
        shortage_look(view, lane);
        return 1;
    }
    hold->unit = (uint32_t)result.seq;
    *chunk_no = result.value;
    if (!image_is(view, hold->unit, *chunk_no)) {
        pin_release(hold->pin);
        shortage_look(view, lane);
        return 1;
    }
    return 0;
}

static struct atom *spare_take(struct chunk_view *view)
{
    struct atom *word;
    if (view->spare_count > 0) {
        return view->spares[--view->spare_count];
    }
    struct arena *arena = &view->topic->tusk->arena;
    if (pin_words_take(arena, &word, 1) == 1) {
        return word;
    }
    return view->count == 0 ? pin_word_transient_take(arena) : NULL;
}

/* A hold with a pin word for a chunk to come. 0, CHUNK_VIEW_FULL or an error. */
static int hold_new(struct chunk_view *view, struct client_lane *lane, struct chunk_hold *hold)
{
    struct tusk *tusk = view->topic->tusk;
    const int error = arena_open(tusk);
    if (error != 0) {
        return error;
    }
    chunk_view_leave(view, lane);
    if (view->count == CHUNK_HOLDS_MAX) {
        return CHUNK_VIEW_FULL;
    }
    *hold = (struct chunk_hold){.pin = spare_take(view)};
    if (hold->pin == NULL) {
        return view->count > 0 ? CHUNK_VIEW_FULL : -ENOMEM;
    }
    return 0;
}

int chunk_view_reserve(struct chunk_view *view, uint32_t wanted, uint32_t *chunks)
{
    const int error = arena_open(view->topic->tusk);
    if (error != 0) {
        return error;
    }
    const uint32_t limit = wanted < CHUNK_HOLDS_MAX ? wanted : CHUNK_HOLDS_MAX;
    const uint32_t have = view->count + view->spare_count;
    if (have < limit) {
        view->spare_count += pin_words_take(&view->topic->tusk->arena,
                                            view->spares + view->spare_count, limit - have);
    }
    *chunks = view->count + view->spare_count;
    if (*chunks == 0) {
        *chunks = 1; /* there will be a transient one */
    }
    return 0;
}

static int view_fetch(struct chunk_view *view, struct client_lane *lane, struct chunk_hold *hold,
                      unsigned by, uint64_t arg, struct expiry expiry)
{
    const struct expiry patient = expiry_later(expiry, expiry_in(FETCH_TIMEOUT_MS));
    for (int attempt = 0; attempt < FETCH_ATTEMPTS; attempt++) {
        uint64_t chunk_no = arg;
        if (by == SUBMIT_BY_CHUNK && mapped_take(view, lane, hold, chunk_no)) {
            view_show(view, hold, chunk_no);
            return 0;
        }
        const int outcome = fetch_take(view, lane, by, arg, hold, &chunk_no, patient);
        if (outcome == 0) {
            view_show(view, hold, chunk_no);
            return 0;
        }
        if (outcome < 0) {
            return outcome;
        }
    }
    return -ETIMEDOUT;
}

int chunk_view_find(struct chunk_view *view, struct client_lane *lane, unsigned by, uint64_t arg,
                    struct expiry expiry)
{
    struct chunk_hold hold;
    int error = hold_new(view, lane, &hold);
    if (error != 0) {
        return error;
    }
    error = view_fetch(view, lane, &hold, by, arg, expiry);
    if (error != 0) {
        spare_add(view, hold.pin);
    }
    return error;
}

int chunk_view_enter(struct chunk_view *view, struct client_lane *lane, uint64_t chunk_no,
                     struct expiry expiry)
{
    if (view->image != NULL && view->chunk_no == chunk_no) {
        return 0;
    }
    return chunk_view_find(view, lane, SUBMIT_BY_CHUNK, chunk_no, expiry);
}

int chunk_view_enter_mapped(struct chunk_view *view, struct client_lane *lane, uint64_t chunk_no)
{
    if (view->image != NULL && view->chunk_no == chunk_no) {
        return 0;
    }
    struct chunk_hold hold;
    const int error = hold_new(view, lane, &hold);
    if (error != 0) {
        return error;
    }
    if (!mapped_take(view, lane, &hold, chunk_no)) {
        spare_add(view, hold.pin);
        return CHUNK_VIEW_ABSENT;
    }
    view_show(view, &hold, chunk_no);
    return 0;
}

bool chunk_view_revoked(const struct chunk_view *view)
{
    for (uint32_t i = 0; i < view->count; i++) {
        const struct chunk_hold *hold = &view->holds[i];
        if (hold->used && !pin_intact(hold->stamp_word, hold->stamp)) {
            return true;
        }
    }
    return false;
}
