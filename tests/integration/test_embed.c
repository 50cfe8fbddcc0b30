/*
 * Embed: a program runs a broker on threads of its own; it and other processes use it as any other.
 * How:        tusk_broker_start() in the test's process, clients in this process and in others;
 *             threads, descriptors, mappings, heap and files are counted over many starts.
 *             soak/soak_embed.c does more of them.
 * Not here:   what all brokers do alike (the other integration tests).
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tusk/broker.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/clients.h"
#include "tests/support/deadline.h"
#include "tests/support/embedded.h"
#include "tests/support/process.h"

enum { CLIENTS = 3, ENTRIES = 500, CYCLES = 50, REFUSALS = 25, SIGNALS = 64 };

static struct place places[2];

static void places_make(void)
{
    deadline_set(240);
    place_make(&places[0]);
    place_make(&places[1]);
}

TestSuite(embed, .init = places_make);

static void append_all(size_t index, void *arg)
{
    struct tusk *tusk = embedded_attach(arg);
    struct tusk_topic *topic = NULL;
    check_ok(tusk_topic_open(tusk, "t", NULL, &topic));
    for (int n = 0; n < ENTRIES; n++) {
        check_ok(tusk_append(topic, &index, sizeof index, NULL));
    }
    tusk_disconnect(tusk);
}

static uint64_t entries_in(const struct place *place)
{
    struct tusk *tusk = embedded_attach(place);
    struct tusk_topic *topic = NULL;
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    check_ok(tusk_topic_open(tusk, "t", NULL, &topic));
    check_ok(tusk_topic_info(topic, &stat));
    tusk_disconnect(tusk);
    return stat.next_seq;
}

Test(embed, other_processes_and_this_one_use_it_and_a_stop_keeps_all)
{
    struct tusk_broker *broker = embedded_start(&places[0]);
    clients_run(CLIENTS, append_all, &places[0]);
    append_all(CLIENTS, &places[0]);
    check_is(entries_in(&places[0]), (CLIENTS + 1) * ENTRIES);
    check_ok(tusk_broker_stop(broker));
    broker = embedded_start(&places[0]);
    check_is(entries_in(&places[0]), (CLIENTS + 1) * ENTRIES);
    check_ok(tusk_broker_stop(broker));
}

Test(embed, namespaces_on_several_engines_come_back)
{
    static const char *const keys[] = {"one", "two", "three", "o/n/e"};
    places[0].options.engines = 2;
    const uint64_t before = process_count(getpid()).fds;
    for (uint64_t round = 1; round <= 3; round++) {
        struct tusk_broker *broker = embedded_start(&places[0]);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            check_ok(setenv("TUSK_NAMESPACE", keys[i], 1));
            append_all(i, &places[0]);
            check_is(entries_in(&places[0]), round * ENTRIES);
        }
        check_ok(tusk_broker_stop(broker));
        check_is(process_count(getpid()).fds, before);
    }
    check_ok(unsetenv("TUSK_NAMESPACE"));
}

Test(embed, two_brokers_in_one_process_do_not_meet)
{
    struct tusk_broker *first = embedded_start(&places[0]);
    struct tusk_broker *second = embedded_start(&places[1]);
    append_all(0, &places[1]);
    check_is(entries_in(&places[0]), 0);
    check_is(entries_in(&places[1]), ENTRIES);
    check_ok(tusk_broker_stop(first));
    append_all(0, &places[1]);
    check_is(entries_in(&places[1]), 2 * ENTRIES);
    check_ok(tusk_broker_stop(second));
}

Test(embed, a_second_broker_on_the_store_is_refused_in_words)
{
    struct tusk_broker *first = embedded_start(&places[0]);
    struct tusk_broker *second = first;
    places[1].options.data_dir = places[0].data;
    check_is(tusk_broker_start(&second, &places[1].options), -EBUSY);
    check(second == NULL);
    check_contains(places[1].error, places[0].data);
    append_all(0, &places[0]);
    check_ok(tusk_broker_stop(first));
}

/* Leaks. */

Test(embed, starts_and_stops_leave_nothing_behind)
{
    uint64_t appended = 0;
    embedded_cycles(&places[0], 10, &appended); /* what the process and the store make once */
    const struct footprint before = footprint_take(&places[0]);
    check_is(before.run_files, 0);
    embedded_cycles(&places[0], CYCLES, &appended);
    const struct footprint after = footprint_take(&places[0]);
    footprint_expect_flat(&before, &after,
                          (struct footprint_slack){.heap_bytes = 16384, .mappings = 8});
}

