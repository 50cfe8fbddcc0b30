/* Engine: see engine.h. */
#include "broker/engine.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/counters.h"
#include "broker/fetch.h"
#include "broker/group.h"
#include "broker/io_uring.h"
#include "broker/lane_set.h"
#include "broker/pending.h"
#include "broker/retention.h"
#include "broker/store.h"
#include "broker/tail_wait.h"
#include "broker/topic_admin.h"
#include "shm/ensure.h"
#include "shm/wake.h"

/* How long an idle engine goes on looking before it parks its lanes and sleeps (adaptive): first with
 * pauses, then giving the core away between looks. */
enum { IDLE_PAUSES = 50 };
#define IDLE_YIELD_NS UINT64_C(50000)
/* A spinning engine, and a busy one, parks lanes that have been empty for so long. */
#define PARK_SPIN_NS UINT64_C(20000000)
#define PARK_BUSY_NS UINT64_C(200000)
#define PARK_INTERVAL_NS UINT64_C(1000000)
/* Counters that clients see are at most so old while there is work. */
#define COUNT_INTERVAL_NS UINT64_C(10000000)
#define TICK_NS UINT64_C(1000000000)
/* A stop does not wait longer for what cannot be taken (an arena that readers hold). */
#define STOP_DRAIN_NS UINT64_C(10000000000)

enum engine_stage {
    ENGINE_SERVING,
    ENGINE_DRAINING, /* takes what the lanes had published when the stop came */
    ENGINE_SYNCING,  /* everything taken is being made durable */
    ENGINE_MARKING,  /* and then the marks that make the next start short */
    ENGINE_SETTLING, /* waits for operations in flight */
    ENGINE_ENDED,
};

struct engine {
    struct engine_setup setup;
    struct config config;
    pthread_t thread;
    struct mailbox mailbox;
    struct io *io;
    struct store store;
    struct lane_set lanes;
    struct io_watch mail_watch;
    bool mail_watched;
    struct mail stopped_mail;

    enum engine_stage stage;
    uint64_t stop_deadline_ns;
    uint64_t stop_sync;
    uint64_t idle_since_ns; /* 0: busy */
    uint32_t idle_passes;
    uint64_t tick_ns;
    uint64_t park_ns;
    uint64_t count_ns;
    bool short_told; /* directory.arena_short is set */

    /* The start's answer. */
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool answer_given;
    int answer;
    struct fault *fault;
    int result;
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void clocks_read(struct engine *engine)
{
    engine->store.now_ns = clock_ns(CLOCK_MONOTONIC);
    engine->store.time_ns = clock_ns(CLOCK_REALTIME);
}

static void client_hostile(struct lane_set *lanes, struct client *client)
{
    struct engine *engine = lanes->context;
    if (!client->closing && client->hostile_mail.kind == 0) {
        client->hostile_mail.kind = MAIL_CLIENT_HOSTILE;
        client->hostile_mail.subject = client;
        mailbox_post(engine->setup.control, &client->hostile_mail);
    }
}

/* All lanes of a client that is going are gone. */
static void client_ended(struct engine *engine, struct client *client)
{
    list_remove(&client->readers);
    list_remove(&client->clients);
    topic_admin_release(&engine->store, client);
    client->closed_mail.kind = MAIL_CLIENT_CLOSED;
    client->closed_mail.subject = client;
    engine->store.freed = true; /* what it had pinned */
    mailbox_post(engine->setup.control, &client->closed_mail);
}

static void lane_closed(struct lane_set *lanes, struct lane *lane)
{
    struct engine *engine = lanes->context;
    struct client *client = lane->client;
    if (!client->closing) {
        lane->closed_mail.kind = MAIL_LANE_CLOSED;
        lane->closed_mail.subject = lane;
        mailbox_post(engine->setup.control, &lane->closed_mail);
    } else if (list_empty(&client->lanes)) {
        client_ended(engine, client);
    }
}

static void client_close(struct engine *engine, struct client *client)
{
    client->closing = true;
    if (list_empty(&client->lanes)) {
        client_ended(engine, client);
        return;
    }
    list_each(node, &client->lanes)
    {
        lane_set_close(&engine->lanes, list_entry(node, struct lane, siblings));
    }
}

static void stop_begin(struct engine *engine)
{
    engine->stage = ENGINE_DRAINING;
    engine->stop_deadline_ns = engine->store.now_ns + STOP_DRAIN_NS;
    atom_store_relaxed(&engine->setup.directory->state, BROKER_DRAINING); /* alone */
    lane_set_stop(&engine->lanes);
}

static void mail_handle(struct engine *engine, const struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_CLIENT_ATTACH:
        lane_set_attach_client(&engine->lanes, mail->subject);
        break;
    case MAIL_LANE_ATTACH:
        lane_set_attach(&engine->lanes, mail->subject);
        break;
    case MAIL_LANE_CLOSE:
        lane_set_close(&engine->lanes, mail->subject);
        break;
    case MAIL_PINS_ATTACH: {
        struct client *client = mail->subject;
        list_push_back(&engine->store.pool.readers, &client->readers);
        client->pins_mail.kind = MAIL_PINS_ATTACHED;
        mailbox_post(engine->setup.control, &client->pins_mail);
        break;
    }
    case MAIL_CLIENT_CLOSE:
        client_close(engine, mail->subject);
        break;
    case MAIL_STOP:
        stop_begin(engine);
        break;
    case MAIL_LANE_CLOSED:
    case MAIL_PINS_ATTACHED:
    case MAIL_CLIENT_CLOSED:
    case MAIL_CLIENT_HOSTILE:
    case MAIL_ENGINE_STOPPED:
        ensure(!"mail for the control thread");
    }
}

