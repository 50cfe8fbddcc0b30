/* Namespace set: see namespace_set.h. */
#include "broker/namespace_set.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

struct namespace *namespace_set_find_key(const struct namespace_set *set, const void *key,
                                         uint32_t bytes)
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

const struct namespace *namespace_set_find_name(const struct namespace_set *set, const char *name)
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

void namespace_set_add(struct namespace_set *set, struct namespace *space)
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
        const struct namespace *other = namespace_set_find_name(set, name->text);
        if (other == NULL) {
            return 0;
        }
        if (other->damage.error != 0) {
            *fault = other->damage; /* it may be this one's */
            return fault->error;
        }
    }
}

int namespace_set_make(struct namespace_set *set, const void *key, uint32_t bytes,
                       struct namespace **out, struct fault *fault)
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
    namespace_set_add(set, space);
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

void namespace_set_serve(struct namespace *space)
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

static int job_start(struct namespace *space, enum namespace_job job, struct fault *fault)
{
    const int error = namespace_job_begin(space, job);
    if (error != 0) {
        return fault_set(fault, error, "a thread for namespace %s cannot be started: %s",
                         NAMESPACE_WORDS(space), strerror(-error));
    }
    space->set->jobs++;
    return 0;
}

static int open_begin(struct namespace *space, struct fault *fault)
{
    const int error = job_start(space, NAMESPACE_JOB_OPEN, fault);
    if (error != 0) {
        return error;
    }
    space->state = NAMESPACE_OPENING;
    return NAMESPACE_WAIT;
}

int namespace_set_find(struct namespace_set *set, const void *key, uint32_t bytes,
                       struct namespace **out, struct fault *fault)
{
    ensure(bytes > 0 && bytes <= NAMESPACE_KEY_BYTES_MAX);
    struct namespace *space = namespace_set_find_key(set, key, bytes);
    const int error = space == NULL ? namespace_set_make(set, key, bytes, &space, fault) : 0;
    if (error != 0) {
        return error;
    }
    *out = space;
    if (space->state == NAMESPACE_SERVING) {
        return NAMESPACE_READY;
    }
    if (space->state != NAMESPACE_CLOSED || space->job != NAMESPACE_JOB_NONE) {
        return NAMESPACE_WAIT; /* for the end of what is under way, see job_done() */
    }
    const int outcome = open_begin(space, fault);
    if (outcome < 0 && !space->on_disk) {
        discard(space);
    }
    return outcome;
}

/* Nobody can have it now: tells all who wait. */
static void refuse(struct namespace *space, const struct fault *why)
{
    struct namespace_set *set = space->set;
    const struct fault words = *why;
    log_warning(set->log, "namespace.refused", "namespace=%s error=%d reason=%s",
                NAMESPACE_WORDS(space), words.error, LOG_QUOTE(words.text));
    space->state = NAMESPACE_CLOSED;
    set->opened(set->context, space, &words);
    if (!space->on_disk) {
        discard(space);
    }
}

/* It is closed and no job runs: opens it again if somebody waits, forgets it if it is nowhere. */
static void closed_look(struct namespace *space)
{
    struct fault fault = {0};
    if (!list_empty(&space->waiting) && !space->set->stopping) {
        if (open_begin(space, &fault) < 0) {
            refuse(space, &fault);
        }
    } else if (!space->on_disk) {
        discard(space);
    }
}

static void open_done(struct namespace *space)
{
    struct namespace_set *set = space->set;
    if (space->fault.error != 0) {
        refuse(space, &space->fault);
    } else if (set->stopping) {
        namespace_parts_free(space);
        space->state = NAMESPACE_CLOSED;
        space->on_disk = true;
    } else {
        namespace_set_serve(space);
        set->opened(set->context, space, NULL);
    }
}

/* Changing. */

static void answer(struct namespace *space, const struct fault *why)
{
    if (space->asker != NULL) {
        space->set->answered(space->set->context, space, why->error == 0 ? NULL : why);
        space->asker = NULL;
    }
}

static int busy_check(const struct namespace *space, struct fault *fault)
{
    if (space->asker != NULL || space->setting || space->changed != NULL ||
        space->job != NAMESPACE_JOB_NONE ||
        (space->state != NAMESPACE_SERVING && space->state != NAMESPACE_CLOSED)) {
        return fault_set(fault, -EBUSY, "namespace %s is being opened or changed: try again later",
                         NAMESPACE_WORDS(space));
    }
    return 0;
}