/* Starts that are refused, each for another reason and at another depth. */
static void refuse_all(struct place *place)
{
    const struct tusk_broker_options options = place->options;
    char path[EMBEDDED_PATH_BYTES + 32];
    place->options.fsync = "sometimes";
    embedded_refused(place, -EINVAL);
    place->options = options;
    (void)snprintf(path, sizeof path, "%s/file", place->dir);
    scratch_write(path, "x", 1);
    (void)snprintf(path, sizeof path, "%s/file/data", place->dir);
    place->options.data_dir = path;
    embedded_refused(place, -ENOTDIR);
    place->options = options;
    place->options.socket_path = places[1].socket; /* another broker's */
    embedded_refused(place, -EADDRINUSE);
    place->options = options;
    place->options.chunk_bytes = 1U << 20; /* the store has another */
    embedded_refused(place, -EINVAL);
    place->options = options;
    (void)snprintf(path, sizeof path, "%s/default/STORE", place->data);
    size_t bytes = 0;
    char *store = scratch_read(path, &bytes);
    scratch_write(path, "rotten", 6);
    embedded_refused(place, -EBADMSG);
    scratch_write(path, store, bytes);
    free(store);
}

Test(embed, starts_that_are_refused_leave_nothing_behind)
{
    uint64_t appended = 0;
    struct tusk_broker *other = embedded_start(&places[1]);
    embedded_cycles(&places[0], 3, &appended);
    refuse_all(&places[0]);
    const struct footprint before = footprint_take(&places[0]);
    for (int round = 0; round < REFUSALS; round++) {
        refuse_all(&places[0]);
    }
    const struct footprint after = footprint_take(&places[0]);
    footprint_expect_flat(&before, &after,
                          (struct footprint_slack){.heap_bytes = 16384, .mappings = 4});
    embedded_cycles(&places[0], 1, &appended);
    check_ok(tusk_broker_stop(other));
}

/* Signals. */

struct signals {
    struct sigaction actions[SIGNALS + 1];
    sigset_t mask;
};

static void signals_take(struct signals *signals)
{
    memset(signals, 0, sizeof *signals);
    for (int number = 1; number <= SIGNALS; number++) {
        (void)sigaction(number, NULL, &signals->actions[number]);
    }
    check_ok(pthread_sigmask(SIG_SETMASK, NULL, &signals->mask));
}

static void expect_signals(const struct signals *before)
{
    struct signals now;
    signals_take(&now);
    for (int number = 1; number <= SIGNALS; number++) {
        check_is(sigismember(&now.mask, number), sigismember(&before->mask, number));
        check(now.actions[number].sa_handler == before->actions[number].sa_handler);
        check_is(now.actions[number].sa_flags, before->actions[number].sa_flags);
    }
}

/* What a thread of this process blocks, as a mask. */
static uint64_t blocked_by(const char *thread)
{
    char path[64];
    char line[256];
    uint64_t mask = 0;
    (void)snprintf(path, sizeof path, "/proc/self/task/%.16s/status", thread);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "SigBlk:", 7) == 0) {
            mask = strtoull(line + 7, NULL, 16);
        }
    }
    check(file != NULL);
    (void)fclose(file);
    return mask;
}

static void expect_threads_block_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1, SIGALRM};
    char self[16];
    int others = 0;
    (void)snprintf(self, sizeof self, "%d", (int)getpid());
    DIR *dir = opendir("/proc/self/task");
    check(dir != NULL);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, self) == 0) {
            continue;
        }
        others++;
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
            check((blocked_by(entry->d_name) >> (numbers[i] - 1) & 1) == 1);
        }
    }
    (void)closedir(dir);
    check(others >= 2); /* the control thread and an engine */
}

Test(embed, signals_stay_the_programs_own)
{
    struct signals before;
    signals_take(&before);
    struct tusk_broker *broker = embedded_start(&places[0]);
    expect_signals(&before);
    expect_threads_block_signals();
    append_all(0, &places[0]);
    check_ok(tusk_broker_stop(broker));
    expect_signals(&before);
}

/* Ends. */

