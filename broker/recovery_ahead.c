/* Recovery's reading ahead: see recovery_ahead.h. */
#include "broker/recovery_ahead.h"

#include <stdlib.h>

#include "broker/recovery_replay.h"
#include "broker/segment.h"
#include "shm/ensure.h"

struct recovery_ahead *ahead_new(struct recovery_scan *scan)
{
    struct recovery_ahead *ahead = calloc(1, sizeof *ahead);
    if (ahead == NULL) {
        return NULL;
    }
    ahead->scan = scan;
    const uint64_t fit = AHEAD_BYTES_MAX / scan->chunk_bytes;
    uint32_t count =
        scan->recovery->topics_count < AHEAD_READS ? scan->recovery->topics_count : AHEAD_READS;
    count = count > fit ? (uint32_t)fit : count;
    for (; ahead->reads_count < count; ahead->reads_count++) {
        ahead->reads[ahead->reads_count].image = io_buffer_new(scan->chunk_bytes);
        if (ahead->reads[ahead->reads_count].image == NULL) {
            ahead_free(ahead);
            return NULL;
        }
    }
    return ahead;
}

static void read_await(const struct recovery_ahead *ahead, struct ahead_read *read)
{
    while (read->wanted && !read->done) {
        const int outcome = io_wait(ahead->scan->io, IO_FOREVER);
        if (outcome < 0 && !read->done) {
            read->result = outcome; /* it still has to end before its memory goes */
        }
    }
}

void ahead_free(struct recovery_ahead *ahead)
{
    if (ahead == NULL) {
        return;
    }
    for (uint32_t i = 0; i < ahead->reads_count; i++) {
        read_await(ahead, &ahead->reads[i]);
        free(ahead->reads[i].image);
    }
    free(ahead);
}

static void read_done(struct io_op *op, int result)
{
    struct ahead_read *read = op->context;
    read->done = true;
    read->result = result;
}

static void read_begin(struct recovery_ahead *ahead, uint32_t index)
{
    const struct recovery_scan *scan = ahead->scan;
    const struct recovered_topic *topic = &scan->recovery->topics[index];
    struct ahead_read *read = &ahead->reads[index % ahead->reads_count];
    ensure(!read->wanted);
    if (recovery_is_settled(scan, topic)) {
        return;
    }
    const struct record_place start = recovery_scan_start(topic);
    const uint64_t chunk_no = chunk_number(start.position, scan->chunk_bytes);
    const struct recovered_chunk *chunk = recovered_chunk_find(topic, chunk_no);
    if (chunk == NULL) {
        return;
    }
    read->wanted = true;
    read->done = false;
    read->topic = index;
    read->chunk_no = chunk_no;
    read->from = recovery_read_from(scan, topic, start.position);
    read->op = (struct io_op){
        .kind = IO_READ,
        .file = slot_file(scan->segments, chunk->slot),
        .buffer = read->image + read->from,
        .bytes = chunk_size(chunk_no, scan->chunk_bytes) - read->from,
        .offset = slot_offset(scan->segments, chunk->slot) + read->from,
        .done = read_done,
        .context = read,
    };
    io_submit(scan->io, &read->op);
}

const struct ahead_read *ahead_take(struct recovery_ahead *ahead, uint32_t topic)
{
    if (ahead->reads_count == 0) {
        return NULL;
    }
    /* The image taken before this one is not used any more. */
    const uint32_t end = topic + ahead->reads_count;
    while (ahead->next < end && ahead->next < ahead->scan->recovery->topics_count) {
        read_begin(ahead, ahead->next++);
    }
    struct ahead_read *read = &ahead->reads[topic % ahead->reads_count];
    if (!read->wanted || read->topic != topic) {
        return NULL;
    }
    io_kick(ahead->scan->io);
    read_await(ahead, read);
    read->wanted = false;
    return read;
}
