/* Submit: see submit.h. */
#include "clientlib/submit.h"

#include <errno.h>
#include <string.h>

#include "clientlib/idle.h"

int submit_room_check(struct client_lane *lane, uint64_t bytes, bool quiet)
{
    if (UNLIKELY(!quiet && !submit_slot_free(lane))) {
        lane_drain(lane); /* ends ops; the slots of appends come back by tusk_reap */
        if (!submit_slot_free(lane)) {
            lane->room_wanted = bytes;
            const int error = lane_nothing(lane);
            return error != 0 ? error : -EAGAIN;
        }
    }
    if (UNLIKELY(!lane_fits(lane, bytes + LANE_MARGIN_BYTES))) {
        lane->room_wanted = bytes;
        const int error = lane_nothing(lane);
        return error != 0 ? error : -EAGAIN;
    }
    return 0;
}

int tusk_submit(struct tusk_topic *topic, const void *data, size_t size, uint64_t user_data)
{
    if (UNLIKELY(topic == NULL || (data == NULL && size > 0))) {
        return -EINVAL;
    }
    struct client_lane *lane;
    int error = client_lane_get(topic->tusk, &lane);
    if (UNLIKELY(error != 0)) {
        return error;
    }
    if (UNLIKELY(lane->reserved != NULL)) {
        return -EBUSY;
    }
    if (UNLIKELY(size > submit_body_bytes_max(lane))) {
        return -EMSGSIZE;
    }
    error = submit_room_check(lane, submission_bytes(size), user_data == 0);
    if (UNLIKELY(error != 0)) {
        return error;
    }
    if (size > 0) {
        memcpy(lane_at(&lane->map, lane->sq_tail + SUBMISSION_HEADER_BYTES), data, size);
    }
    return submit_publish(lane, topic, SUBMIT_APPEND, size, 0, user_data);
}

int tusk_reserve(struct tusk_topic *topic, size_t size, void **buffer)
{
    if (topic == NULL || buffer == NULL) {
        return -EINVAL;
    }
    struct client_lane *lane;
    int error = client_lane_get(topic->tusk, &lane);
    if (error != 0) {
        return error;
    }
    if (lane->reserved != NULL) {
        return -EBUSY;
    }
    if (size > submit_body_bytes_max(lane)) {
        return -EMSGSIZE;
    }
    error = submit_room_check(lane, submission_bytes(size), false);
    if (error != 0) {
        return error;
    }
    lane->reserved = topic;
    lane->reserved_bytes = size;
    *buffer = lane_at(&lane->map, lane->sq_tail + SUBMISSION_HEADER_BYTES);
    return 0;
}

int tusk_commit(struct tusk_topic *topic, size_t size, uint64_t user_data)
{
    if (topic == NULL) {
        return -EINVAL;
    }
    struct client_lane *lane;
    const int error = client_lane_get(topic->tusk, &lane);
    if (error != 0) {
        return error;
    }
    if (lane->reserved != topic || size > lane->reserved_bytes) {
        return -EINVAL;
    }
    lane->reserved = NULL;
    return submit_publish(lane, topic, SUBMIT_APPEND, size, 0, user_data);
}

void tusk_abandon(struct tusk_topic *topic)
{
    struct client_lane *lane;
    if (topic != NULL && client_lane_get(topic->tusk, &lane) == 0 && lane->reserved == topic) {
        lane->reserved = NULL;
    }
}
