/* Descriptor: see descriptor.h. */
#include "clientlib/descriptor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clientlib/idle.h"
#include "clientlib/lane_op.h"
#include "clientlib/topic.h"
#include "shm/cleanup.h"

/* FNV-1a. */
static uint64_t name_hash(const char *name, size_t length)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Does the descriptor have this name? Where it has not the incarnation any more, it says nothing. */
static bool name_is(const struct topic_shm *shm, const char *name, size_t length)
{
    const bool same = shm->name_bytes == length && memcmp(shm->name, name, length) == 0;
    fence_loads(); /* before the look at the incarnation */
    return same;
}

/* One that is in use already and still names the topic, or NULL. */
static struct descriptor *descriptor_share(struct tusk *tusk, const char *name, size_t length,
                                           uint64_t hash)
{
    struct descriptor *found;
    pthread_mutex_lock(&tusk->lock);
    LIST_FOREACH(found, &tusk->descriptors, siblings)
    {
        /* Name and length stay as they are while the incarnation does. */
        if (found->hash == hash && name_is(found->shm, name, length) &&
            incarnation_check(found->shm, found->incarnation) == 0) {
            found->refs++;
            break;
        }
    }
    pthread_mutex_unlock(&tusk->lock);
    return found;
}

/* Asks the broker. */
static int descriptor_request(struct client_lane *lane, const char *name, size_t length,
                              struct descriptor *descriptor)
{
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
        .refs = 1,
    };
    return 0;
}

int descriptor_open(struct client_lane *lane, const char *name, struct descriptor **descriptor)
{
    struct tusk *tusk = lane->tusk;
    const size_t length = name != NULL ? strnlen(name, TOPIC_NAME_BYTES_MAX + 1) : 0;
    if (length == 0 || length > TOPIC_NAME_BYTES_MAX) {
        return -EINVAL;
    }
    const uint64_t hash = name_hash(name, length);
    *descriptor = descriptor_share(tusk, name, length, hash);
    if (*descriptor != NULL) {
        return 0;
    }
    cleanup_free struct descriptor *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    const int error = descriptor_request(lane, name, length, made);
    if (error != 0) {
        return error;
    }
    made->hash = hash;
    *descriptor = take_pointer(&made);
    pthread_mutex_lock(&tusk->lock);
    LIST_INSERT_HEAD(&tusk->descriptors, *descriptor, siblings);
    pthread_mutex_unlock(&tusk->lock);
    return 0;
}

void descriptor_close(struct tusk *tusk, struct client_lane *lane, struct descriptor *descriptor)
{
    pthread_mutex_lock(&tusk->lock);
    const bool last = --descriptor->refs == 0;
    if (last) {
        LIST_REMOVE(descriptor, siblings);
    }
    pthread_mutex_unlock(&tusk->lock);
    if (!last) {
        return;
    }
    const struct lane_request close = {.kind = SUBMIT_TOPIC_CLOSE, .topic_word = descriptor->word};
    if (lane != NULL &&
        lane_room_await(lane, submission_bytes(0), handle_expiry(tusk), false) == 0) {
        (void)lane_quiet_submit(lane, &close);
    }
    free(descriptor);
}
