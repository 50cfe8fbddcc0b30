/* Lane set: see lane_set.h. */
#include "broker/lane_set.h"

#include <stdio.h>

#include "broker/fetch.h"
#include "broker/pending.h"
#include "broker/refusal.h"
#include "broker/stream.h"
#include "broker/submit.h"
#include "broker/topic_admin.h"
#include "shm/ensure.h"
#include "shm/wake.h"

/* What one lane may take in one round, so that it cannot hold up the others. Bytes of its SQ. */
enum { LANE_QUANTUM_BYTES = 128 * 1024 };

void lane_set_init(struct lane_set *set, struct store *store, struct io *io)
{
    *set = (struct lane_set){.store = store, .io = io};
    set->membarrier = wake_membarrier_available();
    list_init(&set->active);
    list_init(&set->parked);
    list_init(&set->blocked);
    list_init(&set->waiting);
    list_init(&set->closed);
    list_init(&set->clients);
}

static struct list *list_of(struct lane_set *set, enum lane_state state)
{
    switch (state) {
    case LANE_PARKED:
        return &set->parked;
    case LANE_ACTIVE:
        return &set->active;
    case LANE_BLOCKED:
        return &set->blocked;
    case LANE_WAITING:
        return &set->waiting;
    case LANE_CLOSED:
        break;
    }
    return &set->closed;
}

static void lane_enter(struct lane_set *set, struct lane *lane, enum lane_state state)
{
    list_remove(&lane->queue);
    lane->state = state;
    list_push_back(list_of(set, state), &lane->queue);
}

static void lane_activate(struct lane_set *set, struct lane *lane)
{
    atom_store_relaxed(&lane->map.shm->parked, 0); /* seen late, it costs one needless wake */
    lane->idle_since_ns = 0;
    lane_enter(set, lane, LANE_ACTIVE);
}

/* The lane's socket has something: a wake, or a client that unpinned while the arena was short. */
static void lane_woken(struct io_watch *watch)
{
    struct lane *lane = list_entry(watch, struct lane, watch);
    struct lane_set *set = watch->context;
    const int error = wake_drain(lane->socket);
    if (atom_load_relaxed(&set->store->directory->arena_short) != 0) { /* our own word */
        set->store->freed = true;
    }
    if (error == 0 && lane->state == LANE_PARKED) {
        lane_activate(set, lane);
    }
}

static void lane_unwatched(struct io_watch *watch)
{
    struct lane *lane = list_entry(watch, struct lane, watch);
    struct lane_set *set = watch->context;
    list_remove(&lane->queue);
    list_remove(&lane->siblings);
    set->count--;
    set->lane_closed(set, lane);
}

void lane_set_attach_client(struct lane_set *set, struct client *client)
{
    list_init(&client->lanes);
    list_init(&client->topic_refs);
    client->hostile[0] = '\0';
    client->closing = false;
    list_push_back(&set->clients, &client->clients);
}

void lane_set_attach(struct lane_set *set, struct lane *lane)
{
    list_init(&lane->pending);
    list_init(&lane->fetched);
    list_init(&lane->refusals);
    list_push_back(&lane->client->lanes, &lane->siblings);
    lane->watch = (struct io_watch){
        .fd = lane->socket,
        .fn = lane_woken,
        .removed = lane_unwatched,
        .context = set,
    };
    io_watch(set->io, &lane->watch);
    set->count++;
    lane_activate(set, lane);
}

/* Nothing of the store refers to the lane any more. */
static void lane_forget(struct lane_set *set, struct lane *lane)
{
    stream_lane_gone(lane);
    while (!list_empty(&lane->pending)) {
        pending_drop(list_entry(list_first(&lane->pending), struct pending, siblings));
    }
    fetch_release(set->store, lane, true);
    refusals_free(lane);
    list_remove(&lane->dirty);
    lane->publish_due = false;
}

/* The ring still refers to it, until lane_unwatched(). */
static void lane_detach(struct lane_set *set, struct lane *lane)
{
    lane_forget(set, lane);
    lane_enter(set, lane, LANE_CLOSED);
    io_unwatch(set->io, &lane->watch);
}

