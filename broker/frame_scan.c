/* Frame scan: see frame_scan.h. */
#include "broker/frame_scan.h"

#include <errno.h>
#include <string.h>

#include "broker/checksum.h"
#include "shm/ensure.h"

enum { VERIFY_PREFETCH_BYTES = 2048, CACHE_LINE_BYTES = 64 };

#define ENTRY_LEFT_UNKNOWN UINT64_MAX
/* No entry is larger, whatever is configured: sums of sizes don't wrap. */
#define ENTRY_BYTES_ANY_MAX (UINT64_C(1) << 62)

void frame_scan_init(struct frame_scan *scan, uint64_t chunk_bytes, struct record_place from,
                     const struct salt_floor *floors, uint32_t floors_count)
{
    *scan = (struct frame_scan){
        .chunk_bytes = chunk_bytes,
        .floors = floors,
        .floors_count = floors_count,
        .salt_end = UINT32_MAX,
        .position = from.position,
        .seq = from.seq,
        .whole = from,
    };
}

void frame_scan_join(struct frame_scan *scan, uint64_t chunk_bytes, uint64_t chunk_no,
                     uint64_t base_seq)
{
    const struct record_place from = {.position = chunk_first_frame(chunk_no, chunk_bytes),
                                      .seq = base_seq};
    frame_scan_init(scan, chunk_bytes, from, NULL, 0);
    scan->joining = true;
}

void frame_scan_chunk(struct frame_scan *scan, const struct frame_chunk *chunk, const void *image)
{
    scan->image = image;
    scan->chunk_no = chunk->chunk_no;
    scan->start = chunk_start(chunk->chunk_no, scan->chunk_bytes);
    scan->end = chunk_start(chunk->chunk_no + 1, scan->chunk_bytes);
    scan->seed = checksum_seed(chunk->topic_id, chunk->chunk_no, chunk->generation);
}

static uint32_t salt_least(const struct frame_scan *scan, uint64_t position)
{
    uint32_t least = scan->salt;
    for (uint32_t i = 0; i < scan->floors_count && scan->floors[i].position <= position; i++) {
        if (scan->floors[i].salt > least) {
            least = scan->floors[i].salt;
        }
    }
    return least;
}

static bool salt_fits(const struct frame_scan *scan, uint32_t salt, uint64_t position)
{
    return salt >= salt_least(scan, position) && salt < scan->salt_end;
}

static bool is_batch_marker(const struct frame_header *header)
{
    return header->flags & FRAME_PAD && header->flags & FRAME_BATCH_END;
}

static bool is_filler(const struct frame_header *header)
{
    return header->flags & FRAME_PAD && !(header->flags & FRAME_BATCH_END);
}

/* Do flags and size fit each other and the room? Then header->size bytes can be read. */
static bool header_plausible(const struct frame_header *header, uint64_t room)
{
    if (header->flags & ~(unsigned)FRAME_FLAGS_KNOWN) {
        return false;
    }
    if (header->size > room - FRAME_HEADER_BYTES) {
        return false;
    }
    if (is_batch_marker(header)) {
        return header->size == 0 && !(header->flags & (FRAME_FIRST | FRAME_LAST | FRAME_STREAM));
    }
    if (is_filler(header)) {
        return header->size == room - FRAME_HEADER_BYTES &&
               !(header->flags & (FRAME_FIRST | FRAME_LAST));
    }
    if (header->flags & FRAME_STREAM &&
        (header->flags & FRAME_BATCH_END || !(header->flags & FRAME_BATCH))) {
        return false;
    }
    return !(header->flags & FRAME_BATCH_END) ||
           (header->flags & (FRAME_BATCH | FRAME_LAST)) == (FRAME_BATCH | FRAME_LAST);
}

static uint64_t stream_total(const struct frame_header *header, const uint8_t *payload)
{
    uint64_t total;
    if (header->size < sizeof total) {
        return UINT64_MAX;
    }
    memcpy(&total, payload, sizeof total);
    return total;
}

/* Does a frame with a payload go on with the entry that is open, or begin one if none is? */
static bool fits_entry(const struct frame_scan *scan, const struct frame_view *view)
{
    const bool first = view->header.flags & FRAME_FIRST;
    const bool last = view->header.flags & FRAME_LAST;
    if (scan->in_entry) {
        const uint64_t left = scan->entry_left;
        return !first && (left == ENTRY_LEFT_UNKNOWN ||
                          (last ? view->header.size == left : view->header.size < left));
    }
    if (!first) {
        return scan->joining;
    }
    if (last) {
        return true;
    }
    const uint64_t total = stream_total(&view->header, view->payload);
    return total <= ENTRY_BYTES_ANY_MAX && view->header.size < total + FRAGMENT_TOTAL_BYTES;
}

