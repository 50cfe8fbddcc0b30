/* Engine: see engine.h. */
#include "broker/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine_state.h"
#include "broker/io_backend.h"
#include "broker/retention.h"
#include "broker/thread.h"
#include "broker/topic_admin.h"
#include "shm/ensure.h"

static struct engine_store *store_of(const struct lane_set *lanes)
{
    return lanes->context;
}

static void post(const struct engine *engine, struct mail *mail, enum mail_kind kind, void *subject)
{
    mail->kind = kind;
    mail->subject = subject;
    mailbox_post(engine->setup.control, mail);
}

/* What a store that has ended leaves behind, as the lanes of a stop, is the control thread's. */
static bool ended(const struct engine_store *store)
{
    return store->stage == STORE_ENDED;
}

static void client_hostile(struct lane_set *lanes, struct client *client)
{
    if (!client->closing && client->hostile_mail.kind == 0) {
        post(store_of(lanes)->engine, &client->hostile_mail, MAIL_CLIENT_HOSTILE, client);
    }
}

/* All lanes of a client that is going are gone. */
static void client_ended(struct client *client)
{
    struct engine_store *store = client->store;
    list_remove(&client->readers);
    list_remove(&client->clients);
    topic_admin_release(&store->store, client);
    store->store.freed = true; /* what it had pinned */
    post(store->engine, &client->closed_mail, MAIL_CLIENT_CLOSED, client);
}

static void lane_closed(struct lane_set *lanes, struct lane *lane)
{
    struct client *client = lane->client;
    if (ended(client->store)) {
        return;
    }
    if (!client->closing) {
        post(store_of(lanes)->engine, &lane->closed_mail, MAIL_LANE_CLOSED, lane);
    } else if (list_empty(&client->lanes)) {
        client_ended(client);
    }
}

static void client_close(struct client *client)
{
    client->closing = true;
    if (list_empty(&client->lanes)) {
        client_ended(client);
        return;
    }
    list_each(node, &client->lanes)
    {
        lane_set_close(&client->store->lanes, list_entry(node, struct lane, siblings));
    }
}

static void store_serve(struct engine *engine, struct engine_store *store)
{
    store->engine = engine;
    engine_store_wake(store);
    const int error = store_attach(&store->store, engine->io, &store->arena);
    if (error != 0) {
        store_fence(&store->store, error, "tying LOCK to the ring");
    }
    lane_set_init(&store->lanes, &store->store, engine->io);
    store->lanes.client_hostile = client_hostile;
    store->lanes.lane_closed = lane_closed;
    store->lanes.context = store;
    store->stage = STORE_SERVING;
    list_push_back(&engine->stores, &store->stores);
    if (engine->stopping) {
        engine_store_stop(store);
    }
}

/* Clients that are still attached, as those of a stop are, are the control thread's again. */
static void store_ended(struct engine *engine, struct engine_store *store)
{
    list_remove(&store->stores);
    list_remove(&store->awake);
    store->result = store->store.fenced;
    atom_store_relaxed(&store->directory->state, BROKER_STOPPED); /* alone */
    lane_set_abandon(&store->lanes);
    store_seal(&store->store);
    store_detach(&store->store, &store->arena);
    store_close(&store->store);
    post(engine, &store->closed_mail, MAIL_STORE_CLOSED, store);
}

/*
 * From `each` to another schedule: readers wait for a watermark that may not move any more, so all
 * who wait look again. To `each`: what is committed becomes durable before the change counts as
 * done, and the word is there before the next unit is [T1].
 */
static void store_set(struct engine_store *store)
{
    const struct engine_store_options *wanted = &store->wanted;
    struct config *config = &store->config;
    const bool schedule = config->fsync != wanted->fsync;
    engine_store_wake(store);
    engine_store_options_take(config, wanted);
    atom_store_relaxed(&store->directory->sync_each, config->fsync == FSYNC_EACH); /* [T1] orders */
    atom_store_relaxed(&store->directory->strict, config->consistency == READ_STRICTLY_AT_ONCE);
    atom_store_relaxed(&store->directory->persist_every, config->persist_every); /* alone */
    retention_default_set(&store->store, &config->retention);
    segment_set_reserve(&store->store.segments,
                        config->fsync == FSYNC_NONE ? 0 : SEGMENT_ZEROED_DEFAULT);
    if (schedule) {
        store_wake_readers(&store->store);
    }
    store->set_sync = flush_want(&store->store);
    store->setting = true;
}

static void store_set_look(struct engine *engine, struct engine_store *store)
{
    if (store->setting && (store->store.flush.durable_sync >= store->set_sync ||
                           store->store.fenced != 0 || store->stage == STORE_ENDED)) {
        store->setting = false;
        post(engine, &store->set_done_mail, MAIL_STORE_SET_DONE, store);
    }
}

static void stop(struct engine *engine)
{
    engine->stopping = true;
    list_each(node, &engine->stores)
    {
        engine_store_stop(list_entry(node, struct engine_store, stores));
    }
}

static void pins_attach(struct client *client)
{
    struct engine_store *store = client->store;
    list_push_back(&store->store.pool.readers, &client->readers);
    post(store->engine, &client->pins_mail, MAIL_PINS_ATTACHED, client);
}

static void lane_mail_handle(enum mail_kind kind, struct lane *lane)
{
    struct engine_store *store = lane->client->store;
    if (ended(store)) {
        return;
    }
    if (kind == MAIL_LANE_ATTACH) {
        lane_set_attach(&store->lanes, lane);
    } else {
        lane_set_close(&store->lanes, lane);
    }
}

