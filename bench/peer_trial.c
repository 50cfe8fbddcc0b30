/*
 * Peer trial: see peer_trial.h. A sender fills in each entry anew, as a program would that has
 * something to say; a receiver ends when it has all that was sent, or when nothing came for a while
 * after the sender's end.
 */
#include "bench/peer_trial.h"

#include "bench/clock.h"
#include "bench/crew.h"
#include "bench/directory.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_EVERY 64             /* sends between two looks at how far the receiver is */
#define SILENCE_NS (2 * NS_PER_S) /* after the end of the sender; then what is missing is lost */
#define ANSWER_LIMIT_NS (30 * NS_PER_S)
#define COUNTED_S 0.05  /* of a trial whose system calls are counted, at most */
#define BYTES_DIVISOR 8 /* of MAX_BYTES, for one measurement; what it wrote is deleted after it */

struct trial_plan {
    const struct peer *peer;
    const struct peer_job *job;
    uint64_t entries_max;
};

struct trial_worker {
    struct peer_end out;
    struct peer_end in;
    char *entries;
    bool out_open;
    bool in_open;
};

/* ---- Ends ------------------------------------------------------------------------------------ */

static int sender_open(const struct trial_plan *plan, struct trial_worker *state, unsigned channel,
                       unsigned number)
{
    state->out = (struct peer_end){.job = plan->job, .channel = channel, .number = number};
    const int result = plan->peer->sender_open(&state->out);
    state->out_open = result == 0;
    return result;
}

static int receiver_open(const struct trial_plan *plan, struct trial_worker *state,
                         unsigned channel)
{
    state->in = (struct peer_end){.job = plan->job, .channel = channel};
    const int result = plan->peer->receiver_open(&state->in);
    state->in_open = result == 0;
    return result;
}

static struct trial_worker *state_make(struct worker *worker)
{
    const struct trial_plan *plan = worker->arg;
    struct trial_worker *state = calloc(1, sizeof *state);

    if (state) {
        state->entries = calloc(plan->job->batch, plan->job->size);
    }
    worker->state = state;
    return state && state->entries ? state : NULL;
}

static void trial_finish(struct worker *worker)
{
    const struct trial_plan *plan = worker->arg;
    struct trial_worker *state = worker->state;

    if (state->out_open && plan->peer->sender_close) {
        plan->peer->sender_close(&state->out);
    }
    if (state->in_open && plan->peer->receiver_close) {
        plan->peer->receiver_close(&state->in);
    }
    free(state->entries);
    free(state);
}

static void entries_fill(struct trial_worker *state, const struct peer_job *job, uint64_t seq)
{
    char *entry = state->entries;

    for (size_t i = 0; i < job->batch; i++, seq++, entry += job->size) {
        const uint64_t inverted = ~seq;
        memcpy(entry, &seq, sizeof seq);
        memcpy(entry + job->size - sizeof inverted, &inverted, sizeof inverted);
    }
}

/* ---- Relay and durable senders --------------------------------------------------------------- */

static int sender_prepare(struct worker *worker)
{
    struct trial_worker *state = state_make(worker);

    return state ? sender_open(worker->arg, state, 0, worker->number)
                 : worker_fail(worker, -ENOMEM, "making entries");
}

/* Wait until the receiver is close enough. */
static void lead_limit(const struct worker *worker, uint64_t sent, uint64_t lead)
{
    while (!worker_stopped(worker) &&
           sent > lead + atomic_load_explicit(&worker->shared->followed, memory_order_relaxed)) {
        sched_yield();
    }
}

static int relay_send(struct worker *worker)
{
    const struct trial_plan *plan = worker->arg;
    const struct peer *peer = plan->peer;
    const struct peer_job *job = plan->job;
    struct trial_worker *state = worker->state;
    const uint64_t lead = peer->lead_bytes / job->size;
    uint64_t sent = 0;
    int result = 0;

    for (unsigned sends = 1;
         result == 0 && (sent == 0 || !worker_stopped(worker)) && sent < plan->entries_max;
         sends++) {
        entries_fill(state, job, sent);
        result = peer->send(&state->out, state->entries, job->batch);
        sent += job->batch;
        if (lead > 0 && sends % LOOK_EVERY == 0) {
            lead_limit(worker, sent, lead);
        }
    }
    if (result == 0 && peer->flush) {
        result = peer->flush(&state->out);
    }
    worker->result->entries = sent;
    return result;
}

