/*
 * tusk-inspect: looks at the stores of a broker that does not run.
 * Runs on:    one thread.
 * Invariants: nothing below the directory is ever changed (guard.h). Exit statuses are those that
 *             --help lists.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "broker/inspect/arguments.h"
#include "broker/inspect/dump.h"
#include "broker/inspect/inspection.h"
#include "broker/inspect/progress.h"
#include "broker/inspect/report.h"
#include "broker/inspect/verify.h"
#include "broker/io_backend.h"

static int refuse(const struct fault *fault)
{
    fprintf(stderr, "tusk-inspect: %s\n", fault->text);
    switch (-fault->error) {
    case EBUSY:
        return EX_TEMPFAIL;
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        return EX_NOINPUT;
    case EACCES:
    case EPERM:
        return EX_NOPERM;
    case EIO:
        return EX_IOERR;
    default:
        return EX_OSERR;
    }
}

static int verify(const struct arguments *arguments, struct inspection *inspection,
                  struct fault *fault)
{
    struct arguments copy = *arguments;
    struct account account = {.range_fn = arguments->map ? report_range : NULL, .context = &copy};
    struct verify_result result;
    struct progress progress;
    progress_begin(&progress, arguments->progress);
    const int error = verify_run(inspection, &account, progress_tell, &progress, &result);
    progress_end(&progress);
    if (error != 0) {
        return fault_set(fault, error, "no memory to verify %s", inspection->survey.dir.path);
    }
    report_verify(arguments, inspection, &account, &result);
    return 0;
}

static int topic_missing(struct fault *fault, const char *path, const char *topic)
{
    return fault_set(fault, -ENOENT, "%s has no topic \"%s\"; tusk-inspect dump %s lists them",
                     path, topic, path);
}

static int dump(const struct arguments *arguments, struct inspection *inspection,
                struct fault *fault)
{
    const int error = dump_run(arguments, inspection);
    if (error == -ENOENT) {
        return topic_missing(fault, inspection->survey.dir.path, arguments->topic);
    }
    if (error != 0) {
        return fault_set(fault, error, "no memory to dump %s", inspection->survey.dir.path);
    }
    report_findings(arguments, &inspection->findings);
    return 0;
}

/* *lacks_topic, where it is given: the store is in order, but has no such topic, which is not
 * said. */
static int store_inspect(const struct arguments *arguments, struct io *io, const char *path,
                         bool *lacks_topic)
{
    struct fault fault = {0, ""};
    struct inspection inspection;
    if (inspection_open(&inspection, io, path, &fault) != 0) {
        return refuse(&fault);
    }
    const int error =
        (arguments->verb == VERB_VERIFY ? verify : dump)(arguments, &inspection, &fault);
    int status;
    if (error == -ENOENT && lacks_topic != NULL) {
        *lacks_topic = true;
        status = EX_OK;
    } else {
        status = error == 0 ? report_status(&inspection) : refuse(&fault);
    }
    inspection_close(&inspection);
    return status;
}

/* The names of the stores in a data directory, in order. */
static int name_order(const struct dirent **left, const struct dirent **right)
{
    return strcmp((*left)->d_name, (*right)->d_name);
}

static int shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int stores_inspect(const struct arguments *arguments, struct io *io)
{
    struct dirent **names;
    const int count = scandir(arguments->directory, &names, shown, name_order);
    int worst = count < 0 ? EX_NOINPUT : EX_OK;
    int stores = 0;
    int lacking = 0;
    for (int i = 0; i < count; i++) {
        char *path;
        if (asprintf(&path, "%s/%s", arguments->directory, names[i]->d_name) < 0) {
            worst = EX_OSERR;
        } else {
            if (survey_is_store(io, path)) {
                bool lacks_topic = false;
                const int status = store_inspect(arguments, io, path, &lacks_topic);
                lacking += lacks_topic;
                worst = worst == EX_OK || status == EX_IOERR ? status : worst;
                stores++;
            }
            free(path);
        }
        free(names[i]);
    }
    if (count >= 0) {
        free(names);
    }
    if (stores == 0 && worst != EX_OSERR) {
        /* The words of a single store fit: what is missing, and where. */
        return store_inspect(arguments, io, arguments->directory, NULL);
    }
    if (lacking > 0 && lacking == stores) {
        struct fault fault = {0, ""};
        (void)topic_missing(&fault, arguments->directory, arguments->topic);
        return refuse(&fault);
    }
    return worst;
}

static int inspect(const struct arguments *arguments)
{
    struct fault fault = {0, ""};
    struct io *io;
    if (io_open(&io, IO_BACKEND_AUTO, IO_DIRECT_AUTO, &fault) < 0) {
        return refuse(&fault);
    }
    int status;
    const int error = io_start(io);
    if (error != 0) {
        fault_set(&fault, error, "the disk cannot be reached: %s", strerror(-error));
        status = refuse(&fault);
    } else if (survey_is_store(io, arguments->directory)) {
        status = store_inspect(arguments, io, arguments->directory, NULL);
    } else {
        status = stores_inspect(arguments, io);
    }
    io_close(io);
    return status;
}

int main(int argc, char *argv[])
{
    struct arguments arguments;
    int status = EX_OK;
    switch ((enum arguments_outcome)arguments_parse(&arguments, argc, argv)) {
    case ARGUMENTS_RUN:
        status = inspect(&arguments);
        break;
    case ARGUMENTS_WRONG:
        return EX_USAGE;
    case ARGUMENTS_EXIT:
        break;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "tusk-inspect: writing to stdout: %s\n", strerror(errno));
        return EX_IOERR;
    }
    return status;
}