static int option_unknown(const char *option, struct fault *fault)
{
    return fault_set(fault, -EINVAL,
                     "'%.60s' is no option of a namespace; there are fsync, consistency and "
                     "retention",
                     option);
}

/* Puts the value into the facts and checks that they can be. */
static int value_apply(const struct namespace *space, struct namespace_facts *facts,
                       const char *option, const char *value, struct fault *fault)
{
    const int at = namespace_option_find(option);
    if (at < 0) {
        return option_unknown(option, fault);
    }
    const size_t bytes = strlen(value);
    if (bytes == 0 || bytes >= NAMESPACE_OPTION_BYTES) {
        return fault_set(fault, -EINVAL, "%s of a namespace: a value has 1 to %d bytes", option,
                         NAMESPACE_OPTION_BYTES - 1);
    }
    memcpy(facts->options[at], value, bytes + 1);
    if (strcmp(value, "default") == 0) {
        facts->options[at][0] = '\0';
    }
    cleanup_free struct config *config = malloc(sizeof *config);
    if (config == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for the options of a namespace");
    }
    const int error = namespace_configure(space, facts, config, fault);
    if (error == 0 && facts->options[at][0] != '\0') { /* as the file's one parser reads it */
        strcpy(facts->options[at], namespace_option_text(config, at).text);
    }
    return error;
}

int namespace_set_option(struct namespace *space, const char *option, const char *value,
                         struct session *asker, struct fault *fault)
{
    int error = busy_check(space, fault);
    if (error != 0) {
        return error;
    }
    struct namespace_facts *changed = malloc(sizeof *changed);
    if (changed == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for the options of a namespace");
    }
    *changed = space->facts;
    error = value_apply(space, changed, option, value, fault);
    if (error == 0) {
        space->changed = changed;
        error = job_start(space, NAMESPACE_JOB_WRITE, fault);
    }
    if (error != 0) {
        space->changed = NULL;
        free(changed);
        return error;
    }
    space->asker = asker;
    return 0;
}

int namespace_option_value(const struct namespace *space, const char *option,
                           struct namespace_option_text *text, struct fault *fault)
{
    for (int at = 0; at < NAMESPACE_OPTIONS; at++) {
        const char *const name = namespace_option_names[at];
        const size_t length = strlen(name);
        if (strcmp(option, name) == 0) {
            *text = namespace_option_text(&space->config, at);
            return 0;
        }
        if (strncmp(option, name, length) == 0 && strcmp(option + length, "_source") == 0) {
            const bool own = space->facts.options[at][0] != '\0';
            strcpy(text->text, own ? "namespace" : "default");
            return 0;
        }
    }
    return option_unknown(option, fault);
}

/* The file has the new facts; who serves the store goes by them next. */
static void written(struct namespace *space)
{
    struct namespace_facts *changed = space->changed;
    space->changed = NULL;
    if (space->fault.error == 0) {
        cleanup_free struct config *config = malloc(sizeof *config);
        space->facts = *changed;
        if (config == NULL || namespace_configure(space, changed, config, &space->fault) != 0) {
            fault_set(&space->fault, -ENOMEM,
                      "no memory for the options of a namespace: they hold "
                      "from the next start on");
        } else if (space->state == NAMESPACE_SERVING) {
            const struct engine_store_options options = engine_store_options_of(config);
            engine_store_options_take(&space->config, &options);
        }
    }
    free(changed);
}

static void write_done(struct namespace *space)
{
    written(space);
    if (space->fault.error != 0 || space->state != NAMESPACE_SERVING || space->set->stopping) {
        answer(space, &space->fault);
        if (space->state == NAMESPACE_CLOSED) {
            closed_look(space);
        }
        return;
    }
    space->store->wanted = engine_store_options_of(&space->config);
    space->setting = true;
    mailbox_post(space->engine->mailbox, &space->store->set_mail);
}

static void set_done(struct namespace *space)
{
    const struct fault fine = {0};
    space->setting = false;
    log_info(space->set->log, "namespace.changed",
             "namespace=%s fsync=%s consistency=%s retention=%s", NAMESPACE_WORDS(space),
             namespace_option_text(&space->config, NAMESPACE_FSYNC).text,
             namespace_option_text(&space->config, NAMESPACE_CONSISTENCY).text,
             namespace_option_text(&space->config, NAMESPACE_RETENTION).text);
    answer(space, &fine);
}