static int durable_send(struct worker *worker)
{
    const struct trial_plan *plan = worker->arg;
    struct trial_worker *state = worker->state;
    struct worker_result *sum = worker->result;
    int result = 0;

    while (result == 0 && (sum->entries == 0 || !worker_stopped(worker)) &&
           sum->entries < plan->entries_max) {
        entries_fill(state, plan->job, sum->entries);
        const uint64_t before_ns = clock_now_ns();
        result = plan->peer->send(&state->out, state->entries, 1);
        histogram_add(&sum->latency_ns, clock_now_ns() - before_ns);
        sum->entries++;
    }
    return result;
}

/* ---- Relay receiver -------------------------------------------------------------------------- */

static int receiver_prepare(struct worker *worker)
{
    struct trial_worker *state = state_make(worker);

    return state ? receiver_open(worker->arg, state, 0)
                 : worker_fail(worker, -ENOMEM, "making a receiver");
}

static bool senders_ended(const struct worker *worker)
{
    return atomic_load(&worker->shared->producing) == 0;
}

static int relay_receive(struct worker *worker)
{
    const struct trial_plan *plan = worker->arg;
    struct trial_worker *state = worker->state;
    struct peer_end *end = &state->in;
    uint64_t silent_since_ns = 0;

    for (;;) {
        const uint64_t before = end->received;
        const bool ended = senders_ended(worker);
        if (ended && end->received >= atomic_load(&worker->shared->produced)) {
            break;
        }
        const int result = plan->peer->receive(end);
        if (result < 0) {
            return result;
        }
        atomic_store_explicit(&worker->shared->followed, end->received, memory_order_relaxed);
        if (end->received > before) {
            silent_since_ns = 0;
        } else if (ended) {
            const uint64_t now_ns = clock_now_ns();
            silent_since_ns = silent_since_ns ? silent_since_ns : now_ns;
            if (now_ns - silent_since_ns > SILENCE_NS) {
                break;
            }
        }
    }
    worker->result->entries = end->received;
    return end->wrong == 0 ? 0
                           : worker_fail(worker, -EBADMSG,
                                         "entries came twice, out of order or "
                                         "changed");
}

/* ---- Ping-pong ------------------------------------------------------------------------------- */

static int ping_prepare(struct worker *worker)
{
    struct trial_worker *state = state_make(worker);

    if (!state) {
        return worker_fail(worker, -ENOMEM, "making entries");
    }
    const int result = sender_open(worker->arg, state, 0, 0);
    return result < 0 ? result : receiver_open(worker->arg, state, 1);
}

static int pong_prepare(struct worker *worker)
{
    struct trial_worker *state = state_make(worker);

    if (!state) {
        return worker_fail(worker, -ENOMEM, "making entries");
    }
    const int result = receiver_open(worker->arg, state, 0);
    return result < 0 ? result : sender_open(worker->arg, state, 1, 1);
}

/* Until there are more than `before`. */
static int answer_wait(struct worker *worker, struct peer_end *end, uint64_t before,
                       uint64_t since_ns)
{
    const struct trial_plan *plan = worker->arg;

    while (end->received == before) {
        const int result = plan->peer->receive(end);
        if (result < 0) {
            return result;
        }
        if (end->received == before && clock_now_ns() - since_ns > ANSWER_LIMIT_NS) {
            return worker_fail(worker, -ETIMEDOUT, "no answer within 30 s");
        }
    }
    return 0;
}

static int ping_work(struct worker *worker)
{
    const struct trial_plan *plan = worker->arg;
    struct trial_worker *state = worker->state;
    struct worker_result *sum = worker->result;

    while (sum->entries == 0 || !worker_stopped(worker)) {
        entries_fill(state, plan->job, sum->entries);
        const uint64_t before_ns = clock_now_ns();
        int result = plan->peer->send(&state->out, state->entries, 1);
        if (result == 0) {
            result = answer_wait(worker, &state->in, sum->entries, before_ns);
        }
        if (result < 0) {
            return result;
        }
        histogram_add(&sum->latency_ns, clock_now_ns() - before_ns);
        sum->entries++;
    }
    return state->in.wrong == 0 ? 0 : worker_fail(worker, -EBADMSG, "a wrong answer came");
}

