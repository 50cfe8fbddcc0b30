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

enum {
    /* Kept free before a reservation, so that its thread can still ask the broker for things: a
     * topic of the longest name, or some ten waits. */
    RESERVE_GAP_BYTES = 512,
    /* What is not used of that is closed by moving the payload up, or, since that is what a
     * reservation is to save, filled if there is more payload than this. */
    RESERVE_MOVE_BYTES = 4096,
};

/* Closes the gap before a reservation of which `size` bytes are used. */
static void reservation_close_up(struct client_lane *lane, uint64_t size)
{
    const uint64_t gap = lane->reserved_at - lane->sq_tail;
    if (size > RESERVE_MOVE_BYTES && gap >= SUBMISSION_HEADER_BYTES) {
        /* Nothing is canceled by it: no op has this tag's last index. */
        submission_write(
            lane, 0, submission_word(SUBMIT_CANCEL, SUBMIT_QUIET, gap - SUBMISSION_HEADER_BYTES), 0,
            0, UINT64_MAX);
        lane->sq_tail += gap;
        lane->own_bytes += gap;
    } else if (gap > 0 && size > 0) {
        unsigned char *place = lane_at(&lane->map, lane->sq_tail + SUBMISSION_HEADER_BYTES);
        memmove(place, place + gap, size);
    }
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
    error = submit_room_check(lane, submission_bytes(size) + RESERVE_GAP_BYTES, false);
    if (error != 0) {
        return error;
    }
    lane->reserved = topic;
    lane->reserved_at = lane->sq_tail + RESERVE_GAP_BYTES;
    lane->reserved_bytes = size;
    *buffer = (unsigned char *)lane_at(&lane->map, lane->sq_tail) + RESERVE_GAP_BYTES +
              SUBMISSION_HEADER_BYTES;
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
    reservation_close_up(lane, size);
    return submit_publish(lane, topic, SUBMIT_APPEND, size, 0, user_data);
}

void tusk_abandon(struct tusk_topic *topic)
{
    struct client_lane *lane;
    if (topic != NULL && client_lane_get(topic->tusk, &lane) == 0 && lane->reserved == topic) {
        lane->reserved = NULL;
    }
}
