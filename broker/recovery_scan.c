/* Recovery's scan: see recovery_scan.h. */
#include "broker/recovery_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/recovery_ahead.h"
#include "broker/recovery_replay.h"
#include "broker/segment.h"
#include "broker/snapshot.h"

/* What a device writes whole. */
enum { SECTOR_BYTES = 512 };

static bool is_system(const struct recovered_topic *topic)
{
    return topic->id == 0;
}

int recovery_refuse(struct recovery_scan *scan, const struct recovered_topic *topic,
                    uint64_t position, const char *what)
{
    const char *name = is_system(topic)                 ? "(the system topic)"
                       : topic->id == SNAPSHOT_TOPIC_ID ? "(its snapshot)"
                                                        : topic->name;
    const uint64_t chunk_no = chunk_number(position, scan->chunk_bytes);
    const struct recovered_chunk *chunk = recovered_chunk_find(topic, chunk_no);
    if (chunk == NULL) {
        return fault_set(scan->fault, -EBADMSG,
                         "topic \"%s\", position %" PRIu64 ": chunk %" PRIu64
                         " has no slot any more, %s: restore the store from a backup",
                         name, position, chunk_no, what);
    }
    const uint64_t offset = slot_offset(scan->segments, chunk->slot) + position -
                            chunk_start(chunk_no, scan->chunk_bytes);
    return fault_set(scan->fault, -EBADMSG,
                     "%s is damaged at offset %" PRIu64 " (topic \"%s\", position %" PRIu64
                     "): %s; restore the store from a backup",
                     slot_path(scan->segments, chunk->slot).text, offset, name, position, what);
}

bool recovery_slot_exists(const struct recovery_scan *scan, uint32_t slot, uint64_t chunk_no)
{
    const struct segment_set *segments = scan->segments;
    return segment_has_slot(segments, slot) && (chunk_no < SMALL_CHUNKS || slot % GROUP_UNITS == 0);
}

/* The system topic's chunks name their successors; those of others are known from records. */
static int successor_put(struct recovery_scan *scan, struct recovered_topic *topic,
                         const struct recovered_chunk *chunk)
{
    struct chunk_header header;
    memcpy(&header, scan->image, sizeof header);
    const struct recovered_chunk next = {.chunk_no = chunk->chunk_no + 1,
                                         .generation = header.next_generation,
                                         .slot = header.next_slot};
    if (!recovery_slot_exists(scan, next.slot, next.chunk_no)) {
        return recovery_refuse(scan, topic, chunk_start(chunk->chunk_no, scan->chunk_bytes),
                               "its successor lies in none of the segments");
    }
    if (next.generation >= scan->recovery->next_generation) {
        scan->recovery->next_generation = next.generation + 1;
    }
    const int result = recovered_chunk_put(topic, &next);
    return result == 0 ? 0 : fault_set(scan->fault, result, "no memory for the system topic");
}

/* A whole image is needed of the system topic, whose chunks name their successors, and where a trim
 * says where the log begins: what lies below may be torn. */
uint64_t recovery_read_from(const struct recovery_scan *scan, const struct recovered_topic *topic,
                            uint64_t position)
{
    if (is_system(topic) || position != topic->durable.position) {
        return 0;
    }
    const uint64_t chunk_no = chunk_number(position, scan->chunk_bytes);
    const bool begins = position == chunk_first_frame(chunk_no, scan->chunk_bytes);
    return begins ? 0
                  : align_down(position - chunk_start(chunk_no, scan->chunk_bytes), BLOCK_BYTES);
}