static int pong_work(struct worker *worker)
{
    const struct trial_plan *plan = worker->arg;
    struct trial_worker *state = worker->state;
    struct peer_end *in = &state->in;

    while (!senders_ended(worker)) {
        const uint64_t before = in->received;
        int result = plan->peer->receive(in);
        if (result == 0 && in->received > before) {
            entries_fill(state, plan->job, before);
            result = plan->peer->send(&state->out, state->entries, 1);
        }
        if (result < 0) {
            return result;
        }
    }
    worker->result->entries = in->received;
    return in->wrong == 0 ? 0 : worker_fail(worker, -EBADMSG, "a wrong entry came");
}

/* ---- One measurement ------------------------------------------------------------------------- */

static size_t roles_make(const struct trial_plan *plan, struct role roles[2])
{
    const bool ping = plan->job->shape == PEER_PING;
    const bool durable = plan->job->shape == PEER_DURABLE;
    const unsigned senders = plan->job->senders;

    roles[0] = (struct role){.processes = plan->peer->threads ? 1 : senders,
                             .threads = plan->peer->threads ? senders : 1,
                             .offline = true,
                             .produces = true,
                             .whole = true,
                             .prepare = ping ? ping_prepare : sender_prepare,
                             .work = ping      ? ping_work
                                     : durable ? durable_send
                                               : relay_send,
                             .finish = trial_finish,
                             .arg = plan};
    roles[1] = (struct role){.processes = 1,
                             .threads = 1,
                             .offline = true,
                             .whole = true,
                             .prepare = ping ? pong_prepare : receiver_prepare,
                             .work = ping ? pong_work : relay_receive,
                             .finish = trial_finish,
                             .arg = plan};
    return durable ? 1 : 2;
}

static void figures_get(const struct crew *crew, struct peer_figures *figures)
{
    const struct crew_sum sent = crew_sum(crew, 0);
    uint64_t end_ns = sent.end_ns;

    figures->entries = sent.entries;
    figures->lost = 0;
    if (crew->roles_count > 1) {
        const struct crew_sum received = crew_sum(crew, 1);
        figures->entries = received.entries;
        figures->lost = sent.entries > received.entries ? sent.entries - received.entries : 0;
        end_ns = received.end_ns > end_ns ? received.end_ns : end_ns;
    }
    figures->per_s = (double)figures->entries * (double)NS_PER_S / (double)(end_ns - sent.begin_ns);
    crew_latency(crew, 0, &figures->latency_ns);
    figures->cost = crew_cost(crew);
}

static int crew_measure(const struct peer *peer, const struct peer_job *job, bool count_calls,
                        struct peer_figures *figures)
{
    const struct settings *settings = job->settings;
    const bool stored = peer->keeps || job->shape == PEER_DURABLE;
    const struct trial_plan plan = {.peer = peer,
                                    .job = job,
                                    .entries_max = stored ? settings->bytes_max / BYTES_DIVISOR /
                                                                job->size / job->senders
                                                          : UINT64_MAX};
    struct role roles[2];
    struct crew crew = {.roles = roles,
                        .roles_count = roles_make(&plan, roles),
                        .duration_s = settings->duration_s,
                        .broker = job->server,
                        .count_calls = count_calls};

    if (count_calls && crew.duration_s > COUNTED_S) {
        crew.duration_s = COUNTED_S;
    }
    const int result = crew_run(&crew);
    if (result == 0) {
        figures_get(&crew, figures);
    }
    crew_deinit(&crew);
    return result;
}

int peer_trial_run(const struct peer *peer, struct peer_job *job, bool count_calls,
                   struct peer_figures *figures)
{
    int result = directory_make(job->settings->data_dir, job->directory);

    job->state = NULL;
    if (result == 0) {
        result = directory_make("/dev/shm", job->run_directory);
        if (result == 0) {
            result = peer->open ? peer->open(job) : 0;
            if (result == 0) {
                result = crew_measure(peer, job, count_calls, figures);
            }
            if (peer->close) {
                peer->close(job);
            }
        }
        directory_remove(job->run_directory);
    }
    directory_remove(job->directory);
    return result;
}
