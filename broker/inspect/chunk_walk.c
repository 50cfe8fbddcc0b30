/* Chunk walk: see chunk_walk.h. */
#include "broker/inspect/chunk_walk.h"

#include <string.h>

#include "broker/recovery.h"

/* One walk. */
struct walker {
    const struct chunk_walk *walk;
    const struct recovered_topic *topic;
    struct frame_chunk place;
    const uint8_t *image;
    uint64_t start;
    uint64_t end;
    uint64_t first; /* what lies before is trimmed */
    uint64_t upto;  /* the log's part of the chunk ends here */
    uint64_t told;  /* bytes_fn has heard of what is before */
    struct frame_scan scan;
    struct chunk_walked *walked;
};

bool bytes_zero(const void *bytes, uint64_t count)
{
    const uint8_t *at = bytes;
    return count == 0 || (at[0] == 0 && memcmp(at, at + 1, count - 1) == 0);
}

static void tell(struct walker *walker, enum byte_class what, uint64_t position, uint64_t bytes)
{
    walker->told = position + bytes;
    if (walker->walk->bytes_fn != NULL && bytes != 0) {
        walker->walk->bytes_fn(walker->walk->context, what, position - walker->start, bytes);
    }
}

static void join_at(struct walker *walker, uint64_t position, uint64_t seq)
{
    struct frame_scan *scan = &walker->scan;
    frame_scan_join(scan, walker->walk->chunk_bytes, walker->place.chunk_no, seq);
    frame_scan_chunk(scan, &walker->place, walker->image);
    scan->floors = walker->topic->floors;
    scan->floors_count = walker->topic->floors_count;
    scan->salt_end = walker->walk->salt_end;
    scan->position = position;
}

static void frame_tell(struct walker *walker, const struct frame_view *view)
{
    const uint64_t bytes = frame_bytes(view->header.size);
    if (view->position < walker->first) {
        tell(walker, BYTES_TRIMMED, view->position, bytes);
        return;
    }
    const uint64_t payload = view->position + FRAME_HEADER_BYTES;
    tell(walker, BYTES_FRAME_HEADER, view->position, FRAME_HEADER_BYTES);
    tell(walker, BYTES_PAYLOAD, payload, view->header.size);
    tell(walker, BYTES_ALIGNMENT, payload + view->header.size,
         bytes - FRAME_HEADER_BYTES - view->header.size);
}

/* The chunk's end, from `position` on, that no entry uses. */
static void end_tell(struct walker *walker, uint64_t position)
{
    const uint64_t room = walker->end - position;
    const uint64_t header = room >= FRAME_HEADER_BYTES ? FRAME_HEADER_BYTES : 0;
    tell(walker, BYTES_FRAME_HEADER, position, header);
    tell(walker, BYTES_PAD, position + header, room - header);
}

static int gap_tell(struct walker *walker, const struct chunk_gap *gap)
{
    const uint64_t first = walker->first;
    const uint64_t kept = gap->position > first ? gap->position
                          : first < gap->end    ? first
                                                : gap->end;
    tell(walker, BYTES_TRIMMED, gap->position, kept - gap->position);
    tell(walker, BYTES_DAMAGED, kept, gap->end - kept);
    if (kept == gap->end || walker->walk->gap_fn == NULL) {
        return 0;
    }
    struct chunk_gap told = *gap;
    told.position = kept;
    told.seq = gap->position < first ? walker->topic->first.seq : gap->seq;
    if (told.seq_end_known && told.seq_end < told.seq) {
        told.seq_end = told.seq;
    }
    return walker->walk->gap_fn(walker->walk->context, &told);
}

/* Goes on behind the gap at scan.position: with the next intact frame, or not at all. */
static int gap_pass(struct walker *walker, uint64_t from)
{
    struct frame_scan *scan = &walker->scan;
    struct chunk_gap gap = {.position = scan->position, .seq = scan->seq, .end = walker->upto};
    struct frame_view next;
    if (frame_scan_search(scan, from, walker->upto, &next)) {
        const bool begins = next.header.flags & (FRAME_FIRST | FRAME_PAD);
        gap.end = next.position;
        gap.seq_end = next.header.seq + (begins ? 0 : 1);
        gap.seq_end_known = true;
        join_at(walker, next.position, next.header.seq);
    } else {
        scan->position = walker->upto;
    }
    return gap_tell(walker, &gap);
}

