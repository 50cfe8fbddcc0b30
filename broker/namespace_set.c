/* Namespace set: see namespace_set.h. */
#include "broker/namespace_set.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io_backend.h"
#include "shm/cleanup.h"
#include "shm/ensure.h"

void namespace_set_init(struct namespace_set *set, const struct config *config,
                        const struct run_dir *run_dir, struct mailbox *control, struct log *log)
{
    *set = (struct namespace_set){
        .config = config, .run_dir = run_dir, .control = control, .log = log};
    list_init(&set->all);
}

void namespace_set_add_engine(struct namespace_set *set, struct mailbox *engine)
{
    ensure(set->engines_count < CONFIG_ENGINES_MAX);
    set->engines[set->engines_count++] = (struct namespace_engine){.mailbox = engine};
}

/* Finding. */

static struct namespace *find_key(const struct namespace_set *set, const void *key, uint32_t bytes)
{
    list_each(node, &set->all)
    {
        struct namespace *space = list_entry(node, struct namespace, namespaces);
        if (space->facts.key_bytes == bytes && memcmp(space->facts.key, key, bytes) == 0) {
            return space;
        }
    }
    return NULL;
}

static const struct namespace *find_name(const struct namespace_set *set, const char *name)
{
    list_each(node, &set->all)
    {
        const struct namespace *space = list_entry(node, struct namespace, namespaces);
        if (strcmp(space->name.text, name) == 0) {
            return space;
        }
    }
    return NULL;
}

static void add(struct namespace_set *set, struct namespace *space)
{
    list_push_back(&set->all, &space->namespaces);
    set->count++;
}

static void discard(struct namespace *space)
{
    space->set->count--;
    namespace_free(space);
}

/* The first name for the key that no other key has. */
static int name_choose(const struct namespace_set *set, const void *key, uint32_t bytes,
                       struct namespace_name *name, struct fault *fault)
{
    for (unsigned attempt = 0;; attempt++) {
        *name = namespace_name(key, bytes, attempt);
        const struct namespace *other = find_name(set, name->text);
        if (other == NULL) {
            return 0;
        }
        if (other->damage.error != 0) {
            *fault = other->damage; /* it may be this one's */
            return fault->error;
        }
    }
}

static int make(struct namespace_set *set, const void *key, uint32_t bytes, struct namespace **out,
                struct fault *fault)
{
    if (set->count >= NAMESPACES_MAX) {
        return fault_set(fault, -ENOSPC, "the broker has %" PRIu32 " namespaces, its limit",
                         set->count);
    }
    struct namespace_name name;
    const int error = name_choose(set, key, bytes, &name, fault);
    if (error != 0) {
        return error;
    }
    struct namespace *space = namespace_new(set, key, bytes);
    if (space == NULL) {
        return fault_set(fault, -ENOMEM, "the broker has no memory for another namespace");
    }
    space->name = name;
    add(set, space);
    *out = space;
    return 0;
}

/* Serving. */

static struct namespace_engine *least_loaded(struct namespace_set *set)
{
    struct namespace_engine *least = &set->engines[0];
    for (uint32_t at = 1; at < set->engines_count; at++) {
        if (set->engines[at].stores < least->stores) {
            least = &set->engines[at];
        }
    }
    return least;
}

static void serve(struct namespace *space)
{
    struct namespace_set *set = space->set;
    struct namespace_engine *engine = least_loaded(set);
    space->state = NAMESPACE_SERVING;
    space->on_disk = true;
    space->engine = engine;
    space->store->owner = space;
    engine->stores++;
    counters_init(&space->counters, space->regions.directory.base, COUNTER_OF_CONTROL);
    mailbox_post(engine->mailbox, &space->store->attach_mail);
    log_info(set->log, "namespace.open", "namespace=%s directory=%s engine=%d arena=%" PRIu64,
             NAMESPACE_WORDS(space), LOG_QUOTE(space->config.data_dir),
             (int)(engine - set->engines), space->config.arena_bytes);
}

static int open_begin(struct namespace *space, struct fault *fault)
{
    struct namespace_set *set = space->set;
    const int error = namespace_job_begin(space, NAMESPACE_JOB_OPEN);
    if (error != 0) {
        return fault_set(fault, error, "a thread to open namespace %s cannot be started: %s",
                         NAMESPACE_WORDS(space), strerror(-error));
    }
    space->state = NAMESPACE_OPENING;
    set->jobs++;
    return NAMESPACE_WAIT;
}

int namespace_set_find(struct namespace_set *set, const void *key, uint32_t bytes,
                       struct namespace **out, struct fault *fault)
{
    ensure(bytes > 0 && bytes <= NAMESPACE_KEY_BYTES_MAX);
    struct namespace *space = find_key(set, key, bytes);
    const int error = space == NULL ? make(set, key, bytes, &space, fault) : 0;
    if (error != 0) {
        return error;
    }
    *out = space;
    switch (space->state) {
    case NAMESPACE_SERVING:
        return NAMESPACE_READY;
    case NAMESPACE_OPENING:
        return NAMESPACE_WAIT;
    case NAMESPACE_CLOSED:
        break;
    }
    const int outcome = open_begin(space, fault);
    if (outcome < 0 && !space->on_disk) {
        discard(space);
    }
    return outcome;
}

static void open_failed(struct namespace *space)
{
    struct namespace_set *set = space->set;
    const struct fault why = space->fault;
    log_warning(set->log, "namespace.refused", "namespace=%s error=%d reason=%s",
                NAMESPACE_WORDS(space), why.error, LOG_QUOTE(why.text));
    space->state = NAMESPACE_CLOSED;
    set->opened(set->context, space, &why);
    if (!space->on_disk) {
        discard(space);
    }
}

