/* Descriptor: see descriptor.h. */
#include "clientlib/descriptor.h"

#include <errno.h>
#include <string.h>

#include "clientlib/idle.h"
#include "clientlib/lane_op.h"

int descriptor_open(struct client_lane *lane, const char *name, struct descriptor *descriptor)
{
    const size_t length = name != NULL ? strnlen(name, TOPIC_NAME_BYTES_MAX + 1) : 0;
    if (length == 0 || length > TOPIC_NAME_BYTES_MAX) {
        return -EINVAL;
    }
    const struct lane_request open = {
        .kind = SUBMIT_TOPIC_OPEN, .body = name, .body_bytes = length};
    struct completion_shm result;
    const int error = lane_call(lane, &open, handle_expiry(lane->tusk), &result);
    if (error != 0) {
        return error;
    }
    if (result.error < 0) {
        return result.error;
    }
    if (result.value >= lane->tusk->directory->header.topics_max) {
        return -EPROTO;
    }
    const uint32_t index = (uint32_t)result.value;
    *descriptor = (struct descriptor){
        .shm = directory_topic(lane->tusk->directory, index),
        .incarnation = result.seq,
        .word = index | result.seq << 32,
    };
    return 0;
}

void descriptor_close(struct client_lane *lane, uint64_t word)
{
    const struct lane_request close = {.kind = SUBMIT_TOPIC_CLOSE, .topic_word = word};
    if (lane->reserved == NULL &&
        lane_room_await(lane, submission_bytes(0), handle_expiry(lane->tusk), false) == 0) {
        (void)lane_quiet_submit(lane, &close);
    }
}
