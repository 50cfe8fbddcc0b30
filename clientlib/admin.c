/*
 * Admin: requests about a topic that the broker answers once.
 * Runs on:    the lane's thread.
 */
#include <errno.h>
#include <string.h>

#include "clientlib/client_lane.h"
#include "clientlib/descriptor.h"
#include "clientlib/lane_op.h"
#include "clientlib/topic.h"
#include "shm/retention_policy.h"
#include "shm/submission.h"

enum {
    /* Option and value of tusk_topic_set, each with its NUL; more than any name or number needs. */
    OPTION_BYTES_MAX = 256,
};

static int admin_call(struct client_lane *lane, const struct lane_request *request)
{
    struct completion_shm result;
    const int error = lane_call(lane, request, handle_expiry(lane->tusk), &result);
    return error != 0 ? error : result.error < 0 ? result.error : 0;
}

int tusk_topic_delete(struct tusk *tusk, const char *name)
{
    if (tusk == NULL) {
        return -EINVAL;
    }
    struct client_lane *lane;
    int error = client_lane_get(tusk, &lane);
    if (error != 0) {
        return error;
    }
    struct descriptor *descriptor;
    error = descriptor_open(lane, name, &descriptor);
    if (error != 0) {
        return error;
    }
    const struct lane_request request = {.kind = SUBMIT_TOPIC_DELETE,
                                         .topic_word = descriptor->word};
    error = admin_call(lane, &request);
    descriptor_close(tusk, lane, descriptor);
    return error;
}

/* The lane for a request about a topic that exists. 0, -ENOENT, -ESTALE or another error. */
static int topic_lane(const struct tusk_topic *topic, struct client_lane **lane)
{
    int error = client_lane_get(topic->tusk, lane);
    if (error == 0) {
        error = topic_check(topic);
    }
    if (error != 0) {
        return error;
    }
    return topic_state(topic->shm) == TOPIC_ABSENT ? -ENOENT : 0;
}

int tusk_topic_trim(struct tusk_topic *topic, uint64_t first_seq)
{
    if (topic == NULL) {
        return -EINVAL;
    }
    struct client_lane *lane;
    const int error = topic_lane(topic, &lane);
    if (error != 0) {
        return error;
    }
    if (first_seq > topic_published_seq(topic->shm)) {
        return -EINVAL;
    }
    const struct lane_request request = {
        .kind = SUBMIT_TOPIC_TRIM, .topic_word = topic->word, .arg = first_seq};
    return admin_call(lane, &request);
}

int topic_option_set(struct client_lane *lane, uint64_t topic_word, const char *option,
                     const char *value, uint64_t when)
{
    const size_t option_bytes = strlen(option) + 1;
    const size_t value_bytes = strlen(value) + 1;
    if (option_bytes > OPTION_BYTES_MAX || value_bytes > OPTION_BYTES_MAX) {
        return -EINVAL;
    }
    char body[2 * OPTION_BYTES_MAX];
    memcpy(body, option, option_bytes);
    memcpy(body + option_bytes, value, value_bytes);
    const struct lane_request request = {.kind = SUBMIT_TOPIC_SET,
                                         .topic_word = topic_word,
                                         .arg = when,
                                         .body = body,
                                         .body_bytes = option_bytes + value_bytes};
    return admin_call(lane, &request);
}

int tusk_topic_set(struct tusk_topic *topic, const char *option, const char *value)
{
    if (topic == NULL || option == NULL || value == NULL) {
        return -EINVAL;
    }
    struct client_lane *lane;
    const int error = topic_lane(topic, &lane);
    return error != 0 ? error : topic_option_set(lane, topic->word, option, value, TOPIC_SET_NOW);
}

/* The topic's policy, and whether it is its own. */
static int retention_ask(const struct tusk_topic *topic, struct retention_policy *policy, bool *own)
{
    struct client_lane *lane;
    int error = topic_lane(topic, &lane);
    if (error != 0) {
        return error;
    }
    const struct lane_request request = {.kind = SUBMIT_TOPIC_GET, .topic_word = topic->word};
    struct completion_shm result;
    error = lane_call(lane, &request, handle_expiry(lane->tusk), &result);
    if (error != 0 || result.error < 0) {
        return error != 0 ? error : result.error;
    }
    *policy = (struct retention_policy){.consumed = (result.error & RETENTION_TERM_CONSUMED) != 0,
                                        .bytes_max = result.value,
                                        .age_ns = result.seq};
    *own = (result.error & RETENTION_TERM_OWN) != 0;
    return 0;
}

int tusk_topic_get(struct tusk_topic *topic, const char *option, char *value, size_t size)
{
    if (topic == NULL || option == NULL || value == NULL) {
        return -EINVAL;
    }
    const bool source = strcmp(option, "retention_source") == 0;
    if (!source && strcmp(option, "retention") != 0) {
        return -EINVAL;
    }
    struct retention_policy policy;
    bool own;
    const int error = retention_ask(topic, &policy, &own);
    if (error != 0) {
        return error;
    }
    struct retention_text text;
    const char *answer = retention_policy_format(&text, &policy);
    if (source) {
        answer = own ? "topic" : "default";
    }
    const size_t length = strlen(answer);
    if (length >= size) {
        return -EMSGSIZE;
    }
    memcpy(value, answer, length + 1);
    return (int)length;
}
