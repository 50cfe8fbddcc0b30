/* Fake engine: see fake_engine.h. */
#include "tests/unit/fake_engine.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/ensure.h"
#include "shm/pins.h"

struct fake_script fake_script;

struct engine {
    struct fake_engine fake;
    int end_fd; /* eventfd: end by itself */
    pthread_t thread;
    struct mail stopped_mail;
};

static struct engine *started_last;

void fake_engine_init(struct fake_engine *engine, struct mailbox *control)
{
    *engine = (struct fake_engine){.control = control};
    list_init(&engine->clients);
    list_init(&engine->stores);
    ensure(mailbox_init(&engine->mailbox) == 0);
}

void fake_engine_deinit(struct fake_engine *engine)
{
    mailbox_deinit(&engine->mailbox);
}

static void answer(struct fake_engine *engine, struct mail *mail, enum mail_kind kind,
                   void *subject)
{
    mail->kind = kind;
    mail->subject = subject;
    mailbox_post(engine->control, mail);
}

static void lane_attach(struct fake_engine *engine, struct lane *lane)
{
    ensure(list_linked(&lane->client->clients) && !list_linked(&lane->siblings));
    ensure(atom_load_relaxed(&lane->map.shm->parked) == 1); /* as its client finds it */
    ensure(atom_load_relaxed(&lane->record->lane_id) == lane->lane_id);
    list_push_back(&lane->client->lanes, &lane->siblings);
    engine->lanes++;
    engine->lane = lane;
}

static void lane_detach(struct fake_engine *engine, struct lane *lane)
{
    ensure(list_linked(&lane->siblings));
    list_remove(&lane->siblings);
    engine->lanes--;
}

static bool store_is_attached(const struct fake_engine *engine, const struct engine_store *store)
{
    list_each(node, &engine->stores)
    {
        if (list_entry(node, struct engine_store, stores) == store) {
            return true;
        }
    }
    return false;
}

static void store_close_now(struct fake_engine *engine, struct engine_store *store)
{
    list_remove(&store->stores);
    store->result = engine->end_error;
    answer(engine, &store->closed_mail, MAIL_STORE_CLOSED, store);
}

static void client_attach(struct fake_engine *engine, struct client *client)
{
    ensure(!list_linked(&client->clients) && client->pins_fd == -1);
    ensure(client->store != NULL && store_is_attached(engine, client->store));
    list_push_back(&engine->clients, &client->clients);
    engine->client = client;
}

static void client_close(struct fake_engine *engine, struct client *client)
{
    ensure(list_linked(&client->clients));
    list_each(node, &client->lanes)
    {
        lane_detach(engine, list_entry(node, struct lane, siblings));
    }
    list_remove(&client->clients);
    answer(engine, &client->closed_mail, MAIL_CLIENT_CLOSED, client);
}

static void pins_attach(const struct client *client)
{
    struct stat status;
    ensure(list_linked(&client->clients));
    ensure(fstat(client->pins_fd, &status) == 0);
    ensure(status.st_size == sizeof(struct pins_shm));
}

