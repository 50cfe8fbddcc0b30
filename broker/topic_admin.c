/* Topic admin: see topic_admin.h. */
#include "broker/topic_admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/pending.h"
#include "broker/retention.h"

enum { OPTION_BYTES_MAX = 1024 };

/* What a client has open, and how often. */
struct topic_ref {
    struct list_node refs;  /* in client.topic_refs */
    struct topic_ref *next; /* in its bucket */
    struct topic *topic;
    uint32_t count;
};

enum { REF_BUCKETS_MIN = 16 };

/* The link that leads to the topic's reference, or to where it belongs. There are buckets. */
static struct topic_ref **ref_link(const struct client *client, const struct topic *topic)
{
    struct topic_ref **link =
        &client->topic_buckets[topic->index & (client->topic_bucket_count - 1)];
    while (*link != NULL && (*link)->topic != topic) {
        link = &(*link)->next;
    }
    return link;
}

static struct topic_ref *ref_find(const struct client *client, const struct topic *topic)
{
    return client->topic_bucket_count == 0 ? NULL : *ref_link(client, topic);
}

/* Descriptors are numbered densely, so about as many buckets as references make short chains. */
static int ref_buckets_grow(struct client *client)
{
    if (client->topic_ref_count < client->topic_bucket_count) {
        return 0;
    }
    const uint32_t count =
        client->topic_bucket_count == 0 ? REF_BUCKETS_MIN : client->topic_bucket_count * 2;
    struct topic_ref **buckets = calloc(count, sizeof(struct topic_ref *));
    if (buckets == NULL) {
        return -ENOMEM;
    }
    free(client->topic_buckets);
    client->topic_buckets = buckets;
    client->topic_bucket_count = count;
    list_each(node, &client->topic_refs)
    {
        struct topic_ref *ref = list_entry(node, struct topic_ref, refs);
        struct topic_ref **link = ref_link(client, ref->topic);
        ref->next = NULL;
        *link = ref;
    }
    return 0;
}

static int ref_take(struct client *client, struct topic *topic)
{
    struct topic_ref *ref = ref_find(client, topic);
    if (ref == NULL) {
        ref = ref_buckets_grow(client) == 0 ? calloc(1, sizeof *ref) : NULL;
        if (ref == NULL) {
            return -ENOMEM;
        }
        ref->topic = topic;
        *ref_link(client, topic) = ref;
        client->topic_ref_count++;
        topic->refs++;
        list_push_front(&client->topic_refs, &ref->refs);
    }
    ref->count++;
    return 0;
}

static void ref_free(struct store *store, struct client *client, struct topic_ref *ref)
{
    *ref_link(client, ref->topic) = ref->next;
    client->topic_ref_count--;
    list_remove(&ref->refs);
    ref->topic->refs--;
    topic_set_collect(&store->topics, ref->topic);
    free(ref);
}

void topic_admin_release(struct store *store, struct client *client)
{
    list_each(node, &client->topic_refs)
    {
        ref_free(store, client, list_entry(node, struct topic_ref, refs));
    }
    free(client->topic_buckets);
    client->topic_buckets = NULL;
    client->topic_bucket_count = 0;
}

/* The reply to a request that completes at once. */
static enum submit_outcome reply(struct store *store, struct lane *lane,
                                 const struct submission *submission, uint64_t seq, int error,
                                 uint64_t value)
{
    submit_advance(store, lane, submission);
    if ((submission->flags & SUBMIT_QUIET) == 0) {
        lane_post(store, lane, submission->user_data, seq, error, value);
    }
    return SUBMIT_TAKEN;
}

enum submit_outcome topic_admin_open(struct store *store, struct lane *lane,
                                     const struct submission *submission)
{
    unsigned char name[TOPIC_NAME_BYTES_MAX];
    const uint64_t bytes = submission->bytes;
    if (bytes == 0 || bytes > sizeof name) {
        return reply(store, lane, submission, 0, -EINVAL, 0);
    }
    lane_body_copy(lane, name, bytes);
    if (memchr(name, 0, bytes) != NULL) {
        return reply(store, lane, submission, 0, -EINVAL, 0);
    }
    struct topic *topic;
    int error = topic_set_open(&store->topics, name, bytes, &topic);
    if (error != 0) {
        return reply(store, lane, submission, 0, error, 0);
    }
    error = ref_take(lane->client, topic);
    if (error != 0) {
        topic_set_collect(&store->topics, topic);
        return reply(store, lane, submission, 0, error, 0);
    }
    return reply(store, lane, submission, topic->incarnation, 0, topic->index);
}