static int frames_walk(struct walker *walker)
{
    struct frame_scan *scan = &walker->scan;
    int result = 0;
    while (scan->position < walker->upto && result == 0) {
        const uint64_t before = scan->position;
        struct frame_view view;
        switch (frame_scan_next(scan, &view)) {
        case FRAME_STEP_FRAME:
            frame_tell(walker, &view);
            walker->walked->position = scan->position;
            if (walker->walk->frame_fn != NULL && view.position >= walker->topic->first.position) {
                result = walker->walk->frame_fn(walker->walk->context, &view);
            }
            break;
        case FRAME_STEP_END:
            end_tell(walker, before);
            walker->walked->position = walker->end;
            break;
        case FRAME_STEP_INVALID:
            result = gap_pass(walker, frame_scan_gap_end(scan));
            break;
        }
    }
    return result;
}

/* The chunk has its own header or not: where the walk begins. */
static int begin(struct walker *walker, uint64_t base_seq)
{
    struct chunk_header header;
    memcpy(&header, walker->image, sizeof header);
    const bool fits = frame_chunk_header_fits(&walker->place, walker->image);
    const uint64_t first = walker->start + CHUNK_HEADER_BYTES;
    walker->walked->header_fits = fits;
    walker->walked->seq_first = fits ? header.base_seq : base_seq;
    walker->walked->position = first;
    tell(walker, fits ? BYTES_CHUNK_HEADER : BYTES_DAMAGED, walker->start, CHUNK_HEADER_BYTES);
    join_at(walker, first, walker->walked->seq_first);
    if (fits) {
        return 0;
    }
    struct frame_view view;
    if (frame_scan_search(&walker->scan, first, walker->upto, &view) && view.position == first) {
        walker->walked->seq_first = view.header.seq;
        join_at(walker, first, view.header.seq);
        return 0;
    }
    return gap_pass(walker, first);
}

/* From the tail on; a frame that reaches over it is told already. */
static void behind_tell(struct walker *walker)
{
    const uint64_t from = walker->told;
    uint64_t written = walker->end;
    while (written > from && walker->image[written - walker->start - 1] == 0) {
        written--;
    }
    tell(walker, BYTES_BEHIND_TAIL, from, written - from);
    tell(walker, BYTES_REST, written, walker->end - written);
}

int chunk_walk(const struct chunk_walk *walk, const struct recovered_topic *topic,
               const struct recovered_chunk *chunk, const void *image, struct chunk_walked *walked)
{
    const uint64_t tail = topic->tail.position;
    struct walker walker = {
        .walk = walk,
        .topic = topic,
        .place = {.topic_id = topic->id,
                  .chunk_no = chunk->chunk_no,
                  .generation = chunk->generation},
        .image = image,
        .start = chunk_start(chunk->chunk_no, walk->chunk_bytes),
        .end = chunk_start(chunk->chunk_no + 1, walk->chunk_bytes),
        /* A start verifies the system topic from the beginning of its chunk. */
        .first = topic->id == 0 ? 0 : topic->first.position,
        .walked = walked,
    };
    *walked = (struct chunk_walked){.header_fits = true,
                                    .seq_first = topic->tail.seq,
                                    .seq_end = topic->tail.seq,
                                    .position = walker.start};
    walker.upto = tail < walker.end ? tail : walker.end;
    if (tail <= walker.start + CHUNK_HEADER_BYTES) {
        const bool zero = bytes_zero(image, walker.end - walker.start);
        tell(&walker, zero ? BYTES_RESERVED : BYTES_BEHIND_TAIL, walker.start,
             walker.end - walker.start);
        return 0;
    }
    int result = begin(&walker, chunk->base_seq);
    if (result == 0) {
        result = frames_walk(&walker);
    }
    behind_tell(&walker);
    walked->seq_end = walker.scan.seq;
    walked->open = walker.scan.in_entry;
    return result;
}
