/*
 * Flush: waiting until what the thread's lane has submitted is committed, or durable.
 * Runs on:    the lane's thread.
 * Invariants: one WAIT is pending for each level; a flush with nothing submitted since uses it, and
 *             what is known to have reached the level isn't asked for again.
 */
#include <errno.h>

#include "clientlib/client_lane.h"
#include "clientlib/idle.h"
#include "clientlib/lane_op.h"
#include "clientlib/reap.h"

/* The failure that is due to be told, once. */
static int quiet_error_take(struct client_lane *lane)
{
    const int error = lane->quiet_error;
    lane->quiet_error = 0;
    if (error == -EAGAIN) {
        lane_resume_all(lane);
    }
    return error;
}

static int flush_ask(struct client_lane *lane, enum tusk_level level, struct expiry expiry)
{
    struct lane_flush *flush = &lane->flush[level];
    const uint64_t appended = lane_appended(lane);
    if (flush->op != NULL && flush->covers == appended) {
        return 0;
    }
    if (flush->op != NULL) {
        lane_op_drop(lane, flush->op); /* its error, if any, is the next flush's */
        flush->op = NULL;
    }
    const struct lane_request wait = {
        .kind = SUBMIT_WAIT, .flags = level == TUSK_DURABLE ? SUBMIT_DURABLE : 0, .reports = true};
    struct lane_op *op;
    const int error = lane_op_submit(lane, &wait, expiry, true, &op);
    if (error == 0) {
        flush->op = op;
        flush->covers = appended;
    }
    return error;
}

/* What the WAIT said. 0; 1: it was superseded, ask again; or an error. */
static int flush_answer(struct client_lane *lane, enum tusk_level level)
{
    struct lane_flush *flush = &lane->flush[level];
    const int result = lane_op_take(lane, flush->op).error;
    flush->op = NULL;
    if (result == -ECANCELED) {
        return 1;
    }
    if (result < 0) {
        lane_quiet_fail(lane, result);
        return quiet_error_take(lane);
    }
    flush->reached = flush->covers;
    if (level == TUSK_DURABLE && lane->flush[TUSK_COMMITTED].reached < flush->covers) {
        lane->flush[TUSK_COMMITTED].reached = flush->covers;
    }
    return quiet_error_take(lane);
}

static int lane_flush(struct client_lane *lane, enum tusk_level level, int timeout_ms)
{
    struct lane_flush *flush = &lane->flush[level];
    const struct expiry expiry = expiry_in(timeout_ms);
    int answer = 1;
    lane->flush[level].unanswered = false;
    while (answer == 1) {
        if (flush->op == NULL && flush->reached == lane_appended(lane)) {
            return quiet_error_take(lane);
        }
        int error = flush_ask(lane, level, expiry);
        if (error == 0) {
            error = lane_op_await(lane, flush->op, expiry, timeout_ms != 0);
        }
        if (error == -ETIMEDOUT && timeout_ms == 0) {
            flush->unanswered = true;
            error = lane_nothing(lane);
            return error != 0 ? error : -EAGAIN;
        }
        if (error != 0) {
            return error;
        }
        answer = flush_answer(lane, level);
    }
    return answer;
}

int tusk_flush(struct tusk *tusk, enum tusk_level level, int timeout_ms)
{
    if (tusk == NULL || timeout_ms < -1 || (level != TUSK_COMMITTED && level != TUSK_DURABLE)) {
        return -EINVAL;
    }
    struct client_lane *lane;
    const int error = client_lane_get(tusk, &lane);
    return error != 0 ? error : lane_flush(lane, level, timeout_ms);
}