/* Removing. */

int namespace_set_remove(struct namespace_set *set, const void *key, uint32_t bytes,
                         struct session *asker, struct namespace **found, struct fault *fault)
{
    struct namespace *space = namespace_set_find_key(set, key, bytes);
    *found = space;
    if (space == NULL) {
        return fault_set(fault, -ENOENT, "there is no such namespace");
    }
    if (bytes == strlen(NAMESPACE_DEFAULT) && memcmp(key, NAMESPACE_DEFAULT, bytes) == 0) {
        return fault_set(fault, -EPERM, "the namespace '" NAMESPACE_DEFAULT "' stays");
    }
    if (space->sessions > 0) {
        return fault_set(fault, -EBUSY, "namespace %s is in use; sessions: %" PRIu32,
                         NAMESPACE_WORDS(space), space->sessions);
    }
    int error = busy_check(space, fault);
    if (error != 0) {
        return error;
    }
    if (space->state == NAMESPACE_SERVING) {
        space->state = NAMESPACE_CLOSING;
        mailbox_post(space->engine->mailbox, &space->store->close_mail);
    } else {
        error = job_start(space, NAMESPACE_JOB_REMOVE, fault);
        space->state = error == 0 ? NAMESPACE_REMOVING : NAMESPACE_CLOSED;
    }
    space->asker = error == 0 ? asker : NULL;
    return error;
}

static void remove_done(struct namespace *space)
{
    space->state = NAMESPACE_CLOSED;
    if (space->fault.error == 0) {
        log_info(space->set->log, "namespace.removed", "namespace=%s", NAMESPACE_WORDS(space));
        space->on_disk = false;
        memset(space->facts.options, 0, sizeof space->facts.options);
    }
    answer(space, &space->fault);
    closed_look(space);
}

/* A stop closes all stores; their regions stay until nobody refers to them. */
static void store_closed(struct namespace *space)
{
    struct fault fault = {0};
    space->engine->stores--;
    if (space->setting) {
        set_done(space);
    }
    if (space->state != NAMESPACE_CLOSING || space->set->stopping) {
        return;
    }
    namespace_parts_free(space);
    space->state = NAMESPACE_REMOVING;
    if (job_start(space, NAMESPACE_JOB_REMOVE, &fault) != 0) {
        space->fault = fault;
        remove_done(space);
    }
}

/* Listing. */

static int key_compare(const struct namespace *space, const void *key, uint32_t bytes)
{
    const uint32_t common = space->facts.key_bytes < bytes ? space->facts.key_bytes : bytes;
    const int order = memcmp(space->facts.key, key, common);
    return order != 0 ? order : (space->facts.key_bytes > bytes) - (space->facts.key_bytes < bytes);
}

struct namespace *namespace_set_next(const struct namespace_set *set, const void *key,
                                     uint32_t bytes)
{
    struct namespace *next = NULL;
    list_each(node, &set->all)
    {
        struct namespace *space = list_entry(node, struct namespace, namespaces);
        if (space->on_disk && space->facts.key_bytes > 0 && key_compare(space, key, bytes) > 0 &&
            (next == NULL || key_compare(next, space->facts.key, space->facts.key_bytes) > 0)) {
            next = space;
        }
    }
    return next;
}

/* Mail. */

static void job_done(struct namespace *space)
{
    const enum namespace_job job = space->job;
    space->set->jobs--;
    namespace_job_end(space);
    switch (job) {
    case NAMESPACE_JOB_OPEN:
        open_done(space);
        return;
    case NAMESPACE_JOB_WRITE:
        write_done(space);
        return;
    case NAMESPACE_JOB_REMOVE:
        remove_done(space);
        return;
    case NAMESPACE_JOB_NONE:
        ensure(!"a job");
    }
}

void namespace_set_mail(struct namespace_set *set, const struct mail *mail)
{
    if (mail->kind == MAIL_JOB_DONE) {
        job_done(mail->subject);
        return;
    }
    const struct engine_store *store = mail->subject;
    struct namespace *space = store->owner;
    ensure(space->set == set);
    if (mail->kind == MAIL_STORE_SET_DONE) {
        set_done(space);
    } else {
        store_closed(space);
    }
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