/* Makes a chunk's image, from an offset on, the one that is looked at. */
static int image_read(struct recovery_scan *scan, const struct recovered_chunk *chunk,
                      uint64_t from)
{
    const struct ahead_read *ahead = scan->ahead;
    const uint64_t offset = slot_offset(scan->segments, chunk->slot);
    int result;
    if (ahead != NULL && ahead->chunk_no == chunk->chunk_no && ahead->from <= from) {
        scan->image = ahead->image;
        result = ahead->result;
    } else {
        scan->image = scan->own_image;
        result = io_read_now(scan->io, slot_file(scan->segments, chunk->slot), scan->image + from,
                             chunk_size(chunk->chunk_no, scan->chunk_bytes) - from, offset + from);
    }
    return result == 0
               ? 0
               : fault_set(scan->fault, result, "%s cannot be read at offset %" PRIu64 ": %s",
                           slot_path(scan->segments, chunk->slot).text, offset, strerror(-result));
}

/* Reads a chunk's image; *fits: its header, if that is read, is this chunk's. */
static int chunk_read(struct recovery_scan *scan, struct recovered_topic *topic, uint64_t chunk_no,
                      uint64_t from, struct frame_chunk *place, bool *fits)
{
    const struct recovered_chunk chunk = *recovered_chunk_find(topic, chunk_no);
    const int result = image_read(scan, &chunk, from);
    if (result != 0) {
        return result;
    }
    *place = (struct frame_chunk){
        .topic_id = topic->id, .chunk_no = chunk_no, .generation = chunk.generation};
    *fits = from > 0 || frame_chunk_header_fits(place, scan->image);
    return *fits && is_system(topic) ? successor_put(scan, topic, &chunk) : 0;
}

/* Frames of a stream are written before anybody knows which sync will cover them. */
static bool sync_is_known(const struct frame_view *view)
{
    return !(view->header.flags & FRAME_STREAM);
}

static void note_frame(struct recovery_scan *scan, const struct frame_view *view)
{
    struct recovery *recovery = scan->recovery;
    if (!sync_is_known(view)) {
        return;
    }
    /* Frames that a scan meets are fewer than 2^15 syncs apart: MARK records see to that. */
    if (!recovery->synced || (int16_t)(view->header.sync - recovery->last_sync) > 0) {
        recovery->last_sync = view->header.sync;
    }
    recovery->synced = true;
}

static void note_time(struct recovered_topic *topic, const struct frame_view *view)
{
    if (view->header.time_ns > topic->last_time_ns) {
        topic->last_time_ns = view->header.time_ns;
    }
}

/* Before the scan: every chunk of the durable part must have its slot. */
static int durable_part_check(struct recovery_scan *scan, const struct recovered_topic *topic)
{
    const uint64_t position = topic->durable.position;
    const uint64_t last = chunk_number(position, scan->chunk_bytes);
    const bool used = position > chunk_first_frame(last, scan->chunk_bytes);
    const uint64_t end = used ? last + 1 : last;
    for (uint64_t chunk_no = topic->first_chunk; chunk_no < end; chunk_no++) {
        const uint64_t index = chunk_no - topic->first_chunk;
        if (index >= topic->chunks_count || topic->chunks[index].chunk_no != chunk_no) {
            return recovery_refuse(scan, topic, chunk_first_frame(chunk_no, scan->chunk_bytes),
                                   "although its contents were durable");
        }
    }
    return 0;
}

/* Where a walk ended. */
enum walk_end {
    WALK_UNASSIGNED = 1, /* the next chunk has no slot */
    WALK_GAP_IN_CHUNK = 2,
    WALK_GAP_AT_HEADER = 3,
    WALK_LOST_BELOW = 4, /* what lies below the start in its chunk was trimmed, and is torn */
};

/* Walks the chunk of the scan's start up to there; false: it is not whole below. */
static bool walk_below(const struct recovery_scan *scan, struct recovered_topic *topic,
                       const struct frame_chunk *place, const struct frame_scan *frames,
                       struct frame_scan *below)
{
    struct chunk_header header;
    memcpy(&header, scan->image, sizeof header);
    frame_scan_join(below, scan->chunk_bytes, place->chunk_no, header.base_seq);
    below->salt_end = scan->salt_end;
    frame_scan_chunk(below, place, scan->image);
    enum frame_step step = FRAME_STEP_FRAME;
    while (below->position < frames->position && step == FRAME_STEP_FRAME) {
        struct frame_view view;
        step = frame_scan_next(below, &view);
        if (step == FRAME_STEP_FRAME) {
            note_time(topic, &view);
        }
    }
    return below->position == frames->position && below->seq == frames->seq && !below->in_entry;
}