/* Does a frame belong where it lies, given what came before it? */
static bool fits_unit(const struct frame_scan *scan, const struct frame_view *view)
{
    const bool batch = view->header.flags & FRAME_BATCH;
    if (frame_scan_open(scan) && view->header.salt != scan->salt) {
        return false;
    }
    if (is_filler(&view->header)) {
        return true;
    }
    if (scan->in_batch && !is_batch_marker(&view->header) &&
        ((view->header.flags & FRAME_STREAM) != 0) != scan->in_stream) {
        return false;
    }
    if (is_batch_marker(&view->header)) {
        return scan->joining || (scan->in_batch && !scan->in_entry);
    }
    if (!scan->joining && (scan->in_batch || scan->in_entry) && batch != scan->in_batch) {
        return false;
    }
    return fits_entry(scan, view);
}

static void view_at(const struct frame_scan *scan, uint64_t position, struct frame_view *view)
{
    const uint8_t *at = scan->image + (position - scan->start);
    memcpy(&view->header, at, sizeof view->header);
    view->payload = at + FRAME_HEADER_BYTES;
    view->position = position;
}

static bool view_intact(const struct frame_scan *scan, const struct frame_view *view)
{
    const void *at = view->payload - FRAME_HEADER_BYTES;
    return frame_intact(at, scan->seed);
}

/* Everything is complete up to `position`. */
static void scan_whole(struct frame_scan *scan)
{
    if (!frame_scan_open(scan)) {
        scan->whole = (struct record_place){.position = scan->position, .seq = scan->seq};
    }
}

static void scan_advance(struct frame_scan *scan, const struct frame_view *view)
{
    const struct frame_header *header = &view->header;
    const bool last = header->flags & FRAME_LAST;
    scan->salt = header->salt;
    scan->position = view->position + (is_filler(header) ? FRAME_HEADER_BYTES + header->size
                                                         : frame_bytes(header->size));
    if (is_filler(header)) {
        return;
    }
    scan->joining = false;
    if (is_batch_marker(header)) {
        scan->in_batch = false;
        scan_whole(scan);
        return;
    }
    if (header->flags & FRAME_FIRST && !last) {
        scan->entry_left =
            stream_total(header, view->payload) + FRAGMENT_TOTAL_BYTES - header->size;
    } else if (!scan->in_entry) {
        scan->entry_left = ENTRY_LEFT_UNKNOWN;
    } else if (scan->entry_left != ENTRY_LEFT_UNKNOWN) {
        scan->entry_left -= header->size;
    }
    scan->in_entry = !last;
    scan->in_batch = header->flags & FRAME_BATCH && !(header->flags & FRAME_BATCH_END);
    scan->in_stream = header->flags & FRAME_STREAM;
    scan->seq += last ? 1 : 0;
    scan_whole(scan);
}

enum frame_step frame_scan_next(struct frame_scan *scan, struct frame_view *view)
{
    for (;;) {
        ensure(scan->position >= scan->start + CHUNK_HEADER_BYTES && scan->position <= scan->end);
        const uint64_t room = scan->end - scan->position;
        if (room < FRAME_HEADER_BYTES) {
            scan->position = scan->end + CHUNK_HEADER_BYTES;
            scan_whole(scan);
            return FRAME_STEP_END;
        }
        view_at(scan, scan->position, view);
        if (!header_plausible(&view->header, room) || view->header.seq != scan->seq ||
            !salt_fits(scan, view->header.salt, scan->position) || !view_intact(scan, view) ||
            !fits_unit(scan, view)) {
            return FRAME_STEP_INVALID;
        }
        scan_advance(scan, view);
        if (!is_filler(&view->header)) {
            return FRAME_STEP_FRAME;
        }
    }
}

bool frame_scan_claim(const struct frame_scan *scan, struct frame_view *view)
{
    view_at(scan, scan->position, view);
    return header_plausible(&view->header, scan->end - scan->position) && view->header.flags != 0 &&
           !(view->header.flags & FRAME_PAD) && view->header.seq == scan->seq &&
           salt_fits(scan, view->header.salt, scan->position) && !view_intact(scan, view);
}

