/* Lane operation: see lane_op.h. */
#include "clientlib/lane_op.h"

#include <errno.h>
#include <string.h>

#include "clientlib/cancel.h"
#include "clientlib/idle.h"
#include "shm/directory.h"
#include "shm/pins.h"

void lane_quiet_fail(struct client_lane *lane, int error)
{
    if (lane->quiet_error == 0) {
        lane->quiet_error = error;
    }
}

int lane_ring(struct client_lane *lane)
{
    CANCEL_OFF;
    return wake_ring(lane->socket) == 0 ? 0 : handle_kill(lane->tusk);
}

/* Tells the engine which completions have been reaped: all that were drained, up to the first one
 * that an op holds back. A lane that is half full of what nobody takes gives such holds up. */
static void lane_reap(struct client_lane *lane)
{
    uint64_t head = lane->drained;
    for (uint32_t i = 0; lane->held_count > 0 && i < lane->ops_used; i++) {
        const uint64_t held_at = lane->ops[i].held_at;
        if (held_at != 0 && held_at - 1 < head) {
            head = held_at - 1;
        }
    }
    if (lane->drained - head > lane->map.cq_slots / 2) {
        head = lane->drained;
    }
    if (head > lane->reaped) {
        lane->reaped = head;
        lane_reap_to(&lane->map, head);
    }
}

static void op_free(struct client_lane *lane, struct lane_op *op)
{
    if (op->held_at != 0) {
        op->held_at = 0;
        lane->held_count--;
        lane_reap(lane);
    }
    op->state = LANE_OP_FREE;
    op->next_free = lane->ops_free;
    lane->ops_free = op;
}

/* Ops that were dropped by another thread when they were done already. */
static void ops_sweep(struct client_lane *lane)
{
    for (uint32_t i = 0; i < lane->ops_used; i++) {
        struct lane_op *op = &lane->ops[i];
        /* stale: the next sweep finds it */
        if (op->state == LANE_OP_DONE && atom_load_relaxed(&op->dropped) != 0) {
            op_free(lane, op);
        }
    }
}

static struct lane_op *op_new(struct client_lane *lane)
{
    if (lane->ops_free == NULL && lane->ops_used == LANE_OPS_MAX) {
        ops_sweep(lane);
    }
    struct lane_op *op = lane->ops_free;
    if (op != NULL) {
        lane->ops_free = op->next_free;
    } else if (lane->ops_used < LANE_OPS_MAX) {
        op = &lane->ops[lane->ops_used++];
    } else {
        return NULL;
    }
    op->state = LANE_OP_PENDING;
    op->reports = false;
    op->disk = false;
    atom_store_relaxed(&op->dropped, 0); /* nobody else has it yet */
    op->pin = NULL;
    op->stamp = 0;
    op->holds = false;
    op->held_at = 0;
    op->target = lane->drained + lane_asyncs_due(lane) + 1;
    return op;
}

static void op_complete(struct client_lane *lane, struct lane_op *op, uint64_t index)
{
    const struct completion_shm *completion = lane_completion(&lane->map, index);
    lane->ops_pending--;
    op->result = *completion;
    if (op->holds && completion->error > 0) {
        op->held_at = index + 1;
        lane->held_count++;
    }
    if (op->pin != NULL && completion->error == 0) {
        const uint64_t unit = completion->seq;
        struct directory_shm *directory = lane->tusk->directory;
        if (unit >= directory->header.units ||
            pin_take(op->pin, directory_stamp(directory, (uint32_t)unit), (uint32_t)unit,
                     &op->stamp) == 0) {
            op->stamp = 0;
        }
    }
    op->state = LANE_OP_DONE;
    if (atom_load_relaxed(&op->dropped) != 0) { /* stale: a sweep frees it */
        if (op->reports && completion->error < 0 && completion->error != -ECANCELED) {
            lane_quiet_fail(lane, completion->error);
        }
        op_free(lane, op);
    }
}

/* Local ones whose turn has come. */
static void asyncs_pass_local(struct client_lane *lane)
{
    while (lane->asyncs_done != lane->asyncs_tail &&
           lane->asyncs[lane->asyncs_done & (CQ_SLOTS - 1)].local != 0) {
        lane->asyncs_done++;
        lane->asyncs_local--;
    }
}

void lane_drain_to(struct client_lane *lane, uint64_t cq_tail)
{
    for (uint64_t index = lane->drained; index != cq_tail; index++) {
        const struct completion_shm *completion = lane_completion(&lane->map, index);
        const uint64_t user_data = completion->user_data;
        if ((user_data & LANE_OP_TAG) == 0) {
            if (user_data != lane->asyncs_done || lane->asyncs_done == lane->asyncs_tail) {
                (void)handle_kill(lane->tusk);
                return;
            }
            struct lane_async *async = &lane->asyncs[user_data & (CQ_SLOTS - 1)];
            async->seq = completion->error < 0 ? LANE_SEQ_NONE : completion->seq;
            async->error = completion->error;
            lane->asyncs_done++;
            if (UNLIKELY(lane->asyncs_local != 0)) {
                asyncs_pass_local(lane);
            }
            continue;
        }
        const uint64_t slot = user_data & ~LANE_OP_TAG;
        if (slot >= lane->ops_used || lane->ops[slot].state != LANE_OP_PENDING) {
            (void)handle_kill(lane->tusk);
            return;
        }
        op_complete(lane, &lane->ops[slot], index);
    }
    lane->drained = cq_tail;
    lane_reap(lane);
}