void lane_set_close(struct lane_set *set, struct lane *lane)
{
    if (lane->closing) {
        return;
    }
    lane->closing = true;
    if (lane->state == LANE_CLOSED) {
        lane_detach(set, lane);
    } else if (lane->state == LANE_PARKED) {
        lane_activate(set, lane);
    }
}

/* The client is not listened to any more; the control thread closes its session. */
static void client_expel(struct lane_set *set, struct client *client)
{
    list_each(node, &client->lanes)
    {
        struct lane *lane = list_entry(node, struct lane, siblings);
        if (lane->state == LANE_CLOSED) {
            continue;
        }
        lane_enter(set, lane, LANE_CLOSED);
        if (lane->closing) {
            lane_detach(set, lane);
        }
    }
    set->client_hostile(set, client);
}

void lane_set_expel(struct lane_set *set, struct client *client, const char *what)
{
    snprintf(client->hostile, sizeof client->hostile, "%s", what);
    client_expel(set, client);
}

/* One lane's turn; true: it took something. */
static bool lane_turn(struct lane_set *set, struct lane *lane)
{
    const uint64_t before = lane->head;
    uint64_t tail;
    fetch_release(set->store, lane, false);
    const enum submit_outcome outcome = submit_lane(set->store, lane, LANE_QUANTUM_BYTES, &tail);
    switch (outcome) {
    case SUBMIT_TAKEN:
        break;
    case SUBMIT_AGAIN:
        lane->idle_since_ns = 0;
        return true;
    case SUBMIT_BLOCKED:
    case SUBMIT_WAITING:
        lane_enter(set, lane, outcome == SUBMIT_BLOCKED ? LANE_BLOCKED : LANE_WAITING);
        lane_touch(set->store, lane);
        return lane->head != before;
    case SUBMIT_HOSTILE:
        client_expel(set, lane->client);
        return true;
    }
    if (lane->head == tail && lane->closing) {
        lane_detach(set, lane);
        return true;
    }
    if (lane->head != before) {
        lane->idle_since_ns = 0;
        return true;
    }
    if (lane->idle_since_ns == 0) {
        lane->idle_since_ns = set->store->now_ns;
    }
    return false;
}

bool lane_set_take(struct lane_set *set)
{
    /* A turn can take any lanes out of the list (a hostile client's), but never this mark. */
    struct list_node *round = &set->round;
    bool taken = false;
    list_push_front(&set->active, round);
    while (round->next != &set->active.head) {
        struct list_node *node = round->next;
        list_remove(round);
        list_insert_after(node, round);
        taken = lane_turn(set, list_entry(node, struct lane, queue)) || taken;
    }
    list_remove(round);
    return taken;
}

void lane_set_release_fetched(struct lane_set *set)
{
    struct list *const lists[] = {&set->parked, &set->waiting};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        list_each(node, lists[i])
        {
            fetch_release(set->store, list_entry(node, struct lane, queue), false);
        }
    }
}

void lane_set_unblock(struct lane_set *set)
{
    list_each(node, &set->blocked)
    {
        lane_enter(set, list_entry(node, struct lane, queue), LANE_ACTIVE);
    }
}

void lane_set_stream_ended(struct lane_set *set)
{
    set->store->stream_ended = false;
    list_each(node, &set->waiting)
    {
        lane_enter(set, list_entry(node, struct lane, queue), LANE_ACTIVE);
    }
}

/* The client has something to learn: completions, or room worth telling. */
static bool lane_has_news(const struct lane *lane)
{
    return lane->cq_tail != lane->cq_tail_published || lane->state != LANE_ACTIVE ||
           lane_room_is_news(lane, lane->head_published);
}

/* Does the publication that took the CQ from `cq_before` to its tail, and the head from
 * `head_before`, end the client's sleep? (tests/model/room.pml) */
static bool lane_wait_ends(const struct lane *lane, uint64_t waiting, uint64_t cq_before,
                           uint64_t head_before)
{
    if (waiting == LANE_WAITING_ANY) {
        return lane->cq_tail_published != cq_before || lane->head_published != head_before;
    }
    return waiting > cq_before && waiting <= lane->cq_tail_published;
}