static bool mail_take(struct engine *engine)
{
    struct mail *mail = mailbox_take(&engine->mailbox);
    const bool any = mail != NULL;
    while (mail != NULL) {
        struct mail *next = mail->next;
        mail_handle(engine, mail);
        mail = next;
    }
    return any;
}

static void mail_readable(struct io_watch *watch)
{
    mail_take(watch->context);
}

static void mail_unwatched(struct io_watch *watch)
{
    struct engine *engine = watch->context;
    engine->mail_watched = false;
}

/* Something was freed: whoever waited for it looks again. */
static void resources_retry(struct engine *engine)
{
    struct store *store = &engine->store;
    struct list stalled;
    store->freed = false;
    list_init(&stalled);
    if (store->fenced != 0) {
        pending_synced(store);
    }
    while (!list_empty(&store->stalled)) {
        struct list_node *node = list_first(&store->stalled);
        list_remove(node);
        list_push_back(&stalled, node);
    }
    fetch_retry(store);
    while (!list_empty(&stalled)) {
        struct pending *pending = list_entry(list_first(&stalled), struct pending, queue);
        list_remove(&pending->queue);
        pending->resume(pending);
    }
    lane_set_unblock(&engine->lanes);
}

/* Topics that moved in this pass: who sleeps at their tails, and what they may give up. */
static void topics_look(struct store *store)
{
    while (!list_empty(&store->moved)) {
        struct topic *topic = list_entry(list_first(&store->moved), struct topic, moved);
        list_remove(&topic->moved);
        tail_wait_look(topic);
        retention_look(store, topic);
        topic_set_collect(&store->topics, topic);
    }
}

static void counters_update(struct engine *engine)
{
    struct store *store = &engine->store;
    counter_set(&store->counters, COUNTER_CHUNKS_EVICTED, store->pool.evictions);
    counter_set(&store->counters, COUNTER_LANES, engine->lanes.count);
    counter_set(&store->counters, COUNTER_TOPICS, store->topics.present);
    counter_set(&store->counters, COUNTER_SEGMENTS, store->segments.count);
    counter_set(&store->counters, COUNTER_ARENA_UNITS_FREE,
                (uint64_t)store->pool.free_big_count * SMALL_CHUNKS);
    counters_publish(&store->counters);
}

static void tick(struct engine *engine)
{
    struct store *store = &engine->store;
    if (store->now_ns >= engine->tick_ns) {
        engine->tick_ns = store->now_ns + TICK_NS;
        segment_set_tick(&store->segments, store->now_ns);
        lane_set_release_fetched(&engine->lanes);
    }
    if (store->now_ns >= engine->count_ns) {
        engine->count_ns = store->now_ns + COUNT_INTERVAL_NS;
        counters_update(engine);
    }
    if (store->now_ns >= engine->park_ns) {
        engine->park_ns = store->now_ns + PARK_INTERVAL_NS;
        lane_set_park(&engine->lanes,
                      engine->config.idle == IDLE_SPIN ? PARK_SPIN_NS : PARK_BUSY_NS);
    }
}

