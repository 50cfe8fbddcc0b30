/* Store stream: see store_stream.h. */
#include "tests/unit/store_stream.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

void stage_stream_open(struct stage_stream *stream, struct stage_lane *lane,
                       struct stage_topic topic, const uint32_t *sizes, uint32_t count,
                       uint64_t stamp)
{
    struct stream_open_shm open = {.entries = count};
    for (uint32_t i = 0; i < count; i++) {
        open.bytes += sizes[i];
        open.body_bytes += batch_item_bytes(sizes[i]);
        open.entry_bytes_max = sizes[i] > open.entry_bytes_max ? sizes[i] : open.entry_bytes_max;
    }
    free(stream->body);
    *stream = (struct stage_stream){
        .lane = lane, .topic = topic, .body = calloc(1, open.body_bytes), .bytes = open.body_bytes};
    cr_assert_not_null(stream->body);
    unsigned char *at = stream->body;
    for (uint32_t i = 0; i < count; i++) {
        const struct batch_item_shm item = {.bytes = sizes[i]};
        memcpy(at, &item, sizeof item);
        stage_fill(at + sizeof item, sizes[i], stamp + i);
        at += batch_item_bytes(sizes[i]);
    }
    const struct stage_request request = {
        .kind = SUBMIT_STREAM_OPEN, .topic = topic, .body = &open, .bytes = sizeof open};
    stream->ask = stage_submit(lane, &request);
}

bool stage_stream_send(struct stage_stream *stream, uint64_t bytes_max)
{
    const uint64_t left = stream->bytes - stream->sent;
    uint64_t bytes = left < bytes_max ? left : bytes_max;
    bytes = bytes < UNIT_BYTES_MAX ? bytes : UNIT_BYTES_MAX;
    if (bytes == 0 || !stage_lane_has_room(stream->lane, bytes)) {
        return false;
    }
    const struct stage_request request = {.kind = SUBMIT_STREAM_DATA,
                                          .topic = stream->topic,
                                          .body = stream->body + stream->sent,
                                          .bytes = (uint32_t)bytes};
    (void)stage_submit(stream->lane, &request);
    stream->sent += bytes;
    return true;
}

void stage_stream_free(struct stage_stream *stream)
{
    free(stream->body);
    *stream = (struct stage_stream){0};
}