/* The scan begins within a chunk: what lies below must be whole where it is durable. Then the last
 * salt is known, and whether a batch goes on. 0, WALK_LOST_BELOW or -EBADMSG. */
static int verify_below(struct recovery_scan *scan, struct recovered_topic *topic,
                        const struct frame_chunk *place, bool fits, struct frame_scan *frames)
{
    const uint64_t begin = chunk_first_frame(place->chunk_no, scan->chunk_bytes);
    struct frame_scan below = {.position = begin};
    if (fits && walk_below(scan, topic, place, frames, &below)) {
        frames->salt = below.salt;
        frames->in_batch = below.in_batch;
        frames->in_stream = below.in_stream;
        return 0;
    }
    const uint64_t durable = topic->durable.position;
    if (durable <= begin || (durable < frames->position && durable <= below.position)) {
        return WALK_LOST_BELOW;
    }
    return recovery_refuse(scan, topic, below.position < durable ? below.position : durable,
                           "entries below a durable position are not as they were written");
}

/* Begins with an image: what is known from its header. False: nothing in it counts. */
static bool header_accept(struct recovered_topic *topic, const struct recovery_scan *scan,
                          uint64_t chunk_no, bool fits, const struct frame_scan *frames)
{
    struct chunk_header header;
    memcpy(&header, scan->image, sizeof header);
    const bool begins = frames->position == chunk_first_frame(chunk_no, scan->chunk_bytes);
    if (!fits || (begins && header.base_seq != frames->seq)) {
        return false;
    }
    struct recovered_chunk *chunk = recovered_chunk_find(topic, chunk_no);
    chunk->base_seq = header.base_seq;
    chunk->base_time_ns = header.base_time_ns;
    chunk->base_exact = true;
    return true;
}

/* One chunk: 0 when it is used up, else an enum walk_end or a negative errno. */
static int walk_chunk(struct recovery_scan *scan, struct recovered_topic *topic,
                      struct frame_scan *frames, recovery_frame_fn frame_fn, void *context,
                      bool *began_in_batch)
{
    const uint64_t chunk_no = chunk_number(frames->position, scan->chunk_bytes);
    const uint64_t begin = chunk_first_frame(chunk_no, scan->chunk_bytes);
    if (recovered_chunk_find(topic, chunk_no) == NULL) {
        return frames->position == begin ? WALK_UNASSIGNED
                                         : recovery_refuse(scan, topic, frames->position,
                                                           "although its log begins there");
    }
    const uint64_t from =
        frames->position > begin ? recovery_read_from(scan, topic, frames->position) : 0;
    const bool durable_below = frames->position > begin && !is_system(topic) &&
                               frames->position == topic->durable.position;
    struct frame_chunk place;
    bool fits;
    int result = chunk_read(scan, topic, chunk_no, from, &place, &fits);
    if (result == 0 && frames->position > begin && !durable_below) {
        result = verify_below(scan, topic, &place, fits, frames);
        *began_in_batch = frames->in_batch;
    }
    frame_scan_chunk(frames, &place, scan->image);
    if (result != 0) {
        return result;
    }
    if (!durable_below && !header_accept(topic, scan, chunk_no, fits, frames)) {
        return WALK_GAP_AT_HEADER;
    }
    struct frame_view view;
    enum frame_step step;
    while ((step = frame_scan_next(frames, &view)) == FRAME_STEP_FRAME) {
        note_frame(scan, &view);
        note_time(topic, &view);
        result = frame_fn == NULL ? 0 : frame_fn(context, &view);
        if (result != 0) {
            return result;
        }
    }
    return step == FRAME_STEP_END ? 0 : WALK_GAP_IN_CHUNK;
}

