/* Namespace: see namespace.h. */
#include "broker/namespace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io_backend.h"
#include "broker/namespace_set.h"
#include "broker/options.h"
#include "broker/options_table.h"
#include "broker/options_value.h"
#include "broker/store_dir.h"
#include "broker/thread.h"
#include "shm/cleanup.h"
#include "shm/crash_point.h"
#include "shm/ensure.h"
#include "shm/quantity.h"
#include "shm/retention_policy.h"

struct namespace *namespace_new(struct namespace_set *set, const void *key, uint32_t bytes)
{
    struct namespace *space = calloc(1, sizeof *space);
    if (space == NULL) {
        return NULL;
    }
    space->set = set;
    space->regions.fd = -1;
    space->job_mail = (struct mail){.kind = MAIL_JOB_DONE, .subject = space};
    list_init(&space->waiting);
    memcpy(space->facts.key, key, bytes);
    space->facts.key_bytes = bytes;
    return space;
}

void namespace_parts_free(struct namespace *space)
{
    engine_store_free(space->store);
    space->store = NULL;
    lane_table_deinit(&space->lanes);
    regions_close(&space->regions);
}

void namespace_free(struct namespace *space)
{
    ensure(space->job == NAMESPACE_JOB_NONE && list_empty(&space->waiting));
    namespace_parts_free(space);
    free(space->changed);
    list_remove(&space->namespaces);
    free(space);
}

struct namespace_words namespace_words(const struct namespace *space)
{
    struct namespace_words words;
    struct log_quote quote;
    snprintf(words.text, sizeof words.text, "%.*s", NAMESPACE_WORDS_BYTES - 1,
             log_quote(&quote, (const char *)space->facts.key, space->facts.key_bytes));
    return words;
}

/* Options. */

static int option_apply(struct options *options, const struct namespace_facts *facts, int at,
                        struct fault *fault)
{
    const char *const text = facts->options[at];
    const struct option_spec *const spec = option_find(namespace_option_names[at]);
    ensure(spec != NULL);
    if (text[0] == '\0' || option_value_store(spec, text, options) == 0) {
        return 0;
    }
    char expected[256];
    return fault_set(fault, -EINVAL, "%s of a namespace: '%s' is not a value of it, expected %s",
                     spec->name, text, option_value_expected(spec, expected, sizeof expected));
}

int namespace_configure(const struct namespace *space, const struct namespace_facts *facts,
                        struct config *out, struct fault *fault)
{
    cleanup_free struct options *options = calloc(1, sizeof *options);
    if (options == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for the options of a namespace");
    }
    options->config = *space->set->config;
    struct config *config = &options->config;
    const size_t used = strlen(config->data_dir);
    const int length =
        snprintf(config->data_dir + used, sizeof config->data_dir - used, "/%s", space->name.text);
    if (length >= (int)(sizeof config->data_dir - used)) {
        return fault_set(
            fault, -ENAMETOOLONG,
            "the data directory's path is too long for one of a namespace in it: %.200s",
            space->set->config->data_dir);
    }
    for (int at = 0; at < NAMESPACE_OPTIONS; at++) {
        const int error = option_apply(options, facts, at, fault);
        if (error != 0) {
            return error;
        }
    }
    *out = *config;
    return 0;
}

struct namespace_option_text namespace_option_text(const struct config *config,
                                                   enum namespace_option option)
{
    struct namespace_option_text text;
    struct retention_text retention;
    struct quantity_text interval;
    const char *value = NULL;
    switch (option) {
    case NAMESPACE_FSYNC:
        value = config->fsync == FSYNC_INTERVAL
                    ? quantity_duration_format(&interval, config->fsync_interval_ns)
                    : config_fsync_name(config->fsync);
        break;
    case NAMESPACE_CONSISTENCY:
        value = config->consistency == READ_STRICTLY_AT_ONCE ? "strict" : NULL;
        break;
    case NAMESPACE_RETENTION:
        value = retention_policy_format(&retention, &config->retention);
        break;
    case NAMESPACE_OPTIONS:
        ensure(!"an option");
    }
    if (value == NULL) {
        snprintf(text.text, sizeof text.text, "%" PRIu64, config->persist_every);
    } else {
        snprintf(text.text, sizeof text.text, "%s", value);
    }
    return text;
}

