/* Engine: see engine.h. */
#include "broker/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine_state.h"
#include "broker/io_uring.h"
#include "broker/topic_admin.h"
#include "shm/ensure.h"

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
        engine_stop_begin(engine);
        break;
    case MAIL_LANE_CLOSED:
    case MAIL_PINS_ATTACHED:
    case MAIL_CLIENT_CLOSED:
    case MAIL_CLIENT_HOSTILE:
    case MAIL_ENGINE_STOPPED:
        ensure(!"mail for the control thread");
    }
}

bool engine_mail_take(struct engine *engine)
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
    engine_mail_take(watch->context);
}

static void mail_unwatched(struct io_watch *watch)
{
    struct engine *engine = watch->context;
    engine->mail_watched = false;
}

static void engine_run(struct engine *engine)
{
    while (engine->stage != ENGINE_ENDED) {
        if (engine_pass(engine)) {
            engine->idle_since_ns = 0;
        } else {
            engine_idle(engine);
        }
        engine_stop_step(engine);
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
    engine_clocks_read(engine);
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
