/* Namespace set: the start, which looks what there is on disk; see namespace_set.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io_backend.h"
#include "broker/namespace_set.h"
#include "shm/cleanup.h"

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
    if (facts != NULL && namespace_set_find_key(set, facts->key, facts->key_bytes) != NULL) {
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
    namespace_set_add(set, space);
    return 0;
}

/* What a removal that was cut short has left. */
static bool sweep(const struct scan *scan, const char *name)
{
    const size_t length = strlen(name);
    const size_t end = strlen(NAMESPACE_REMOVED);
    if (length <= end || strcmp(name + length - end, NAMESPACE_REMOVED) != 0) {
        return false;
    }
    const int error = namespace_sweep(scan->io, scan->data, name);
    if (error != 0) {
        log_warning(scan->set->log, "namespace.left_over", "directory=%s reason=%s",
                    LOG_QUOTE(name), LOG_QUOTE(strerror(-error)));
    }
    return true;
}

static int scan_one(void *context, const char *name)
{
    const struct scan *scan = context;
    struct io_file *dir;
    char path[CONFIG_PATH_BYTES + NAMESPACE_NAME_BYTES_MAX + 1];
    struct fault damage = {0};
    if (sweep(scan, name) || strlen(name) > NAMESPACE_NAME_BYTES_MAX ||
        namespace_set_find_name(scan->set, name) != NULL ||
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

/* Where the stores of namespaces are expected there may be a store itself. */
static int data_check(const struct scan *scan)
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
    return data_check(scan);
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
        error =
            namespace_set_make(set, NAMESPACE_DEFAULT, strlen(NAMESPACE_DEFAULT), &space, fault);
    }
    if (error != 0) {
        return error;
    }
    namespace_job_run(space, NAMESPACE_JOB_OPEN);
    if (space->fault.error != 0) {
        *fault = space->fault;
        return fault->error;
    }
    namespace_set_serve(space);
    return data_look(set, look_around, fault);
}