/* Opening. */

static bool has_store(struct io *io, struct io_file *dir)
{
    struct io_file *file = NULL;
    const int result = io_file_open(io, dir, "STORE", 0, &file);
    io_file_close(io, file);
    return result != -ENOENT;
}

/* A directory without NAMESPACE: new, or one whose making was cut short, or a store that was put
 * there by hand, which belongs to the namespace of its name. */
static int facts_make(const struct namespace *space, struct io *io, struct io_file *dir,
                      struct fault *fault)
{
    const struct namespace_facts *facts = &space->facts;
    const bool named = strlen(space->name.text) == facts->key_bytes &&
                       memcmp(space->name.text, facts->key, facts->key_bytes) == 0;
    if (!named && has_store(io, dir)) {
        return fault_set(fault, -EBADMSG,
                         "%s holds a store without a file NAMESPACE that says whose it is; "
                         "namespace %s cannot have this directory: move it away",
                         space->config.data_dir, NAMESPACE_WORDS(space));
    }
    return namespace_file_write(io, dir, space->config.data_dir, facts, fault);
}

static int facts_check(const struct namespace *space, struct io *io, struct io_file *dir,
                       struct fault *fault)
{
    cleanup_free struct namespace_facts *found = malloc(sizeof *found);
    if (found == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for a namespace");
    }
    const int result = namespace_file_read(io, dir, space->config.data_dir, found, fault);
    if (result == -ENOENT) {
        return facts_make(space, io, dir, fault);
    }
    if (result == 0 && (found->key_bytes != space->facts.key_bytes ||
                        memcmp(found->key, space->facts.key, found->key_bytes) != 0)) {
        return fault_set(fault, -EBADMSG, "%s belongs to another namespace, expected %s",
                         space->config.data_dir, NAMESPACE_WORDS(space));
    }
    return result;
}

/* The directory, and the file in it that says whose it is. */
static int place_prepare(struct namespace *space, struct io *io, struct fault *fault)
{
    struct io_file *dir;
    int result = namespace_configure(space, &space->facts, &space->config, fault);
    if (result != 0) {
        return result;
    }
    result = store_dir_make(io, space->config.data_dir, &dir, fault);
    if (result != 0) {
        return result;
    }
    crash_point("namespace.dir_made");
    result = facts_check(space, io, dir, fault);
    io_file_close(io, dir);
    return result;
}

static int store_prepare(struct namespace *space, struct fault *fault)
{
    struct log *log = space->set->log;
    int error = regions_make(&space->regions, space->set->run_dir, space->name.text, &space->config,
                             log, fault);
    if (error != 0) {
        return error;
    }
    counters_describe(space->regions.directory.base);
    const struct engine_store_setup setup = {
        .config = &space->config,
        .log = log,
        .directory = space->regions.directory.base,
        .arena = space->regions.arena,
    };
    error = engine_store_open(&space->store, &setup, fault);
    if (error == 0 && lane_table_init(&space->lanes, space->regions.ledger.base) != 0) {
        error = fault_set(fault, -ENOMEM, "no memory for the lanes of namespace %s",
                          NAMESPACE_WORDS(space));
    }
    return error;
}

/* The second half of an opening, without the job's I/O object: the store is opened by one of its
 * own. */
static int job_open(struct namespace *space, struct fault *fault)
{
    int error = store_prepare(space, fault);
    if (error != 0) {
        namespace_parts_free(space);
    }
    return error;
}

/* Writing. */

static int job_write(struct namespace *space, struct io *io, struct fault *fault)
{
    struct io_file *dir;
    cleanup_free struct config *config = malloc(sizeof *config);
    if (config == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for the options of a namespace");
    }
    int error = namespace_configure(space, space->changed, config, fault);
    if (error == 0) {
        error = io_dir_open(io, NULL, config->data_dir, &dir);
        if (error != 0) {
            fault_set(fault, error, "%s cannot be opened: %s", config->data_dir, strerror(-error));
        } else {
            error = namespace_file_write(io, dir, config->data_dir, space->changed, fault);
            io_file_close(io, dir);
        }
    }
    return error;
}

/* Removing. */

struct sweep {
    struct io *io;
    struct io_file *dir;
};

