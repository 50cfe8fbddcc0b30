/*
 * Embed: a program runs a broker on threads of its own; it and other processes use it as any other.
 * How:        tusk_broker_start() in the test's process, clients in this process and in others.
 * Not here:   what all brokers do alike (the other integration tests).
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <tusk/broker.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/clients.h"
#include "tests/support/deadline.h"
#include "tests/support/scratch.h"

enum { PATH_BYTES = SCRATCH_PATH_BYTES + 16, ERROR_BYTES = 512, CLIENTS = 3, ENTRIES = 500 };

struct place {
    char data[PATH_BYTES];
    char socket[PATH_BYTES];
    char run_dir[SCRATCH_PATH_BYTES];
    char error[ERROR_BYTES];
    struct tusk_broker_options options;
};

static struct place places[2];

static void place_make(struct place *place)
{
    char dir[SCRATCH_PATH_BYTES];
    scratch_on_disk(dir);
    scratch_on_tmpfs(place->run_dir);
    (void)snprintf(place->data, sizeof place->data, "%s/data", dir);
    (void)snprintf(place->socket, sizeof place->socket, "%s/tusk.sock", dir);
    place->options = (struct tusk_broker_options)TUSK_BROKER_OPTIONS_INIT;
    place->options.data_dir = place->data;
    place->options.socket_path = place->socket;
    place->options.run_dir = place->run_dir;
    place->options.arena_bytes = 8U << 20;
    place->options.error_text = place->error;
    place->options.error_text_bytes = sizeof place->error;
    place->options.quiet = 1;
}

static void places_make(void)
{
    deadline_default();
    place_make(&places[0]);
    place_make(&places[1]);
}

TestSuite(embed, .init = places_make);

static struct tusk_broker *start(struct place *place)
{
    struct tusk_broker *broker = NULL;
    const int result = tusk_broker_start(&broker, &place->options);
    check_say(result == 0, "the broker did not start: %s", place->error);
    check_is(place->error[0], 0);
    return broker;
}

static struct tusk *attach_to(const struct place *place)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *tusk = NULL;
    options.socket_path = place->socket;
    check_ok(tusk_connect(&tusk, &options));
    return tusk;
}

static void append_all(size_t index, void *arg)
{
    struct tusk *tusk = attach_to(arg);
    struct tusk_topic *topic = NULL;
    check_ok(tusk_topic_open(tusk, "t", NULL, &topic));
    for (int n = 0; n < ENTRIES; n++) {
        check_ok(tusk_append(topic, &index, sizeof index, NULL));
    }
    tusk_disconnect(tusk);
}

static uint64_t entries_in(const struct place *place)
{
    struct tusk *tusk = attach_to(place);
    struct tusk_topic *topic = NULL;
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    check_ok(tusk_topic_open(tusk, "t", NULL, &topic));
    check_ok(tusk_topic_info(topic, &stat));
    tusk_disconnect(tusk);
    return stat.next_seq;
}

static size_t descriptors(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    check(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

Test(embed, other_processes_and_this_one_use_it_and_a_stop_keeps_all)
{
    struct tusk_broker *broker = start(&places[0]);
    clients_run(CLIENTS, append_all, &places[0]);
    append_all(CLIENTS, &places[0]);
    check_is(entries_in(&places[0]), (CLIENTS + 1) * ENTRIES);
    check_ok(tusk_broker_stop(broker));
    broker = start(&places[0]);
    check_is(entries_in(&places[0]), (CLIENTS + 1) * ENTRIES);
    check_ok(tusk_broker_stop(broker));
}

Test(embed, two_brokers_in_one_process_do_not_meet)
{
    struct tusk_broker *first = start(&places[0]);
    struct tusk_broker *second = start(&places[1]);
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
    struct tusk_broker *first = start(&places[0]);
    struct tusk_broker *second = first;
    places[1].options.data_dir = places[0].data;
    check_is(tusk_broker_start(&second, &places[1].options), -EBUSY);
    check(second == NULL);
    check_contains(places[1].error, places[0].data);
    append_all(0, &places[0]);
    check_ok(tusk_broker_stop(first));
}

Test(embed, a_stop_gives_back_every_descriptor_and_the_signal_mask)
{
    sigset_t before;
    sigset_t after;
    check_ok(tusk_broker_stop(start(&places[0]))); /* what the process opens once */
    const size_t count = descriptors();
    check_ok(pthread_sigmask(SIG_SETMASK, NULL, &before));
    for (int round = 0; round < 3; round++) {
        check_ok(tusk_broker_stop(start(&places[0])));
    }
    check_ok(pthread_sigmask(SIG_SETMASK, NULL, &after));
    check_is(descriptors(), count);
    for (int number = 1; number < SIGRTMIN; number++) {
        check_is(sigismember(&after, number), sigismember(&before, number));
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
    check_ok(tusk_broker_stop(start(&places[0])));

    places[0].options.size = 0;
    check_is(tusk_broker_start(&broker, &places[0].options), -EINVAL);
    check_is(tusk_broker_start(NULL, &longer.options), -EINVAL);
    check_ok(tusk_broker_stop(NULL));
}
