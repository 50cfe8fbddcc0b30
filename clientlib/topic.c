/* Topic: see topic.h. */
#include "clientlib/topic.h"

#include <errno.h>
#include <stdlib.h>

#include "clientlib/client_lane.h"
#include "clientlib/cursor.h"
#include "clientlib/descriptor.h"
#include "clientlib/options.h"
#include "shm/retention_policy.h"
#include "shm/submission.h"

void topic_free(struct tusk_topic *topic)
{
    topic_cursors_free(topic, NULL);
    free(topic);
}

int tusk_topic_open(struct tusk *tusk, const char *name, const struct tusk_topic_options *options,
                    struct tusk_topic **topic)
{
    struct tusk_topic_options given = TUSK_TOPIC_OPTIONS_INIT;
    struct retention_policy policy;
    if (tusk == NULL || name == NULL || topic == NULL || !OPTIONS_TAKE(&given, options) ||
        given.no_wait > 1 || given.no_create > 1 ||
        (given.retention != NULL && retention_policy_parse(given.retention, &policy) != 0)) {
        return -EINVAL;
    }
    struct client_lane *lane;
    int error = client_lane_get(tusk, &lane);
    if (error != 0) {
        return error;
    }
    struct tusk_topic *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    error = descriptor_open(lane, name, &made->descriptor);
    if (error == 0 && given.retention != NULL) {
        error = topic_option_set(lane, made->descriptor->word, "retention", given.retention,
                                 TOPIC_SET_AT_CREATION);
        if (error != 0) {
            descriptor_close(tusk, lane, made->descriptor);
        }
    }
    if (error != 0) {
        free(made);
        return error;
    }
    made->tusk = tusk;
    made->shm = made->descriptor->shm;
    made->word = made->descriptor->word;
    made->incarnation = made->descriptor->incarnation;
    made->flags =
        (given.no_wait != 0 ? SUBMIT_NO_WAIT : 0U) | (given.no_create != 0 ? SUBMIT_NO_CREATE : 0U);
    pthread_mutex_lock(&tusk->lock);
    made->serial = ++tusk->last_topic;
    LIST_INSERT_HEAD(&tusk->topics, made, siblings);
    pthread_mutex_unlock(&tusk->lock);
    *topic = made;
    return 0;
}

void tusk_topic_close(struct tusk_topic *topic)
{
    if (topic == NULL || handle_forked(topic->tusk)) {
        return;
    }
    struct tusk *tusk = topic->tusk;
    struct client_lane *lane = client_lane_peek(tusk);
    if (lane != NULL) {
        tusk_abandon(topic);
    }
    topic_cursors_close(topic, lane);
    descriptor_close(tusk, lane, topic->descriptor);
    pthread_mutex_lock(&tusk->lock);
    topic->closed = true;
    const bool last = LIST_EMPTY(&topic->readers);
    if (last) {
        LIST_REMOVE(topic, siblings);
    }
    pthread_mutex_unlock(&tusk->lock);
    if (last) {
        topic_free(topic);
    }
}