/* One pass over everything there is to do, each part bounded; true: something was done. */
static bool engine_pass(struct engine *engine)
{
    struct store *store = &engine->store;
    clocks_read(engine);
    bool done = io_poll(engine->io) > 0;
    if (mailbox_pending(&engine->mailbox)) {
        done = mail_take(engine) || done;
    }
    if (store->freed) {
        resources_retry(engine);
        done = true;
    }
    done = lane_set_take(&engine->lanes) || done;
    flush_tick(store);
    io_kick(engine->io);
    topics_look(store);
    lane_set_publish(&engine->lanes);
    tick(engine);
    return done;
}

static bool room_is_wanted(const struct engine *engine)
{
    return !list_empty(&engine->lanes.blocked) || !list_empty(&engine->store.starved);
}

/* Readers ring after an unpin while somebody waits for room. True: the flag was just set, so that the
 * pins must be looked at once more before sleeping. */
static bool arena_short_tell(struct engine *engine)
{
    const bool wanted = room_is_wanted(engine);
    if (wanted == engine->short_told) {
        return false;
    }
    engine->short_told = wanted;
    atom_store_relaxed(&engine->setup.directory->arena_short, wanted); /* ordered by [W1] */
    if (wanted) {
        wake_fence_engine(engine->lanes.membarrier); /* [W1] */
        lane_set_release_fetched(&engine->lanes);
        engine->store.freed = true;
    }
    return wanted;
}

static int64_t sleep_limit_ns(const struct engine *engine)
{
    const uint64_t now = engine->store.now_ns;
    uint64_t next = engine->tick_ns;
    const uint64_t flush = flush_next_ns(&engine->store);
    next = flush < next ? flush : next;
    return next > now ? (int64_t)(next - now) : 0;
}

static void engine_sleep(struct engine *engine)
{
    lane_set_park(&engine->lanes, 0);
    counters_update(engine);
    if (arena_short_tell(engine) || !list_empty(&engine->lanes.active) || engine->store.freed) {
        return;
    }
    (void)io_wait(engine->io, sleep_limit_ns(engine));
}

/* A pass found nothing to do. */
static void engine_idle(struct engine *engine)
{
    const uint64_t now = engine->store.now_ns;
    if (engine->idle_since_ns == 0) {
        engine->idle_since_ns = now;
        engine->idle_passes = 0;
    }
    engine->idle_passes++;
    switch (engine->config.idle) {
    case IDLE_SPIN:
        if (engine->idle_passes % IDLE_PAUSES == 0) {
            sched_yield();
        }
        spin_pause();
        break;
    case IDLE_ADAPTIVE:
        if (engine->idle_passes < IDLE_PAUSES) {
            spin_pause();
        } else if (now - engine->idle_since_ns < IDLE_YIELD_NS) {
            sched_yield();
        } else {
            engine_sleep(engine);
        }
        break;
    case IDLE_BLOCK:
        engine_sleep(engine);
        break;
    }
}

/* Everything that was published before the stop is in the log, or cannot be taken. */
static bool drained(const struct engine *engine)
{
    return lane_set_stopped(&engine->lanes) || engine->store.now_ns >= engine->stop_deadline_ns ||
           engine->store.fenced != 0;
}

static bool synced(const struct engine *engine)
{
    const struct flush *flush = &engine->store.flush;
    return (flush->durable_sync >= engine->stop_sync && flush_idle(flush)) ||
           engine->store.fenced != 0;
}

/* The steps of a stop, each after what the one before began has happened. */
static void stop_step(struct engine *engine)
{
    struct store *store = &engine->store;
    switch (engine->stage) {
    case ENGINE_SERVING:
    case ENGINE_ENDED:
        return;
    case ENGINE_DRAINING:
        if (drained(engine)) {
            engine->stop_sync = flush_want(store);
            engine->stage = ENGINE_SYNCING;
        }
        return;
    case ENGINE_SYNCING:
        if (synced(engine)) {
            store_record_marks(store, false);
            engine->stop_sync = flush_want(store);
            engine->stage = ENGINE_MARKING;
        }
        return;
    case ENGINE_MARKING:
        if (synced(engine)) {
            segment_set_stop(&store->segments);
            io_unwatch(engine->io, &engine->mail_watch);
            engine->stage = ENGINE_SETTLING;
        }
        return;
    case ENGINE_SETTLING:
        if (!engine->mail_watched && io_in_flight(engine->io) == 0 &&
            !segment_set_busy(&store->segments)) {
            engine->stage = ENGINE_ENDED;
        }
        return;
    }
}

