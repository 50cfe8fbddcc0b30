/* Reap: see reap.h. */
#include "clientlib/reap.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "clientlib/idle.h"
#include "clientlib/lane_op.h"
#include "clientlib/topic.h"
#include "shm/directory.h"

enum async_fate {
    ASYNC_FINAL = 0,   /* its result can be handed out */
    ASYNC_PENDING = 1, /* committed, not durable yet */
    ASYNC_LOST = 2,    /* will never be durable: the topic was deleted, or the store is fenced */
};

/* Under `each`: may a committed append's completion be handed out? */
static enum async_fate async_fate(const struct client_lane *lane, const struct lane_async *async,
                                  int *error)
{
    if (async->error != 0 || async->local != 0) {
        return ASYNC_FINAL;
    }
    struct directory_shm *directory = lane->tusk->directory;
    const struct topic_shm *topic = directory_topic(directory, (uint32_t)async->topic_word);
    const bool fenced = atom_load_relaxed(&directory->fenced) != 0; /* stale: seen next time */
    if (topic_durable_seq(topic) > async->seq) {
        return ASYNC_FINAL;
    }
    if (topic_state(topic) != TOPIC_PRESENT ||
        (uint32_t)atom_load_relaxed(&topic->incarnation) != async->topic_word >> 32) { /* [T3] */
        *error = -ESTALE;
        return ASYNC_LOST;
    }
    if (fenced) {
        *error = -EIO;
        return ASYNC_LOST;
    }
    return ASYNC_PENDING;
}

bool reap_ready(struct client_lane *lane)
{
    int error = 0;
    if (lane->asyncs_head == lane->asyncs_done) {
        return false;
    }
    return !handle_sync_each(lane->tusk) ||
           async_fate(lane, &lane->asyncs[lane->asyncs_head & (CQ_SLOTS - 1)], &error) !=
               ASYNC_PENDING;
}

bool reap_withheld(struct client_lane *lane)
{
    return lane->asyncs_head != lane->asyncs_done && !reap_ready(lane);
}

static struct lane_refusal *refusal_get(struct client_lane *lane, uint64_t topic_word)
{
    for (uint32_t i = 0; i < lane->refusals_count; i++) {
        if (lane->refusals[i].topic_word == topic_word) {
            return &lane->refusals[i];
        }
    }
    struct lane_refusal *refusals =
        realloc(lane->refusals, (lane->refusals_count + 1) * sizeof *refusals);
    if (refusals == NULL) {
        return NULL;
    }
    lane->refusals = refusals;
    refusals[lane->refusals_count] = (struct lane_refusal){.topic_word = topic_word};
    return &refusals[lane->refusals_count++];
}

static bool resume_submit(struct client_lane *lane, uint64_t topic_word)
{
    const struct lane_request resume = {.kind = SUBMIT_RESUME, .topic_word = topic_word};
    return lane_quiet_submit(lane, &resume) == 0; /* else at the next refusal that is reaped */
}

/* Has the caller still to hear of a refused append to the topic? */
static bool refusal_unreaped(const struct client_lane *lane, uint64_t topic_word)
{
    for (uint64_t i = lane->asyncs_head; i != lane->asyncs_done; i++) {
        const struct lane_async *async = &lane->asyncs[i & (CQ_SLOTS - 1)];
        if (async->error == -EAGAIN && async->topic_word == topic_word) {
            return true;
        }
    }
    return false;
}

/* Appends that were submitted before the last RESUME belong to the refusal that it ended. */
void lane_resume(struct client_lane *lane, uint64_t topic_word, uint64_t index)
{
    struct lane_refusal *refusal = refusal_get(lane, topic_word);
    if (refusal != NULL && index < refusal->resumed) {
        return;
    }
    if (index == lane->asyncs_tail && refusal_unreaped(lane, topic_word)) {
        return;
    }
    if (resume_submit(lane, topic_word) && refusal != NULL) {
        refusal->resumed = lane->asyncs_tail;
    }
}

void lane_resume_all(struct client_lane *lane)
{
    const struct tusk_topic *topic;
    pthread_mutex_lock(&lane->tusk->lock);
    LIST_FOREACH(topic, &lane->tusk->topics, siblings)
    {
        if ((topic->flags & SUBMIT_NO_WAIT) != 0) {
            lane_resume(lane, topic->word, lane->asyncs_tail);
        }
    }
    pthread_mutex_unlock(&lane->tusk->lock);
}

int tusk_reap(struct tusk *tusk, struct tusk_completion *completions, size_t max)
{
    if (tusk == NULL || (completions == NULL && max > 0)) {
        return -EINVAL;
    }
    struct client_lane *lane;
    const int error = client_lane_get(tusk, &lane);
    if (error != 0) {
        return error;
    }
    lane_drain(lane);
    const size_t limit = max < INT_MAX ? max : INT_MAX;
    size_t count = 0;
    while (count < limit && lane->asyncs_head != lane->asyncs_done) {
        const struct lane_async *async = &lane->asyncs[lane->asyncs_head & (CQ_SLOTS - 1)];
        int result = async->error;
        if (UNLIKELY(handle_sync_each(tusk)) && async_fate(lane, async, &result) == ASYNC_PENDING) {
            break;
        }
        completions[count++] = (struct tusk_completion){
            .user_data = async->user_data,
            .seq = result == 0 ? async->seq : TUSK_ANY_SEQ,
            .error = result,
        };
        if (UNLIKELY(result == -EAGAIN)) {
            lane_resume(lane, async->topic_word, lane->asyncs_head);
        }
        lane->asyncs_head++;
    }
    lane->reap_reported = 0;
    if (count == 0 && max > 0) {
        const int gone = lane_nothing(lane);
        return gone != 0 ? gone : 0;
    }
    return (int)count;
}
