/* Tail wait: see tail_wait.h. */
#include "broker/tail_wait.h"

#include <errno.h>

#include "broker/pending.h"
#include "broker/topic.h"

static bool wait_is_over(const struct pending *pending)
{
    const struct topic *topic = pending->topic;
    const bool durable = (pending->submission.flags & SUBMIT_DURABLE) != 0;
    const uint64_t seq = durable ? topic->durable_seq : topic->next_seq;
    return seq > pending->submission.arg || topic->first_seq > pending->submission.arg;
}

/* Nothing becomes durable any more once the store is fenced. */
static bool wait_is_vain(const struct pending *pending)
{
    return (pending->submission.flags & SUBMIT_DURABLE) != 0 && pending->store->fenced != 0;
}

void tail_wait(struct pending *pending)
{
    if (pending->topic->state == TOPIC_DELETED) {
        pending_complete(pending, 0, -ESTALE, 0);
    } else if (wait_is_over(pending)) {
        pending_complete(pending, 0, 0, 0);
    } else if (wait_is_vain(pending)) {
        pending_complete(pending, 0, -EIO, 0);
    } else {
        list_push_back(&pending->topic->tail_waiters, &pending->queue);
    }
}

void tail_wait_look(struct topic *topic)
{
    list_each(node, &topic->tail_waiters)
    {
        struct pending *pending = list_entry(node, struct pending, queue);
        if (wait_is_over(pending)) {
            pending_complete(pending, 0, 0, 0);
        } else if (wait_is_vain(pending)) {
            pending_complete(pending, 0, -EIO, 0);
        }
    }
}

static void waits_end(struct topic *topic, int error)
{
    while (!list_empty(&topic->tail_waiters)) {
        struct list_node *first = list_first(&topic->tail_waiters);
        pending_complete(list_entry(first, struct pending, queue), 0, error, 0);
    }
}

void tail_wait_renew(struct topic *topic)
{
    waits_end(topic, -ECANCELED);
}

void tail_wait_delete(struct topic *topic)
{
    waits_end(topic, -ESTALE);
}