static void *stop_it(void *broker)
{
    check_ok(tusk_broker_stop(broker));
    return NULL;
}

Test(embed, any_thread_may_stop_it)
{
    pthread_t thread;
    struct tusk_broker *broker = embedded_start(&places[0]);
    append_all(0, &places[0]);
    check_is(pthread_create(&thread, NULL, stop_it, broker), 0);
    check_is(pthread_join(thread, NULL), 0);
    broker = embedded_start(&places[0]);
    check_is(entries_in(&places[0]), ENTRIES);
    check_ok(tusk_broker_stop(broker));
}

Test(embed, a_stop_under_clients_tells_them_and_keeps_what_they_were_told)
{
    struct tusk_broker *broker = embedded_start(&places[0]);
    struct tusk *tusk = embedded_attach(&places[0]);
    struct tusk_topic *topic = NULL;
    check_ok(tusk_topic_open(tusk, "t", NULL, &topic));
    for (uint64_t n = 0; n < ENTRIES; n++) {
        check_ok(tusk_append(topic, "x", 1, NULL));
    }
    check_ok(tusk_broker_stop(broker));
    check_is(tusk_append(topic, "x", 1, NULL), -ESTALE);
    broker = embedded_start(&places[0]);
    check_is(entries_in(&places[0]), ENTRIES);
    tusk_disconnect(tusk);
    check_ok(tusk_broker_stop(broker));
}

Test(embed, two_brokers_serve_this_process_and_others_at_once)
{
    struct tusk_broker *brokers[2];
    struct clients *clients[2];
    for (int i = 0; i < 2; i++) {
        brokers[i] = embedded_start(&places[i]);
        clients[i] = clients_start(CLIENTS, append_all, &places[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        append_all(CLIENTS, &places[i]);
        clients_join(clients[i]);
        check_is(entries_in(&places[i]), (CLIENTS + 1) * ENTRIES);
    }
    for (int i = 0; i < 2; i++) {
        check_ok(tusk_broker_stop(brokers[i]));
    }
}

static void expect_refused(const char *part)
{
    struct tusk_broker *broker = NULL;
    check_is(tusk_broker_start(&broker, &places[0].options), -EINVAL);
    check(broker == NULL);
    check_contains(places[0].error, part);
    check_is(access(places[0].data, F_OK), -1);
}

Test(embed, values_are_held_to_the_bounds_of_the_options)
{
    places[0].options.arena_bytes = 1;
    expect_refused("options: arena '1': expected a size from 4MiB");
    places[0].options.arena_bytes = 0;
    places[0].options.fsync = "sometimes";
    expect_refused("options: fsync 'sometimes': expected each, none");
    places[0].options.fsync = "each";
    places[0].options.idle = 3;
    expect_refused("options: idle '3': expected spin, adaptive, block");
    places[0].options.idle = TUSK_IDLE_BLOCK;
    places[0].options.socket_mode = 01777;
    expect_refused("options: socket-mode '1777': expected permissions");
    places[0].options.socket_mode = 0600;
    places[0].options.engines = 65;
    expect_refused("options: engines '65': expected a number from 1 to 64");
    places[0].options.engines = 1;
    places[0].options.stream_timeout = "0";
    expect_refused("options: stream-timeout '0': expected a time from 1ms to 1d");
    places[0].options.stream_timeout = "1d";
    places[0].options.pin_timeout = "1ms";
    expect_refused("options: pin-timeout '1ms': expected a time from 10ms");
}

Test(embed, structs_of_other_versions_are_read_as_far_as_they_go)
{
    struct {
        struct tusk_broker_options options;
        uint64_t later;
    } longer = {.options = places[0].options, .later = UINT64_MAX};
    struct tusk_broker *broker = NULL;
    longer.options.size = sizeof longer;
    check_ok(tusk_broker_start(&broker, &longer.options));
    check_ok(tusk_broker_stop(broker));

    places[0].options.size = offsetof(struct tusk_broker_options, arena_bytes);
    places[0].options.arena_bytes = 1; /* behind its end: not looked at */
    check_ok(tusk_broker_stop(embedded_start(&places[0])));

    places[0].options.size = 0;
    check_is(tusk_broker_start(&broker, &places[0].options), -EINVAL);
    check_is(tusk_broker_start(NULL, &longer.options), -EINVAL);
    check_ok(tusk_broker_stop(NULL));
}
