/* Embedded: see embedded.h. */
#include "tests/support/embedded.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/process.h"

void place_make(struct place *place)
{
    *place = (struct place){.options = TUSK_BROKER_OPTIONS_INIT};
    scratch_on_disk(place->dir);
    scratch_on_tmpfs(place->run_dir);
    (void)snprintf(place->data, sizeof place->data, "%s/data", place->dir);
    (void)snprintf(place->socket, sizeof place->socket, "%s/tusk.sock", place->dir);
    place->options.data_dir = place->data;
    place->options.socket_path = place->socket;
    place->options.run_dir = place->run_dir;
    place->options.arena_bytes = 8U << 20;
    place->options.error_text = place->error;
    place->options.error_text_bytes = sizeof place->error;
    place->options.quiet = 1;
}

struct tusk_broker *embedded_start(struct place *place)
{
    struct tusk_broker *broker = NULL;
    const int result = tusk_broker_start(&broker, &place->options);
    check_say(result == 0, "the broker did not start: %s", place->error);
    check_is(place->error[0], 0);
    return broker;
}

void embedded_refused(struct place *place, int error)
{
    struct tusk_broker *broker = NULL;
    const int result = tusk_broker_start(&broker, &place->options);
    check_say(result == error, "a start answered %d, not %d: %s", result, error, place->error);
    check(broker == NULL);
    check(place->error[0] != '\0');
}

struct tusk *embedded_attach(const struct place *place)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *tusk = NULL;
    options.socket_path = place->socket;
    check_ok(tusk_connect(&tusk, &options));
    return tusk;
}

static uint64_t names_in(const char *path)
{
    uint64_t count = 0;
    DIR *dir = opendir(path);
    check_say(dir != NULL, "%s: %m", path);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(dir);
    return count;
}

static void tree_count(const char *path, uint64_t *files, uint64_t *bytes)
{
    struct stat stat;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char child[4096];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        (void)snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (lstat(child, &stat) == 0 && S_ISDIR(stat.st_mode)) {
            tree_count(child, files, bytes);
        } else {
            (*files)++;
            *bytes += (uint64_t)stat.st_size;
        }
    }
    (void)closedir(dir);
}

/* Of a line of /proc/self/maps: is it of no file? */
static bool mapping_anonymous(const char *line)
{
    return strchr(line, '/') == NULL && strchr(line, '[') == NULL;
}

/* A sanitizer maps memory for itself wherever it finds some, so there only files' mappings count. */
static void mappings_count(struct footprint *footprint)
{
    char line[4352];
    FILE *file = fopen("/proc/self/maps", "re");
    check(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        const char *mode = strchr(line, ' ');
        footprint->mappings += !TEST_SANITIZED || !mapping_anonymous(line);
        footprint->shared_mappings += mode != NULL && mode[4] == 's';
    }
    (void)fclose(file);
}

struct footprint footprint_take(const struct place *place)
{
    struct footprint footprint = {.heap_bytes = mallinfo2().uordblks};
    uint64_t unused = 0;
    footprint.threads = process_count(getpid()).threads;
    footprint.fds = names_in("/proc/self/fd");
    mappings_count(&footprint);
    if (place != NULL) {
        tree_count(place->run_dir, &footprint.run_files, &unused);
        tree_count(place->data, &footprint.data_files, &footprint.data_bytes);
    }
    return footprint;
}

static void expect_at_most(const char *what, uint64_t after, uint64_t before, uint64_t slack)
{
    check_say(after <= before + slack, "%s grew from %llu to %llu", what,
              (unsigned long long)before, (unsigned long long)after);
}

void footprint_expect_flat(const struct footprint *before, const struct footprint *after,
                           struct footprint_slack slack)
{
    expect_at_most("threads", after->threads, before->threads, 0);
    expect_at_most("descriptors", after->fds, before->fds, 0);
    expect_at_most("shared mappings", after->shared_mappings, before->shared_mappings, 0);
    expect_at_most("mappings", after->mappings, before->mappings, slack.mappings);
    expect_at_most("the heap's bytes", after->heap_bytes, before->heap_bytes, slack.heap_bytes);
    expect_at_most("files of the run directory", after->run_files, before->run_files, 0);
    expect_at_most("files of the store", after->data_files, before->data_files, slack.data_files);
}

void embedded_cycles(struct place *place, uint32_t count, uint64_t *appended)
{
    for (uint32_t i = 0; i < count; i++) {
        struct tusk_broker *broker = embedded_start(place);
        struct tusk *tusk = embedded_attach(place);
        struct tusk_topic *topic = NULL;
        uint64_t seq = 0;
        check_ok(tusk_topic_open(tusk, "cycles", NULL, &topic));
        check_ok(tusk_append(topic, &i, sizeof i, &seq));
        check_is(seq, *appended);
        (*appended)++;
        tusk_disconnect(tusk);
        check_ok(tusk_broker_stop(broker));
    }
}