static int sweep_one(void *context, const char *name)
{
    const struct sweep *sweep = context;
    const int result = io_unlink(sweep->io, sweep->dir, name);
    return result == -EISDIR || result == -ENOENT ? 0 : result;
}

/* Only files: what is below other directories is nobody's here. */
static int files_remove(struct io *io, struct io_file *parent, const char *name)
{
    struct sweep sweep = {.io = io};
    int result = io_dir_open(io, parent, name, &sweep.dir);
    if (result == 0) {
        result = io_dir_list(io, sweep.dir, sweep_one, &sweep);
        io_file_close(io, sweep.dir);
    }
    return result;
}

int namespace_sweep(struct io *io, struct io_file *data, const char *name)
{
    struct io_file *dir;
    int result = io_dir_open(io, data, name, &dir);
    if (result != 0) {
        return result;
    }
    result = files_remove(io, dir, "segments");
    if (result == 0) {
        result = io_dir_remove(io, dir, "segments");
    }
    io_file_close(io, dir);
    if (result == 0 || result == -ENOENT) {
        result = files_remove(io, data, name);
    }
    return result == 0 ? io_dir_remove(io, data, name) : result;
}

/* From the rename on it is removed, whatever happens to this broker. */
static int dir_remove(struct namespace *space, struct io *io, struct io_file *data)
{
    char removed[NAMESPACE_NAME_BYTES_MAX + sizeof NAMESPACE_REMOVED];
    snprintf(removed, sizeof removed, "%s" NAMESPACE_REMOVED, space->name.text);
    (void)namespace_sweep(io, data, removed); /* one that an earlier removal has left */
    int result = io_rename(io, data, space->name.text, removed);
    if (result == 0) {
        crash_point("namespace.renamed");
        result = io_sync_now(io, data);
    }
    if (result == 0) {
        crash_point("namespace.removed");
        const int swept = namespace_sweep(io, data, removed);
        if (swept != 0) {
            log_warning(space->set->log, "namespace.left_over", "directory=%s reason=%s",
                        LOG_QUOTE(removed), LOG_QUOTE(strerror(-swept)));
        }
    }
    return result == -ENOENT ? 0 : result;
}

static int job_remove(struct namespace *space, struct io *io, struct fault *fault)
{
    struct io_file *data;
    const char *const path = space->set->config->data_dir;
    int result = io_dir_open(io, NULL, path, &data);
    if (result == 0) {
        result = dir_remove(space, io, data);
        io_file_close(io, data);
    }
    return result == 0 ? 0
                       : fault_set(fault, result, "%s/%s cannot be removed: %s", path,
                                   space->name.text, strerror(-result));
}

/* Jobs. */

static int job_run(struct namespace *space, enum namespace_job job)
{
    struct io *io;
    struct fault *fault = &space->fault;
    const struct config *config = space->set->config;
    int error = io_open(&io, config->backend, config->direct, fault);
    if (error < 0) {
        return error;
    }
    switch (job) {
    case NAMESPACE_JOB_OPEN:
        error = place_prepare(space, io, fault);
        break;
    case NAMESPACE_JOB_WRITE:
        error = job_write(space, io, fault);
        break;
    case NAMESPACE_JOB_REMOVE:
        error = job_remove(space, io, fault);
        break;
    case NAMESPACE_JOB_NONE:
        ensure(!"a job");
    }
    io_close(io);
    return error == 0 && job == NAMESPACE_JOB_OPEN ? job_open(space, fault) : error;
}

void namespace_job_run(struct namespace *space, enum namespace_job job)
{
    space->fault = (struct fault){0};
    if (job_run(space, job) == 0) {
        space->fault = (struct fault){0}; /* words of what was not in the way */
    }
}

static void *job_main(void *argument)
{
    struct namespace *space = argument;
    namespace_job_run(space, space->job);
    mailbox_post(space->set->control, &space->job_mail);
    return NULL;
}

int namespace_job_begin(struct namespace *space, enum namespace_job job)
{
    ensure(space->job == NAMESPACE_JOB_NONE);
    space->job = job;
    const int error = thread_start(&space->thread, "tusk-opener", job_main, space);
    if (error != 0) {
        space->job = NAMESPACE_JOB_NONE;
    }
    return error;
}

void namespace_job_end(struct namespace *space)
{
    pthread_join(space->thread, NULL);
    space->job = NAMESPACE_JOB_NONE;
}