/* The next intact frame of the image in [from, upto) counts; returns where to go on. */
static uint64_t note_evidence(struct gap_evidence *evidence, const struct frame_view *view)
{
    const uint16_t sync = view->header.sync;
    if (!sync_is_known(view)) {
        evidence->stream = true;
    } else if (!evidence->any || (int16_t)(sync - evidence->sync) < 0) {
        evidence->sync = sync;
    }
    evidence->any |= sync_is_known(view);
    return view->position + frame_bytes(view->header.flags & FRAME_PAD ? 0 : view->header.size);
}

static void search_image(struct recovery_scan *scan, struct recovered_topic *topic,
                         const struct frame_scan *frames, uint64_t from)
{
    struct frame_view view;
    while (frame_scan_search(frames, from, frames->end, &view)) {
        note_frame(scan, &view);
        from = note_evidence(&topic->gap.behind, &view);
    }
}

/*
 * Does the gap look like the frame expected? A device writes sectors whole, so a header within one is
 * old or new: its sync number is the one that the frame was written with. What looks like frames in
 * the payload that it claims may be what a client wrote: it counts only against a claim that is
 * false, and moves no number of the store's.
 */
static void note_claim(struct recovered_gap *gap, const struct frame_scan *frames)
{
    struct frame_view view;
    if (!frame_scan_claim(frames, &view)) {
        return;
    }
    const uint64_t in_sector = (view.position - frames->start) % SECTOR_BYTES;
    gap->claimed = true;
    gap->claim_whole = in_sector <= SECTOR_BYTES - FRAME_HEADER_BYTES;
    gap->claim_sync = view.header.sync;
    gap->claim_stream = !sync_is_known(&view);
    const uint64_t upto = frame_scan_gap_end(frames);
    uint64_t from = frames->position + FRAME_ALIGNMENT;
    while (frame_scan_search(frames, from, upto, &view)) {
        from = note_evidence(&gap->hidden, &view);
    }
}

/* What lies in and behind the gap that the walk ended with. */
static int gap_examine(struct recovery_scan *scan, struct recovered_topic *topic,
                       struct frame_scan *frames, int walk_end)
{
    uint64_t from = frames->position;
    topic->gap.position = from;
    if (walk_end == WALK_GAP_IN_CHUNK) {
        note_claim(&topic->gap, frames);
        from = frame_scan_gap_end(frames);
    }
    search_image(scan, topic, frames, from);
    for (uint64_t chunk_no = frames->chunk_no + 1; recovered_chunk_find(topic, chunk_no) != NULL;
         chunk_no++) {
        struct frame_chunk place;
        bool fits;
        const int result = chunk_read(scan, topic, chunk_no, 0, &place, &fits);
        if (result != 0) {
            return result;
        }
        frame_scan_chunk(frames, &place, scan->image);
        search_image(scan, topic, frames, chunk_first_frame(chunk_no, scan->chunk_bytes));
    }
    return 0;
}

/*
 * The tail may not lie behind a part of its chunk that is torn or a batch that will never end, though
 * both were trimmed: the chunk could not be read as a whole. Then the log goes on in the next chunk.
 */
static struct record_place tail_settle(const struct recovery_scan *scan,
                                       const struct recovered_topic *topic,
                                       const struct frame_scan *frames, bool below_whole)
{
    const struct record_place start = recovery_scan_start(topic);
    if (below_whole || frames->whole.position != start.position) {
        return frames->whole;
    }
    const uint64_t chunk_no = chunk_number(start.position, scan->chunk_bytes);
    return (struct record_place){.position = chunk_first_frame(chunk_no + 1, scan->chunk_bytes),
                                 .seq = start.seq};
}

/* `walked`: the position that the walk came to. */
static void tail_found(struct recovered_topic *topic, struct record_place tail, uint64_t walked)
{
    topic->tail = tail;
    topic->changed |= topic->gap.behind.any || topic->gap.behind.stream || topic->gap.claimed ||
                      tail.position != topic->durable.position || walked != tail.position;
    if (tail.seq == topic->first.seq && !is_system(topic)) {
        topic->first = tail; /* there are no entries */
    }
    if (topic->cursor.position > tail.position) {
        topic->cursor = tail;
        topic->changed = true;
    }
    if (topic->cursor_exists && topic->cursor.position < topic->first.position) {
        topic->cursor = topic->first;
    }
}