void fake_engine_run(struct fake_engine *engine)
{
    struct mail *mail = mailbox_take(&engine->mailbox);
    while (mail != NULL) {
        const struct mail taken = *mail; /* answering gives the mail's subject away */
        mail = mail->next;
        engine->taken[taken.kind]++;
        ensure(!engine->stopped);
        switch (taken.kind) {
        case MAIL_STORE_ATTACH:
            list_push_back(&engine->stores, &((struct engine_store *)taken.subject)->stores);
            break;
        case MAIL_STORE_SET:
            answer(engine, &((struct engine_store *)taken.subject)->set_done_mail,
                   MAIL_STORE_SET_DONE, taken.subject);
            break;
        case MAIL_STORE_CLOSE:
            store_close_now(engine, taken.subject);
            break;
        case MAIL_CLIENT_ATTACH:
            client_attach(engine, taken.subject);
            break;
        case MAIL_LANE_ATTACH:
            lane_attach(engine, taken.subject);
            break;
        case MAIL_LANE_CLOSE:
            lane_detach(engine, taken.subject);
            answer(engine, &((struct lane *)taken.subject)->closed_mail, MAIL_LANE_CLOSED,
                   taken.subject);
            break;
        case MAIL_PINS_ATTACH:
            pins_attach(taken.subject);
            answer(engine, &((struct client *)taken.subject)->pins_mail, MAIL_PINS_ATTACHED,
                   taken.subject);
            break;
        case MAIL_CLIENT_CLOSE:
            client_close(engine, taken.subject);
            break;
        case MAIL_STOP:
            engine->stopped = true;
            break;
        case MAIL_STORE_SET_DONE:
        case MAIL_STORE_CLOSED:
        case MAIL_JOB_DONE:
        case MAIL_LANE_CLOSED:
        case MAIL_PINS_ATTACHED:
        case MAIL_CLIENT_CLOSED:
        case MAIL_CLIENT_HOSTILE:
        case MAIL_ENGINE_STOPPED:
        default:
            ensure(!"mail for an engine");
        }
    }
}

static void *engine_main(void *argument)
{
    struct engine *engine = argument;
    struct pollfd ends[] = {{.fd = mailbox_fd(&engine->fake.mailbox), .events = POLLIN},
                            {.fd = engine->end_fd, .events = POLLIN}};
    while (!engine->fake.stopped && (ends[1].revents & POLLIN) == 0) {
        ensure(poll(ends, 2, -1) > 0);
        fake_engine_run(&engine->fake);
    }
    list_each(node, &engine->fake.stores)
    {
        store_close_now(&engine->fake, list_entry(node, struct engine_store, stores));
    }
    answer(&engine->fake, &engine->stopped_mail, MAIL_ENGINE_STOPPED, engine);
    return NULL;
}

int engine_start(struct engine **out, const struct engine_setup *setup, struct fault *fault)
{
    if (fake_script.start_error != 0) {
        return fault_set(fault, fake_script.start_error, "the fake engine does not start");
    }
    struct engine *engine = calloc(1, sizeof *engine);
    ensure(engine != NULL);
    fake_engine_init(&engine->fake, setup->control);
    engine->end_fd = eventfd(0, EFD_CLOEXEC);
    engine->fake.end_error = fake_script.end_error;
    ensure(engine->end_fd >= 0);
    ensure(pthread_create(&engine->thread, NULL, engine_main, engine) == 0);
    started_last = engine;
    *out = engine;
    return 0;
}

void fake_engine_fail(void)
{
    const uint64_t one = 1;
    ensure(write(started_last->end_fd, &one, sizeof one) == sizeof one);
}

struct mailbox *engine_mailbox(struct engine *engine)
{
    return &engine->fake.mailbox;
}

void engine_free(struct engine *engine)
{
    pthread_join(engine->thread, NULL);
    fake_engine_deinit(&engine->fake);
    close(engine->end_fd);
    free(engine);
}

int engine_store_open(struct engine_store **store, const struct engine_store_setup *setup,
                      struct fault *fault)
{
    if (fake_script.open_error != 0) {
        return fault_set(fault, fake_script.open_error, "the fake store does not open");
    }
    struct engine_store *made = calloc(1, sizeof *made);
    ensure(made != NULL);
    made->config = *setup->config;
    made->directory = setup->directory;
    made->attach_mail = (struct mail){.kind = MAIL_STORE_ATTACH, .subject = made};
    made->set_mail = (struct mail){.kind = MAIL_STORE_SET, .subject = made};
    made->close_mail = (struct mail){.kind = MAIL_STORE_CLOSE, .subject = made};
    *store = made;
    return 0;
}

void engine_store_free(struct engine_store *store)
{
    free(store);
}