uint64_t frame_scan_gap_end(const struct frame_scan *scan)
{
    struct frame_view view;
    if (frame_scan_claim(scan, &view)) {
        return scan->position + frame_bytes(view.header.size);
    }
    const bool intact =
        header_plausible(&view.header, scan->end - scan->position) && view_intact(scan, &view);
    return scan->position + (intact ? 0 : FRAME_ALIGNMENT);
}

/* From `at` on to where something else than zeros lies, in whole steps; beyond a tail they are most of
 * a chunk, and no frame is made of them. */
static uint64_t zeros_skip(const struct frame_scan *scan, uint64_t at)
{
    enum { STEP = 16 * FRAME_ALIGNMENT };
    static const uint8_t zeros[STEP];
    const uint64_t from = at;
    while (at + STEP <= scan->end && memcmp(scan->image + (at - scan->start), zeros, STEP) == 0) {
        at += STEP;
    }
    return at == from ? at : at - FRAME_ALIGNMENT; /* a header may begin with zeros */
}

bool frame_scan_search(const struct frame_scan *scan, uint64_t from, uint64_t upto,
                       struct frame_view *view)
{
    for (uint64_t at = zeros_skip(scan, from); at < upto && at + FRAME_HEADER_BYTES <= scan->end;
         at = zeros_skip(scan, at + FRAME_ALIGNMENT)) {
        view_at(scan, at, view);
        if (header_plausible(&view->header, scan->end - at) && view->header.seq >= scan->seq &&
            salt_fits(scan, view->header.salt, at) && view_intact(scan, view)) {
            return true;
        }
    }
    return false;
}

bool frame_chunk_header_fits(const struct frame_chunk *chunk, const void *image)
{
    struct chunk_header header;
    memcpy(&header, image, sizeof header);
    return chunk_header_intact(&header) && header.topic_id == chunk->topic_id &&
           header.chunk_no == chunk->chunk_no && header.generation == chunk->generation;
}

int frame_verify_begin(struct frame_scan *scan, const void *image, uint64_t chunk_bytes,
                       const struct frame_chunk *chunk)
{
    if (!frame_chunk_header_fits(chunk, image)) {
        return -EBADMSG;
    }
    struct chunk_header header;
    memcpy(&header, image, sizeof header);
    frame_scan_join(scan, chunk_bytes, chunk->chunk_no, header.base_seq);
    frame_scan_chunk(scan, chunk, image);
    return 0;
}

/* Has the bytes up to some way behind `position` on their way to this core; *ahead is how far that has
 * got. Where a frame begins is known only when the one before has arrived, and the core does not
 * see that all of it will be read: entries of 64 and 256 bytes are verified a quarter faster so. */
static inline void bytes_expect(const struct frame_scan *scan, uint64_t *ahead)
{
    const uint64_t most = scan->position + VERIFY_PREFETCH_BYTES;
    const uint64_t end = most < scan->end ? most : scan->end;
    *ahead = *ahead < scan->position ? scan->position : *ahead;
    while (*ahead < end) {
        __builtin_prefetch(scan->image + (*ahead - scan->start));
        *ahead += CACHE_LINE_BYTES;
    }
}

int frame_verify_step(struct frame_scan *scan, uint64_t upto, uint64_t bytes)
{
    ensure(upto <= scan->end);
    const uint64_t left = upto > scan->position ? upto - scan->position : 0;
    const uint64_t pause = left > bytes ? scan->position + bytes : upto;
    enum frame_step step = FRAME_STEP_FRAME;
    uint64_t ahead = scan->position;
    while (scan->position < pause && step == FRAME_STEP_FRAME) {
        struct frame_view view;
        bytes_expect(scan, &ahead);
        step = frame_scan_next(scan, &view);
    }
    if (step == FRAME_STEP_INVALID) {
        return -EBADMSG;
    }
    if (step == FRAME_STEP_FRAME && scan->position < upto) {
        return FRAME_VERIFY_MORE;
    }
    const bool complete = upto == scan->end ? scan->position >= upto : scan->position == upto;
    return complete ? FRAME_VERIFY_DONE : -EBADMSG;
}

int frame_scan_verify(const void *image, uint64_t chunk_bytes, uint64_t topic_id, uint64_t chunk_no,
                      uint64_t generation, uint64_t upto)
{
    const struct frame_chunk chunk = {
        .topic_id = topic_id, .chunk_no = chunk_no, .generation = generation};
    struct frame_scan scan;
    const int error = frame_verify_begin(&scan, image, chunk_bytes, &chunk);
    return error != 0 ? error : frame_verify_step(&scan, upto, UINT64_MAX);
}