/* Does the scan begin at a trim, with a chunk? Then that may begin with the BATCH_END of a stream whose
 * entries were all trimmed. */
static bool trimmed_to_chunk(const struct recovery_scan *scan, const struct recovered_topic *topic)
{
    const uint64_t start = recovery_scan_start(topic).position;
    const uint64_t chunk_no = chunk_number(start, scan->chunk_bytes);
    return start > topic->durable.position &&
           start == chunk_first_frame(chunk_no, scan->chunk_bytes);
}

int recovery_scan_topic(struct recovery_scan *scan, struct recovered_topic *topic,
                        recovery_frame_fn frame_fn, void *context)
{
    int result = durable_part_check(scan, topic);
    if (result != 0) {
        return result;
    }
    if (recovery_is_settled(scan, topic)) {
        tail_found(topic, topic->durable, topic->durable.position);
        return 0;
    }
    struct frame_scan frames;
    frame_scan_init(&frames, scan->chunk_bytes, recovery_scan_start(topic), topic->floors,
                    topic->floors_count);
    frames.salt_end = scan->salt_end;
    frames.joining = trimmed_to_chunk(scan, topic);
    bool began_in_batch = false;
    do {
        result = walk_chunk(scan, topic, &frames, frame_fn, context, &began_in_batch);
    } while (result == 0);
    if (result < 0) {
        return result;
    }
    const bool below_whole = result != WALK_LOST_BELOW && !began_in_batch;
    result = result == WALK_UNASSIGNED ? 0 : gap_examine(scan, topic, &frames, result);
    if (result != 0) {
        return result;
    }
    tail_found(topic, tail_settle(scan, topic, &frames, below_whole), frames.position);
    return 0;
}

static int judge(struct recovery_scan *scan, const struct recovered_topic *topic)
{
    const uint16_t last_sync = scan->recovery->last_sync;
    const struct recovered_gap *gap = &topic->gap;
    const bool claim_old =
        gap->claimed && !gap->claim_stream && (int16_t)(gap->claim_sync - last_sync) < 0;
    if (gap->behind.any && gap->behind.sync != last_sync) {
        return recovery_refuse(scan, topic, gap->position, "entries that were durable follow it");
    }
    if (claim_old && gap->hidden.any && gap->hidden.sync != last_sync) {
        return recovery_refuse(scan, topic, gap->position,
                               "entries that were durable lie where one entry claims to be");
    }
    if (claim_old && gap->claim_whole) {
        return recovery_refuse(scan, topic, gap->position,
                               "an entry that was durable does not match its checksum");
    }
    return 0;
}

/* The first chunk behind the tail. The tail's own counts too if nothing is in it and its assignment
 * says that it begins with a later seq: that would stay wrong. */
static uint64_t chunks_end(const struct recovery_scan *scan, const struct recovered_topic *topic)
{
    const uint64_t tail_chunk = chunk_number(topic->tail.position, scan->chunk_bytes);
    const struct recovered_chunk *chunk = recovered_chunk_find(topic, tail_chunk);
    const bool unused = topic->tail.position == chunk_first_frame(tail_chunk, scan->chunk_bytes);
    return chunk != NULL && unused && chunk->base_seq > topic->tail.seq ? tail_chunk
                                                                        : tail_chunk + 1;
}

int recovery_conclude(struct recovery_scan *scan, struct recovered_topic *topic)
{
    const int result = judge(scan, topic);
    if (result != 0) {
        return result;
    }
    topic->first_chunk = chunk_number(topic->first.position, scan->chunk_bytes);
    recovered_chunks_trim(topic);
    const uint64_t end = chunks_end(scan, topic);
    if (recovered_chunks_cut(topic, end)) {
        topic->void_from = end;
        topic->changed = true;
    }
    return 0;
}