static void open_done(struct namespace *space)
{
    struct namespace_set *set = space->set;
    set->jobs--;
    namespace_job_end(space);
    if (space->fault.error != 0) {
        open_failed(space);
    } else if (set->stopping) {
        namespace_parts_free(space);
        space->state = NAMESPACE_CLOSED;
    } else {
        serve(space);
        set->opened(set->context, space, NULL);
    }
}

void namespace_set_mail(struct namespace_set *set, const struct mail *mail)
{
    if (mail->kind == MAIL_JOB_DONE) {
        open_done(mail->subject);
        return;
    }
    const struct engine_store *store = mail->subject;
    const struct namespace *space = store->owner;
    ensure(mail->kind == MAIL_STORE_CLOSED && space->set == set);
    space->engine->stores--;
}

/* The start. */

struct scan {
    struct namespace_set *set;
    struct io *io;
    struct io_file *data;
    struct fault *fault;
};

/* What cannot be read keeps its name, so that no other namespace gets its directory. */
static int found(const struct scan *scan, const char *name, const struct namespace_facts *facts,
                 const struct fault *damage)
{
    struct namespace_set *set = scan->set;
    if (facts != NULL && find_key(set, facts->key, facts->key_bytes) != NULL) {
        log_warning(set->log, "namespace.twice", "directory=%s reason=%s", LOG_QUOTE(name),
                    LOG_QUOTE("another directory is the same namespace's: this one is left alone"));
        return 0;
    }
    struct namespace *space = facts != NULL ? namespace_new(set, facts->key, facts->key_bytes)
                                            : namespace_new(set, "", 0);
    if (space == NULL) {
        return fault_set(scan->fault, -ENOMEM, "no memory for the namespaces");
    }
    if (facts != NULL) {
        space->facts = *facts;
    } else {
        space->damage = *damage;
    }
    space->on_disk = true;
    strcpy(space->name.text, name);
    add(set, space);
    return 0;
}

static int scan_one(void *context, const char *name)
{
    const struct scan *scan = context;
    struct io_file *dir;
    char path[CONFIG_PATH_BYTES + 256];
    struct fault damage = {0};
    if (strlen(name) > NAMESPACE_NAME_BYTES_MAX || find_name(scan->set, name) != NULL ||
        io_dir_open(scan->io, scan->data, name, &dir) != 0) {
        return 0; /* none of ours */
    }
    cleanup_free struct namespace_facts *facts = malloc(sizeof *facts);
    if (facts == NULL) {
        io_file_close(scan->io, dir);
        return fault_set(scan->fault, -ENOMEM, "no memory for the namespaces");
    }
    snprintf(path, sizeof path, "%s/%s", scan->set->config->data_dir, name);
    const int result = namespace_file_read(scan->io, dir, path, facts, &damage);
    io_file_close(scan->io, dir);
    if (result == 0) {
        return found(scan, name, facts, NULL);
    }
    if (result == -ENOENT) {
        return 0;
    }
    log_warning(scan->set->log, "namespace.damaged", "reason=%s", LOG_QUOTE(damage.text));
    return found(scan, name, NULL, &damage);
}

/* A store of the layout that had no namespaces. */
static int old_layout_check(const struct scan *scan)
{
    struct io_file *file = NULL;
    const char *const data = scan->set->config->data_dir;
    const int result = io_file_open(scan->io, scan->data, "STORE", 0, &file);
    io_file_close(scan->io, file);
    if (result != 0) {
        return 0;
    }
    return fault_set(scan->fault, -EBADMSG,
                     "%s is a store itself, expected one directory for each namespace in it: make "
                     "%s/default, and move STORE, LOCK and segments into it",
                     data, data);
}

static int data_look(struct namespace_set *set, int (*look)(struct scan *scan), struct fault *fault)
{
    struct scan scan = {.set = set, .fault = fault};
    int error = io_open(&scan.io, set->config->backend, set->config->direct, fault);
    if (error < 0) {
        return error;
    }
    error = io_dir_open(scan.io, NULL, set->config->data_dir, &scan.data);
    if (error == 0) {
        error = look(&scan);
        io_file_close(scan.io, scan.data);
    } else if (error == -ENOENT) {
        error = 0;
    } else {
        fault_set(fault, error, "the data directory %s cannot be opened: %s", set->config->data_dir,
                  strerror(-error));
    }
    io_close(scan.io);
    return error;
}

static int look_before(struct scan *scan)
{
    return old_layout_check(scan);
}

static int look_around(struct scan *scan)
{
    const int error = io_dir_list(scan->io, scan->data, scan_one, scan);
    if (error == 0 || scan->fault->error != 0) {
        return error;
    }
    return fault_set(scan->fault, error, "the data directory %s cannot be listed: %s",
                     scan->set->config->data_dir, strerror(-error));
}

int namespace_set_start(struct namespace_set *set, struct fault *fault)
{
    struct namespace *space;
    int error = data_look(set, look_before, fault);
    if (error == 0) {
        error = make(set, NAMESPACE_DEFAULT, strlen(NAMESPACE_DEFAULT), &space, fault);
    }
    if (error != 0) {
        return error;
    }
    namespace_job_run(space, NAMESPACE_JOB_OPEN);
    if (space->fault.error != 0) {
        *fault = space->fault;
        return fault->error;
    }
    serve(space);
    return data_look(set, look_around, fault);
}

int namespace_set_deinit(struct namespace_set *set)
{
    int result = 0;
    if (set->config == NULL) {
        return 0;
    }
    ensure(set->jobs == 0);
    list_each(node, &set->all)
    {
        struct namespace *space = list_entry(node, struct namespace, namespaces);
        if (result == 0 && space->store != NULL) {
            result = space->store->result;
        }
        discard(space);
    }
    *set = (struct namespace_set){0};
    return result;
}