static void client_mail_handle(enum mail_kind kind, struct client *client)
{
    struct engine_store *store = client->store;
    if (ended(store)) {
        return;
    }
    if (kind == MAIL_CLIENT_ATTACH) {
        lane_set_attach_client(&store->lanes, client);
    } else if (kind == MAIL_PINS_ATTACH) {
        pins_attach(client);
    } else {
        client_close(client);
    }
}

static void mail_handle(struct engine *engine, const struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_STORE_ATTACH:
        store_serve(engine, mail->subject);
        break;
    case MAIL_STORE_SET:
        if (!ended(mail->subject)) { /* else MAIL_STORE_CLOSED is the answer */
            store_set(mail->subject);
        }
        break;
    case MAIL_STORE_CLOSE:
        engine_store_stop(mail->subject);
        break;
    case MAIL_CLIENT_ATTACH:
    case MAIL_PINS_ATTACH:
    case MAIL_CLIENT_CLOSE:
        client_mail_handle(mail->kind, mail->subject);
        break;
    case MAIL_LANE_ATTACH:
    case MAIL_LANE_CLOSE:
        lane_mail_handle(mail->kind, mail->subject);
        break;
    case MAIL_STOP:
        stop(engine);
        break;
    case MAIL_LANE_CLOSED:
    case MAIL_PINS_ATTACHED:
    case MAIL_CLIENT_CLOSED:
    case MAIL_CLIENT_HOSTILE:
    case MAIL_STORE_SET_DONE:
    case MAIL_STORE_CLOSED:
    case MAIL_ENGINE_STOPPED:
    case MAIL_JOB_DONE:
    default:
        ensure(!"mail for the control thread");
    }
}

bool engine_mail_take(struct engine *engine)
{
    struct mail *mail = mailbox_take(&engine->mailbox);
    const bool any = mail != NULL;
    engine->stirred = engine->stirred || any;
    while (mail != NULL) {
        struct mail *next = mail->next;
        mail_handle(engine, mail);
        mail = next;
    }
    return any;
}

static void mail_readable(struct io_watch *watch)
{
    engine_mail_take(watch->context);
}

static void mail_unwatched(struct io_watch *watch)
{
    struct engine *engine = watch->context;
    engine->mail_watched = false;
}

/* True: a store has come a stage further, so what it is to do next is not waited for. */
static bool stores_step(struct engine *engine)
{
    bool further = false;
    list_each(node, &engine->awake)
    {
        struct engine_store *store = list_entry(node, struct engine_store, awake);
        const enum engine_store_stage before = store->stage;
        engine_store_step(store);
        further = further || store->stage != before;
        store_set_look(engine, store);
        if (store->stage == STORE_ENDED) {
            store_ended(engine, store);
        }
    }
    return further;
}

static void engine_run(struct engine *engine)
{
    bool further = false;
    while (!engine->stopping || !list_empty(&engine->stores)) {
        if (engine_pass(engine) || further) {
            engine->idle_since_ns = 0;
            engine_hand_over(engine);
        } else {
            engine_idle(engine);
        }
        further = stores_step(engine);
    }
    io_unwatch(engine->io, &engine->mail_watch);
    while (engine->mail_watched) {
        (void)io_wait(engine->io, IO_FOREVER);
    }
    ensure(io_in_flight(engine->io) == 0);
}

/* Opens what the engine reaches disk and sockets with, and says once what that is. */
static int engine_open_io(struct engine *engine, struct fault *fault)
{
    const struct config *config = engine->setup.config;
    const int outcome = io_open(&engine->io, config->backend, config->direct, fault);
    if (outcome < 0) {
        return outcome;
    }
    if (outcome == IO_OPEN_FELL_BACK) {
        log_warning(engine->setup.log, "engine.io",
                    "backend=%s direct=%s engine=%" PRIu32 " reason=%s", engine->io->ops->name,
                    io_direct_name(engine->io->direct), engine->setup.number,
                    LOG_QUOTE(fault->text));
    } else {
        log_info(engine->setup.log, "engine.io", "backend=%s direct=%s engine=%" PRIu32,
                 engine->io->ops->name, io_direct_name(engine->io->direct), engine->setup.number);
    }
    const int error = io_start(engine->io);
    return error == 0 ? 0
                      : fault_set(fault, error, "the engine's I/O cannot be started: %s",
                                  strerror(-error));
}

static int engine_open(struct engine *engine, struct fault *fault)
{
    int error = engine_open_io(engine, fault);
    if (error != 0) {
        return error;
    }
    engine->mail_watch = (struct io_watch){
        .fd = mailbox_fd(&engine->mailbox),
        .fn = mail_readable,
        .removed = mail_unwatched,
        .context = engine,
    };
    io_watch(engine->io, &engine->mail_watch);
    engine->mail_watched = true;
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
    }
    io_close(engine->io);
    if (error == 0) {
        post(engine, &engine->stopped_mail, MAIL_ENGINE_STOPPED, engine);
    }
    return NULL;
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
    engine->idle = setup->config->idle;
    list_init(&engine->stores);
    list_init(&engine->awake);
    engine->quiet_next_ns = UINT64_MAX;
    engine->fault = fault;
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->answered, NULL);
    int error = mailbox_init(&engine->mailbox);
    if (error == 0) {
        error = thread_start(&engine->thread, "tusk-engine", engine_main, engine);
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

void engine_free(struct engine *engine)
{
    pthread_join(engine->thread, NULL);
    engine_discard(engine);
}