static void engine_run(struct engine *engine)
{
    while (engine->stage != ENGINE_ENDED) {
        if (engine_pass(engine)) {
            engine->idle_since_ns = 0;
        } else {
            engine_idle(engine);
        }
        stop_step(engine);
    }
}

static int engine_open(struct engine *engine, struct fault *fault)
{
    int error = io_uring_open(&engine->io, fault);
    if (error != 0) {
        return error;
    }
    error = io_start(engine->io);
    if (error != 0) {
        return fault_set(fault, error, "the engine's io_uring ring cannot be started: %s",
                         strerror(-error));
    }
    clocks_read(engine);
    engine->store.config = &engine->config;
    engine->store.log = engine->setup.log;
    engine->store.io = engine->io;
    engine->store.directory = engine->setup.directory;
    error = store_open(&engine->store, &engine->setup.arena, fault);
    if (error != 0) {
        return error;
    }
    lane_set_init(&engine->lanes, &engine->store, engine->io);
    engine->lanes.client_hostile = client_hostile;
    engine->lanes.lane_closed = lane_closed;
    engine->lanes.context = engine;
    /* Read after WELCOME, which is sent once this engine has answered that it is open. */
    atom_store_relaxed(&engine->setup.directory->client_fences, !engine->lanes.membarrier);
    engine->mail_watch = (struct io_watch){
        .fd = mailbox_fd(&engine->mailbox),
        .fn = mail_readable,
        .removed = mail_unwatched,
        .context = engine,
    };
    io_watch(engine->io, &engine->mail_watch);
    engine->mail_watched = true;
    atom_store_relaxed(&engine->setup.directory->state, BROKER_RUNNING); /* alone */
    return 0;
}

static void engine_answer(struct engine *engine, int answer)
{
    pthread_mutex_lock(&engine->lock);
    engine->answer = answer;
    engine->answer_given = true;
    pthread_cond_signal(&engine->answered);
    pthread_mutex_unlock(&engine->lock);
}

static void *engine_main(void *context)
{
    struct engine *engine = context;
    const int error = engine_open(engine, engine->fault);
    engine_answer(engine, error);
    if (error == 0) {
        engine_run(engine);
        engine->result = engine->store.fenced;
        atom_store_relaxed(&engine->setup.directory->state, BROKER_STOPPED); /* alone */
        lane_set_abandon(&engine->lanes);
    }
    store_close(&engine->store);
    io_close(engine->io);
    if (error == 0) {
        engine->stopped_mail.kind = MAIL_ENGINE_STOPPED;
        engine->stopped_mail.subject = engine;
        mailbox_post(engine->setup.control, &engine->stopped_mail);
    }
    return NULL;
}

static int thread_start(struct engine *engine)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&engine->thread, NULL, engine_main, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

static void engine_discard(struct engine *engine)
{
    mailbox_deinit(&engine->mailbox);
    pthread_cond_destroy(&engine->answered);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

int engine_start(struct engine **started, const struct engine_setup *setup, struct fault *fault)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for an engine");
    }
    engine->setup = *setup;
    engine->config = *setup->config;
    engine->fault = fault;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->answered, NULL);
    int error = mailbox_init(&engine->mailbox);
    if (error == 0) {
        error = thread_start(engine);
    }
    if (error != 0) {
        engine_discard(engine);
        return fault_set(fault, error, "an engine's thread cannot be started: %s",
                         strerror(-error));
    }
    pthread_mutex_lock(&engine->lock);
    while (!engine->answer_given) {
        pthread_cond_wait(&engine->answered, &engine->lock);
    }
    error = engine->answer;
    pthread_mutex_unlock(&engine->lock);
    if (error != 0) {
        pthread_join(engine->thread, NULL);
        engine_discard(engine);
        return error;
    }
    *started = engine;
    return 0;
}

struct mailbox *engine_mailbox(struct engine *engine)
{
    return &engine->mailbox;
}

int engine_free(struct engine *engine)
{
    pthread_join(engine->thread, NULL);
    const int result = engine->result;
    engine_discard(engine);
    return result;
}
