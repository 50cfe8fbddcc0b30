/*
 * Open loop: see open_loop.h. The due time travels as the entry's user_data, so a completion needs
 * no table to know its latency.
 */
#include "bench/open_loop.h"

#include "bench/clock.h"
#include "bench/producer.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define BURST_MAX 64 /* entries sent between two looks at completions */
#define REAP_MAX 256
#define ADAPTIVE_SPIN_NS (50 * NS_PER_US) /* adaptive: looks for so long before it sleeps */
#define SLEEP_MAX_NS (100 * NS_PER_MS)    /* between two looks whether the time is up */
#define FLUSH_MS 60000

struct open_loop {
    const struct open_loop_plan *plan;
    struct tusk_topic *topic;
    char *payload;
    struct schedule schedule;
    uint64_t limit; /* entries to send */
    bool ending;    /* the time is up */
    uint64_t sent;
    uint64_t completed;
    uint64_t busy_ns; /* when there was something to do last */
    bool refused;     /* the lane was full */
};

static int open_loop_prepare(struct worker *worker)
{
    const struct open_loop_plan *plan = worker->arg;
    struct open_loop *loop = calloc(1, sizeof *loop);
    char name[32];

    if (!loop || !(loop->payload = calloc(1, plan->size))) {
        return worker_fail(worker, -ENOMEM, "making a producer");
    }
    worker->state = loop;
    loop->plan = plan;
    loop->limit = plan->operations_max;
    /* A timer that fires when it is due, not up to 50 us later. */
    prctl(PR_SET_TIMERSLACK, 1UL);
    snprintf(name, sizeof name, PRODUCER_TOPIC_FORMAT, 0U);
    int result = tusk_topic_open(worker->tusk, name, NULL, &loop->topic);
    if (result == 0) {
        /* Makes lane and topic; its time, 0, tells readers that it is no part of the schedule. */
        result = tusk_append(loop->topic, loop->payload, plan->size, NULL);
    }
    return result < 0 ? worker_fail(worker, result, "opening a topic") : 0;
}

static void open_loop_finish(struct worker *worker)
{
    struct open_loop *loop = worker->state;

    tusk_topic_close(loop->topic);
    free(loop->payload);
    free(loop);
}

/* Send what is due: how many, or an error. */
static int due_send(struct worker *worker, struct open_loop *loop, uint64_t now_ns)
{
    int count = 0;

    loop->refused = false;
    while (count < BURST_MAX && loop->sent < loop->limit) {
        const uint64_t due_ns = schedule_due_ns(&loop->schedule, loop->sent);
        if (due_ns > now_ns) {
            break;
        }
        memcpy(loop->payload, &due_ns, sizeof due_ns);
        const int result = tusk_submit(loop->topic, loop->payload, loop->plan->size,
                                       loop->plan->completions ? due_ns : 0);
        if (result == -EAGAIN) {
            loop->refused = true;
            break;
        }
        if (result < 0) {
            return worker_fail(worker, result, "tusk_submit");
        }
        histogram_add(&worker->result->late_ns, now_ns - due_ns);
        loop->sent++;
        count++;
    }
    return count;
}

/* Take the completions that are there: how many, or an error. */
static int completions_take(struct worker *worker, struct open_loop *loop)
{
    struct tusk_completion completions[REAP_MAX];

    if (!loop->plan->completions) {
        loop->completed = loop->sent;
        return 0;
    }
    const int count = tusk_reap(worker->tusk, completions, REAP_MAX);
    const uint64_t now_ns = count > 0 ? clock_now_ns() : 0;
    for (int i = 0; i < count; i++) {
        if (completions[i].error < 0) {
            return worker_fail(worker, completions[i].error, "appending");
        }
        histogram_add(&worker->result->latency_ns, now_ns - completions[i].user_data);
    }
    loop->completed += count > 0 ? (uint64_t)count : 0;
    return count < 0 ? worker_fail(worker, count, "tusk_reap") : count;
}

/* Sleep until an entry is due or, if something is expected from the broker, until it is there. */
static int sleep_until_due(struct worker *worker, const struct open_loop *loop, uint64_t now_ns)
{
    const bool expects = loop->completed < loop->sent || loop->refused;
    const uint64_t due_ns = loop->refused || loop->sent >= loop->limit
                                ? UINT64_MAX
                                : schedule_due_ns(&loop->schedule, loop->sent);
    struct pollfd fd = {.events = POLLIN};

    if (due_ns <= now_ns) {
        return 0;
    }
    if (expects) {
        const int ready = tusk_arm(worker->tusk);
        if (ready != 0) {
            return ready < 0 ? worker_fail(worker, ready, "tusk_arm") : 0;
        }
        fd.fd = tusk_fd(worker->tusk);
    }
    const uint64_t rest_ns = due_ns - now_ns < SLEEP_MAX_NS ? due_ns - now_ns : SLEEP_MAX_NS;
    const struct timespec rest = {.tv_nsec = (long)rest_ns};
    ppoll(&fd, expects ? 1 : 0, &rest, NULL);
    return 0;
}

/* Nothing was due and nothing had come. */
static int idle_wait(struct worker *worker, const struct open_loop *loop, uint64_t now_ns)
{
    switch (loop->plan->idle) {
    case TUSK_IDLE_SPIN:
        return 0;
    case TUSK_IDLE_ADAPTIVE:
        return now_ns - loop->busy_ns < ADAPTIVE_SPIN_NS ? 0
                                                         : sleep_until_due(worker, loop, now_ns);
    default:
        return sleep_until_due(worker, loop, now_ns);
    }
}

/* The time is up: what was due until now is all that is sent. */
static void limit_set(const struct worker *worker, struct open_loop *loop, uint64_t now_ns)
{
    if (!loop->ending && worker_stopped(worker)) {
        const uint64_t due = schedule_due_count(&loop->schedule, now_ns);
        loop->limit = due < loop->limit ? due : loop->limit;
        loop->ending = true;
    }
}

static int open_loop_work(struct worker *worker)
{
    struct open_loop *loop = worker->state;
    uint64_t now_ns = clock_now_ns();

    loop->schedule =
        schedule_make(now_ns, loop->plan->per_second, worker->number, loop->plan->workers);
    while (loop->sent < loop->limit || loop->completed < loop->sent) {
        now_ns = clock_now_ns();
        limit_set(worker, loop, now_ns);
        const int sent = due_send(worker, loop, now_ns);
        const int taken = sent < 0 ? sent : completions_take(worker, loop);
        int result = taken;
        if (sent > 0 || taken > 0) {
            loop->busy_ns = now_ns;
        } else if (taken == 0) {
            result = idle_wait(worker, loop, now_ns);
        }
        if (result < 0) {
            return result;
        }
    }
    worker->result->operations = worker->result->entries = loop->sent;
    worker->result->bytes = loop->sent * loop->plan->size;
    const int result = tusk_flush(worker->tusk, TUSK_COMMITTED, FLUSH_MS);
    return result < 0 ? worker_fail(worker, result, "waiting until all is committed") : 0;
}

struct role open_loop_role(const struct open_loop_plan *plan)
{
    return (struct role){.processes = plan->workers,
                         .threads = 1,
                         .produces = true,
                         .prepare = open_loop_prepare,
                         .work = open_loop_work,
                         .finish = open_loop_finish,
                         .arg = plan};
}
