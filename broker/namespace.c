/* Namespace: see namespace.h. */
#include "broker/namespace.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io_backend.h"
#include "broker/namespace_set.h"
#include "broker/options.h"
#include "broker/options_table.h"
#include "broker/options_value.h"
#include "broker/store_dir.h"
#include "shm/cleanup.h"
#include "shm/crash_point.h"
#include "shm/ensure.h"

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
    list_remove(&space->namespaces);
    free(space);
}

struct namespace_words namespace_words(const struct namespace *space)
{
    struct namespace_words words;
    struct log_quote quote;
    snprintf(words.text, sizeof words.text, "%.90s",
             log_quote(&quote, (const char *)space->facts.key, space->facts.key_bytes));
    return words;
}

/* Options. */

static int option_apply(struct options *options, const struct namespace *space, int at,
                        struct fault *fault)
{
    const char *const text = space->facts.options[at];
    const struct option_spec *const spec = option_find(namespace_option_names[at]);
    ensure(spec != NULL);
    if (text[0] == '\0' || option_value_store(spec, text, options) == 0) {
        return 0;
    }
    char expected[256];
    return fault_set(fault, -EINVAL, "%s = %s of namespace %s: expected %s", spec->name, text,
                     NAMESPACE_WORDS(space),
                     option_value_expected(spec, expected, sizeof expected));
}

int namespace_configure(struct namespace *space, struct fault *fault)
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
        const int error = option_apply(options, space, at, fault);
        if (error != 0) {
            return error;
        }
    }
    space->config = *config;
    return 0;
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
    int result = store_dir_make(io, space->config.data_dir, &dir, fault);
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

static int job_open(struct namespace *space, struct fault *fault)
{
    struct io *io;
    int error = namespace_configure(space, fault);
    if (error != 0) {
        return error;
    }
    error = io_open(&io, space->config.backend, space->config.direct, fault);
    if (error < 0) {
        return error;
    }
    error = place_prepare(space, io, fault);
    io_close(io);
    if (error == 0) {
        error = store_prepare(space, fault);
    }
    if (error != 0) {
        namespace_parts_free(space);
    }
    return error;
}

/* Jobs. */

void namespace_job_run(struct namespace *space, enum namespace_job job)
{
    int error = 0;
    space->fault = (struct fault){0};
    switch (job) {
    case NAMESPACE_JOB_OPEN:
        error = job_open(space, &space->fault);
        break;
    case NAMESPACE_JOB_NONE:
        ensure(!"a job");
    }
    if (error == 0) {
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
    sigset_t all;
    sigset_t before;
    ensure(space->job == NAMESPACE_JOB_NONE);
    space->job = job;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&space->thread, NULL, job_main, space);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        space->job = NAMESPACE_JOB_NONE;
        return -error;
    }
    pthread_setname_np(space->thread, "tusk-opener");
    return 0;
}

void namespace_job_end(struct namespace *space)
{
    pthread_join(space->thread, NULL);
    space->job = NAMESPACE_JOB_NONE;
}