void lane_set_publish(struct lane_set *set)
{
    struct list told;
    list_init(&told);
    list_each(node, &set->store->publish)
    {
        struct lane *lane = list_entry(node, struct lane, dirty);
        if (!lane_has_news(lane)) {
            continue;
        }
        list_remove(node);
        list_push_back(&told, node);
        lane->cq_tail_before = lane->cq_tail_published;
        lane->head_before = lane->head_published;
        lane->cq_tail_published = lane->cq_tail;
        lane->head_published = lane->head;
        lane_engine_publish(&lane->map, lane->head, lane->cq_tail);
    }
    if (list_empty(&told)) {
        return;
    }
    fence_full(); /* [W4] */
    list_each(told_node, &told)
    {
        struct lane *lane = list_entry(told_node, struct lane, dirty);
        list_remove(told_node);
        lane->publish_due = false;
        const uint64_t waiting = atom_load_relaxed(&lane->map.shm->waiting); /* after [W4] */
        if (lane_wait_ends(lane, waiting, lane->cq_tail_before, lane->head_before)) {
            (void)wake_ring(lane->socket); /* a dead client is the control thread's affair */
            counter_add(&set->store->counters, COUNTER_WAKES, 1);
            set->woke = true;
        }
    }
}

void lane_set_park(struct lane_set *set, uint64_t idle_ns)
{
    struct list candidates;
    bool fenced = true; /* all of them fence by themselves */
    list_init(&candidates);
    list_each(node, &set->active)
    {
        struct lane *lane = list_entry(node, struct lane, queue);
        if (idle_ns > 0 && lane->durable_wait != NULL) {
            continue; /* it comes back with the flush in flight: parked, it would have to ring */
        }
        if (lane->idle_since_ns != 0 && set->store->now_ns - lane->idle_since_ns >= idle_ns) {
            list_remove(node);
            lane->state = LANE_PARKED;
            list_push_back(&candidates, node);
            if (lane->head != lane->head_published) {
                lane_touch(set->store, lane);
            }
            atom_store_relaxed(&lane->map.shm->parked,
                               ++lane->parkings); /* ordered by [W1] below */
            fenced =
                fenced && atom_load_relaxed(&lane->map.shm->fences) != 0; /* never taken back */
            counter_add(&set->store->counters, COUNTER_PARKS, 1);
        }
    }
    if (list_empty(&candidates)) {
        return;
    }
    lane_set_publish(set);
    wake_fence_engine(set->membarrier && !fenced); /* [W1] */
    list_each(candidate, &candidates)
    {
        struct lane *lane = list_entry(candidate, struct lane, queue);
        if (lane_engine_tail(&lane->map) != lane->head) {
            lane_activate(set, lane);
        } else {
            lane_enter(set, lane, LANE_PARKED);
        }
    }
}

void lane_set_stop(struct lane_set *set)
{
    list_each(client_node, &set->clients)
    {
        struct client *client = list_entry(client_node, struct client, clients);
        list_each(node, &client->lanes)
        {
            struct lane *lane = list_entry(node, struct lane, siblings);
            lane->stop_tail = lane_engine_tail(&lane->map);
            if (lane->state == LANE_PARKED) {
                lane_activate(set, lane);
            }
        }
    }
}

static bool lane_stopped(const struct lane *lane)
{
    return lane->state == LANE_CLOSED || lane_is_drained(lane);
}

bool lane_set_stopped(const struct lane_set *set)
{
    const struct list *lists[] = {&set->active, &set->blocked, &set->waiting};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        list_each(node, lists[i])
        {
            if (!lane_stopped(list_entry(node, struct lane, queue))) {
                return false;
            }
        }
    }
    return true;
}

void lane_set_abandon(struct lane_set *set)
{
    set->store->ending = true;
    list_each(client_node, &set->clients)
    {
        struct client *client = list_entry(client_node, struct client, clients);
        list_each(node, &client->lanes)
        {
            lane_forget(set, list_entry(node, struct lane, siblings));
        }
        topic_admin_release(set->store, client);
    }
}
