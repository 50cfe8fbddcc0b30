/* Damage: see damage.h. */
#include "broker/damage.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "broker/frame_scan.h"

static void range_mark(struct store *store, const struct chunk *chunk, uint64_t position,
                       uint64_t end, uint64_t seq)
{
    const struct frame_header mark = {
        .size = (uint32_t)(end - position - FRAME_HEADER_BYTES),
        .seq = seq,
        .flags = FRAME_DAMAGED,
    };
    memcpy(pool_at(&store->pool, chunk, position), &mark, sizeof mark);
}

static void range_tell(const struct store *store, const struct chunk *chunk, uint64_t position,
                       uint64_t end, uint64_t seq, uint64_t next_seq)
{
    const uint64_t start = chunk_start(chunk->number, store->chunk_bytes);
    log_error(store->log, "entries.damaged",
              "file=%s offset=%" PRIu64 " bytes=%" PRIu64 " topic_id=%" PRIu64 " seq=%" PRIu64
              " next_intact_seq=%" PRIu64
              " action=\"their readers get EBADMSG and may seek past them; restore a copy\"",
              slot_path(&store->segments, chunk->slot).text,
              slot_offset(&store->segments, chunk->slot) + position - start, end - position,
              chunk->topic->id, seq, next_seq);
}

/* Goes on behind the gap at scan->position, which it marks; false: nothing follows in this chunk. */
static bool gap_pass(struct store *store, const struct chunk *chunk, struct frame_scan *scan,
                     uint64_t upto, bool tell)
{
    const uint64_t gap = scan->position;
    const uint64_t gap_end = frame_scan_gap_end(scan);
    const uint64_t from = gap_end > gap + FRAME_HEADER_BYTES ? gap_end : gap + FRAME_HEADER_BYTES;
    struct frame_view next;
    const bool found = frame_scan_search(scan, from, upto, &next);
    const uint64_t end = found ? next.position : upto;
    range_mark(store, chunk, gap, end, scan->seq);
    if (tell) {
        range_tell(store, chunk, gap, end, scan->seq, found ? next.header.seq : UINT64_MAX);
    }
    if (!found) {
        return false;
    }
    const struct frame_chunk place = {
        .topic_id = chunk->topic->id, .chunk_no = chunk->number, .generation = chunk->generation};
    frame_scan_join(scan, store->chunk_bytes, chunk->number, next.header.seq);
    frame_scan_chunk(scan, &place, pool_image(&store->pool, chunk));
    scan->position = next.position;
    return true;
}

int damage_mark(struct store *store, struct chunk *chunk, uint64_t upto, bool tell)
{
    const struct frame_chunk place = {
        .topic_id = chunk->topic->id, .chunk_no = chunk->number, .generation = chunk->generation};
    const void *image = pool_image(&store->pool, chunk);
    if (!frame_chunk_header_fits(&place, image)) {
        return -EBADMSG;
    }
    struct chunk_header header;
    memcpy(&header, image, sizeof header);
    struct frame_scan scan;
    frame_scan_join(&scan, store->chunk_bytes, chunk->number, header.base_seq);
    frame_scan_chunk(&scan, &place, image);
    while (scan.position < upto) {
        struct frame_view view;
        const enum frame_step step = frame_scan_next(&scan, &view);
        if (step == FRAME_STEP_END ||
            (step == FRAME_STEP_INVALID && !gap_pass(store, chunk, &scan, upto, tell))) {
            break;
        }
    }
    return 0;
}
