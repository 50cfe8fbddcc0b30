/* Tail wait: see tail_wait.h. */
#include "clientlib/tail_wait.h"

#include <errno.h>

#include "clientlib/lane_op.h"

void tail_wait_attach(struct tail_wait *wait, struct client_lane *lane)
{
    if (__builtin_expect(wait->lane_id == lane->lane_id, 1)) {
        return;
    }
    pthread_mutex_lock(&lane->tusk->lock);
    if (wait->lane != NULL) {
        LIST_REMOVE(wait, siblings);
        if (wait->op != NULL) {
            lane_op_drop_locked(wait->op); /* another thread's lane */
        }
    }
    wait->op = NULL;
    wait->lane = lane;
    wait->lane_id = lane->lane_id;
    LIST_INSERT_HEAD(&lane->tails, wait, siblings);
    pthread_mutex_unlock(&lane->tusk->lock);
}

void tail_wait_detach(struct tail_wait *wait, struct client_lane *lane)
{
    if (wait->lane_id == 0) {
        return;
    }
    const struct tusk_topic *topic = wait->walk->view.topic;
    pthread_mutex_lock(&topic->tusk->lock);
    if (wait->lane != NULL) {
        LIST_REMOVE(wait, siblings);
        if (wait->op != NULL && wait->lane == lane) {
            lane_op_cancel(lane, wait->op, topic->word);
            lane_op_drop(lane, wait->op);
        } else if (wait->op != NULL) {
            lane_op_drop_locked(wait->op);
        }
    }
    wait->lane = NULL;
    wait->lane_id = 0;
    wait->op = NULL;
    pthread_mutex_unlock(&topic->tusk->lock);
}

void tail_wait_detach_all(struct client_lane *lane)
{
    while (!LIST_EMPTY(&lane->tails)) {
        struct tail_wait *wait = LIST_FIRST(&lane->tails);
        LIST_REMOVE(wait, siblings);
        wait->lane = NULL;
    }
}

uint64_t tail_wait_visible(const struct tail_wait *wait)
{
    const struct tusk_topic *topic = wait->walk->view.topic;
    const uint64_t visible = topic_visible_seq(topic, wait->durable_only);
    /* After the tail, so that nothing which was committed under `each` is seen too early. */
    return wait->durable_only || !handle_sync_each(topic->tusk) ? visible
                                                                : topic_durable_seq(topic->shm);
}

bool tail_wait_ready(const struct tail_wait *wait)
{
    const struct tusk_topic *topic = wait->walk->view.topic;
    return topic_check(topic) != 0 || tail_wait_visible(wait) > wait->wanted ||
           topic_first_seq(topic->shm) > wait->wanted;
}

int tail_wait_submit(struct tail_wait *wait, struct client_lane *lane, struct expiry expiry)
{
    const struct tusk_topic *topic = wait->walk->view.topic;
    if (wait->op != NULL && wait->op->state == LANE_OP_DONE) {
        const int result = lane_op_take(lane, wait->op).error;
        wait->op = NULL;
        /* What these mean is seen in the directory. */
        if (result < 0 && result != -ECANCELED && result != -ESTALE && result != -ENODATA) {
            return result;
        }
    }
    if (wait->op != NULL && wait->op_wanted != wait->wanted) {
        lane_op_cancel(lane, wait->op, topic->word);
        lane_op_drop(lane, wait->op);
        wait->op = NULL;
    }
    if (wait->op != NULL) {
        return 0;
    }
    if (lane->ops_pending >= LANE_WAITS_MAX) {
        return -ENOMEM;
    }
    const bool durable = wait->durable_only || handle_sync_each(topic->tusk);
    const struct lane_request request = {.kind = SUBMIT_WAIT_TAIL,
                                         .flags = durable ? SUBMIT_DURABLE : 0,
                                         .topic_word = topic->word,
                                         .arg = wait->wanted};
    struct lane_op *op;
    const int error = lane_op_submit(lane, &request, expiry, false, &op);
    if (error == 0) {
        wait->op = op;
        wait->op_wanted = wait->wanted;
    }
    return error;
}