int lane_op_claim(struct client_lane *lane, struct expiry expiry, bool interruptible,
                  struct lane_op **op)
{
    struct idle idle = {0};
    /* The engine takes nothing, not even what posts no completion, while no slot is free. */
    while (UNLIKELY(lane_slots_used(lane) + 1 >= lane->map.cq_slots)) {
        const struct wake_on on = {.completions = lane->drained + 1,
                                   .interruptible = interruptible};
        const int error = idle_step(&idle, lane, &on, expiry);
        if (error != 0) {
            return error;
        }
        lane_drain(lane);
    }
    *op = op_new(lane);
    if (*op == NULL) {
        return -ENOMEM;
    }
    lane->ops_pending++;
    return 0;
}

void lane_op_unclaim(struct client_lane *lane, struct lane_op *op)
{
    lane->ops_pending--;
    op_free(lane, op);
}

/* Is there room before a reservation, if the thread holds one? */
static bool reservation_leaves(const struct client_lane *lane, uint64_t bytes)
{
    return lane->reserved == NULL || bytes <= lane->reserved_at - lane->sq_tail;
}

static int request_publish(struct client_lane *lane, const struct lane_request *request,
                           unsigned flags, uint64_t user_data)
{
    const uint64_t bytes = submission_bytes(request->body_bytes);
    void *body =
        submission_write(lane, 0, submission_word(request->kind, flags, request->body_bytes),
                         request->topic_word, user_data, request->arg);
    if (request->body_bytes > 0) {
        memcpy(body, request->body, request->body_bytes);
    }
    lane->own_bytes += bytes;
    return lane_commit(lane, bytes);
}

int lane_op_submit(struct client_lane *lane, const struct lane_request *request,
                   struct expiry expiry, bool interruptible, struct lane_op **op)
{
    if (!reservation_leaves(lane, submission_bytes(request->body_bytes))) {
        return -EBUSY;
    }
    int error = lane_op_claim(lane, expiry, interruptible, op);
    if (error != 0) {
        return error;
    }
    error = lane_room_await(lane, submission_bytes(request->body_bytes), expiry, interruptible);
    if (error != 0) {
        lane_op_unclaim(lane, *op);
        return error;
    }
    (*op)->pin = request->pin;
    (*op)->reports = request->reports;
    (*op)->holds = request->holds;
    (*op)->disk = (request->kind == SUBMIT_WAIT && (request->flags & SUBMIT_DURABLE) != 0) ||
                  (request->kind == SUBMIT_CLAIM && (request->flags & SUBMIT_STRICT) != 0);
    error = request_publish(lane, request, request->flags, lane_op_user_data(lane, *op));
    if (error != 0) {
        lane_op_drop(lane, *op); /* the handle is dead; the slot goes with it */
    }
    return error;
}

int lane_quiet_submit(struct client_lane *lane, const struct lane_request *request)
{
    if (!reservation_leaves(lane, submission_bytes(request->body_bytes))) {
        return -EBUSY;
    }
    if (!lane_fits(lane, submission_bytes(request->body_bytes))) {
        return -EAGAIN;
    }
    return request_publish(lane, request, request->flags | SUBMIT_QUIET, 0);
}

int lane_op_await(struct client_lane *lane, struct lane_op *op, struct expiry expiry,
                  bool interruptible)
{
    struct idle idle = {.disk = op->disk};
    for (;;) {
        lane_drain(lane);
        if (op->state == LANE_OP_DONE) {
            return 0;
        }
        const struct wake_on on = {.completions = lane_op_target(lane, op),
                                   .interruptible = interruptible};
        const int error = idle_step(&idle, lane, &on, expiry);
        if (error != 0) {
            return error;
        }
    }
}

struct completion_shm lane_op_take(struct client_lane *lane, struct lane_op *op)
{
    const struct completion_shm result = op->result;
    op_free(lane, op);
    return result;
}

void lane_op_drop(struct client_lane *lane, struct lane_op *op)
{
    op->pin = NULL;
    if (op->state == LANE_OP_DONE) {
        if (op->reports && op->result.error < 0 && op->result.error != -ECANCELED) {
            lane_quiet_fail(lane, op->result.error);
        }
        op_free(lane, op);
    } else {
        atom_store_relaxed(&op->dropped, 1); /* this thread reads it */
    }
}

void lane_op_drop_locked(struct lane_op *op)
{
    atom_store_relaxed(&op->dropped, 1); /* alone; the lane's thread sees it sooner or later */
}

void lane_op_cancel(struct client_lane *lane, const struct lane_op *op, uint64_t topic_word)
{
    const struct lane_request cancel = {
        .kind = SUBMIT_CANCEL, .topic_word = topic_word, .arg = lane_op_user_data(lane, op)};
    (void)lane_quiet_submit(lane, &cancel); /* without room the op just stays pending */
}

int lane_call(struct client_lane *lane, const struct lane_request *request, struct expiry expiry,
              struct completion_shm *result)
{
    struct lane_op *op;
    int error = lane_op_submit(lane, request, expiry, false, &op);
    if (error != 0) {
        return error;
    }
    error = lane_op_await(lane, op, expiry, false);
    if (error != 0) {
        lane_op_drop(lane, op);
        return error;
    }
    *result = lane_op_take(lane, op);
    return 0;
}