enum submit_outcome topic_admin_close(struct store *store, struct lane *lane,
                                      const struct submission *submission)
{
    const struct topic *topic =
        topic_set_find(&store->topics, submission->topic, submission->incarnation);
    struct topic_ref *ref = topic == NULL ? NULL : ref_find(lane->client, topic);
    if (ref == NULL) {
        return reply(store, lane, submission, 0, -ESTALE, 0);
    }
    if (--ref->count == 0) {
        ref_free(store, lane->client, ref);
    }
    return reply(store, lane, submission, 0, 0, 0);
}

int topic_setting_read(const struct lane *lane, const struct submission *submission,
                       struct topic_setting *setting)
{
    char text[OPTION_BYTES_MAX];
    const uint64_t bytes = submission->bytes;
    if (bytes > sizeof text || submission->arg > TOPIC_SET_AT_CREATION) {
        return -EINVAL;
    }
    lane_body_copy(lane, text, bytes);
    const char *value = memchr(text, 0, bytes);
    if (value == NULL || memchr(value + 1, 0, bytes - (size_t)(value + 1 - text)) == NULL ||
        strcmp(text, "retention") != 0) {
        return -EINVAL;
    }
    *setting = (struct topic_setting){.own = strcmp(value + 1, "default") != 0};
    return setting->own ? retention_policy_parse(value + 1, &setting->retention) : 0;
}

static void set_run(struct pending *pending)
{
    struct store *store = pending->store;
    struct topic *topic = pending->topic;
    const bool at_creation = pending->submission.arg == TOPIC_SET_AT_CREATION;
    int outcome = STORE_READY;
    bool recorded = false;
    if (topic->state == TOPIC_DELETED) {
        outcome = -ESTALE;
    } else if (topic->state != TOPIC_PRESENT) {
        outcome = at_creation ? STORE_READY : -ENOENT;
        if (at_creation) {
            retention_choose(topic, pending->retention_own, &pending->retention);
        }
    } else if (!at_creation) {
        outcome = store->fenced != 0
                      ? -EIO
                      : retention_set(store, topic, pending->retention_own, &pending->retention);
        recorded = outcome == STORE_READY;
    }
    if (outcome == STORE_WAIT) {
        list_push_back(&store->stalled, &pending->queue);
    } else if (!recorded || store->config->fsync == FSYNC_NONE) {
        pending_complete(pending, 0, outcome, 0);
    } else {
        pending_await_sync(pending, flush_want(store), (struct pending_result){.error = 0});
    }
}

void topic_admin_set(struct pending *pending, const struct topic_setting *setting)
{
    pending->resume = set_run;
    pending->retention = setting->retention;
    pending->retention_own = setting->own;
    set_run(pending);
}

enum submit_outcome topic_admin_get(struct store *store, struct lane *lane,
                                    const struct submission *submission)
{
    const struct topic *topic =
        topic_set_find(&store->topics, submission->topic, submission->incarnation);
    if (topic == NULL || topic->state != TOPIC_PRESENT) {
        const int error = topic == NULL || topic->state == TOPIC_DELETED ? -ESTALE : -ENOENT;
        return reply(store, lane, submission, 0, error, 0);
    }
    const struct retention_policy *policy = retention_of(store, topic);
    const int terms = (policy->consumed ? RETENTION_TERM_CONSUMED : 0) |
                      (topic->retention_own ? RETENTION_TERM_OWN : 0);
    return reply(store, lane, submission, policy->age_ns, terms, policy->bytes_max);
}

static void delete_run(struct pending *pending)
{
    struct store *store = pending->store;
    struct topic *topic = pending->topic;
    if (topic->state != TOPIC_PRESENT) {
        pending_complete(pending, 0, topic->state == TOPIC_DELETED ? -ESTALE : -ENOENT, 0);
        return;
    }
    const int outcome = store->fenced != 0 ? -EIO : store_topic_delete(store, topic);
    if (outcome == STORE_WAIT) {
        list_push_back(&store->stalled, &pending->queue);
    } else if (outcome != STORE_READY || store->config->fsync == FSYNC_NONE) {
        pending_complete(pending, 0, outcome, 0);
    } else {
        pending_await_sync(pending, flush_want(store), (struct pending_result){.error = 0});
    }
}

void topic_admin_delete(struct pending *pending)
{
    pending->resume = delete_run;
    delete_run(pending);
}
