/*
 * Lifecycle: how a broker starts, refuses to start, stops, and what its death means to clients.
 * How:        real brokers, their exit statuses and what they print.
 * Not here:   death under load (crash/test_broker_kill.c).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/process.h"
#include "tests/support/program.h"
#include "tests/support/session.h"

TestSuite(lifecycle);

Test(lifecycle, sigterm_drains_flushes_and_exits_0)
{
    enum { COUNT = 3000 };
    broker = tuskd_start("--fsync none");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (int i = 0; i < COUNT; i++) {
        check_ok(tusk_submit(topic, "x", 1, 0));
    }
    tuskd_stop(broker); /* asserts exit status 0 */
    tusk_disconnect(tusk);
    tuskd_restart(broker, "");
    tusk = attach(broker);
    check_is(info_of(topic_of(tusk, "t")).next_seq, COUNT);
    check_is(info_of(topic_of(tusk, "t")).durable_seq, COUNT);
    session_end();
}

/* Each step of the stop follows the one before at once; the engine's next tick is a second away. On a
 * tmpfs, where no write that ends later wakes it. Once of some times, since the machine may be busy. */
Test(lifecycle, a_broker_that_has_nothing_to_do_stops_at_once)
{
    enum { ROUNDS = 20, STOP_MS = 400 };
    static const char *const idles[] = {"--idle adaptive", "--idle block", "--idle spin"};
    check_ok(setenv("TMPDIR", "/dev/shm", 1));
    for (size_t i = 0; i < sizeof idles / sizeof *idles; i++) {
        uint64_t best_ms = UINT64_MAX;
        for (int round = 0; round < ROUNDS && best_ms >= STOP_MS; round++) {
            session_begin_with(idles[i]);
            append_text(topic_of(tusk, "t"), "x");
            check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
            tusk_disconnect(tusk);
            (void)usleep(20000); /* in which the engine falls asleep */
            const uint64_t begin_ms = now_ms();
            tuskd_stop(broker);
            const uint64_t took_ms = now_ms() - begin_ms;
            best_ms = took_ms < best_ms ? took_ms : best_ms;
        }
        check_say(best_ms < STOP_MS, "%s: %" PRIu64 " ms", idles[i], best_ms);
    }
}

Test(lifecycle, everything_is_back_after_a_restart)
{
    char name[16];
    broker = tuskd_start("");
    tusk = attach(broker);
    for (uint32_t i = 0; i < 50; i++) {
        (void)snprintf(name, sizeof name, "t%u", i);
        append_numbered(topic_of(tusk, name), i, 0, i * 7 + 1, i * 100 + 16);
    }
    for (int round = 0; round < 3; round++) {
        session_restart("");
        for (uint32_t i = 0; i < 50; i++) {
            (void)snprintf(name, sizeof name, "t%u", i);
            struct tusk_topic *topic = topic_of(tusk, name);
            check_is(info_of(topic).next_seq, i * 7 + 1);
            struct tusk_reader *reader = reader_of(topic);
            for (uint32_t n = 0; n < i * 7 + 1; n++) {
                const struct tusk_entry entry = reader_take(reader);
                expect_numbered(&entry, i, n, i * 100 + 16);
            }
            expect_end(reader);
            tusk_reader_close(reader);
        }
    }
    session_end();
}

Test(lifecycle, an_empty_store_starts_and_stops_again_and_again)
{
    broker = tuskd_start("");
    for (int i = 0; i < 5; i++) {
        tuskd_stop(broker);
        tuskd_restart(broker, "");
    }
    tusk = attach(broker);
    check_is(append_text(topic_of(tusk, "t"), "x"), 0);
    session_end();
}

Test(lifecycle, sigint_stops_like_sigterm)
{
    int status = 0;
    broker = tuskd_start("");
    check_ok(kill(broker->pid, SIGINT));
    check(waitpid(broker->pid, &status, 0) == broker->pid);
    broker->pid = 0;
    check_is(status, 0);
}

Test(lifecycle, a_stop_leaves_no_socket_and_no_memory)
{
    broker = tuskd_start("");
    check_ok(access(broker->socket, F_OK));
    check(scratch_disk_bytes(broker->run_dir) > 0);
    tuskd_stop(broker);
    check(access(broker->socket, F_OK) != 0);
    check_is(scratch_disk_bytes(broker->run_dir), 0);
}

Test(lifecycle, a_second_broker_on_the_same_data_is_refused)
{
    const char *text = NULL;
    broker = tuskd_start("");
    struct tuskd *second = tuskd_new();
    (void)snprintf(second->data, sizeof second->data, "%s", broker->data);
    check(tuskd_refusal(second, "", &text) != 0);
    check_contains(text, broker->data);
    tusk = attach(broker);
    append_text(topic_of(tusk, "t"), "x");
    session_end();
}

Test(lifecycle, a_second_broker_on_the_same_socket_is_refused_and_disturbs_nobody)
{
    const char *text = NULL;
    broker = tuskd_start("");
    struct tuskd *second = tuskd_new();
    (void)snprintf(second->socket, sizeof second->socket, "%s", broker->socket);
    check(tuskd_refusal(second, "", &text) != 0);
    check_contains(text, broker->socket);
    tusk = attach(broker);
    append_text(topic_of(tusk, "t"), "x");
    session_end();
}

struct start_race {
    struct gate gate;
    uint64_t ready;
    uint64_t ended;
    struct tuskd *brokers[4];
};

/* Each client starts a broker; who gets ready stays until all others have given up. */
static void start_one_of_many(size_t index, void *arg)
{
    struct start_race *race = arg;
    gate_pass(&race->gate);
    const int ready = tuskd_try(race->brokers[index], "");
    if (ready) {
        (void)shared_add(&race->ready, 1);
        wait_until(shared_get(&race->ended) == 3, 15000);
        tuskd_stop(race->brokers[index]);
    } else {
        (void)shared_add(&race->ended, 1);
    }
}

Test(lifecycle, of_brokers_started_at_once_on_one_directory_exactly_one_runs)
{
    struct tuskd *brokers[4];
    deadline_set(60); /* a broker waits some seconds for the lock of one that is ending */
    for (int i = 0; i < 4; i++) {
        brokers[i] = tuskd_new();
        if (i > 0) {
            memcpy(brokers[i]->data, brokers[0]->data, sizeof brokers[0]->data);
        }
    }
    for (int round = 0; round < 2; round++) {
        struct start_race *race = shared_memory(sizeof *race);
        memcpy(race->brokers, brokers, sizeof brokers);
        struct clients *starters = clients_start(4, start_one_of_many, race);
        gate_await(&race->gate, 4);
        gate_open(&race->gate);
        clients_join(starters);
        check_is(shared_get(&race->ready), 1);
    }
}

Test(lifecycle, after_a_kill_handles_are_estale_and_a_new_connect_works)
{
    struct tusk_entry entry;
    struct tusk_completion completion;
    broker = tuskd_start("");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "kept");
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "kept");
    tuskd_kill(broker);
    check_is(tusk_append(topic, "x", 1, NULL), -ESTALE);
    check_is(tusk_append_at(topic, 1, "x", 1), -ESTALE);
    check_is(tusk_read_next(topic, true, &entry), -ESTALE);
    check_is(tusk_reader_next(reader, &entry, TEST_LONG_MS), -ESTALE);
    check_is(tusk_flush(tusk, TUSK_COMMITTED, -1), -ESTALE);
    check_is(tusk_submit(topic, "x", 1, 1), -ESTALE);
    check_is(tusk_reap(tusk, &completion, 1), -ESTALE);
    check_is(tusk_topic_delete(tusk, "t"), -ESTALE);
    tuskd_restart(broker, "");
    check_is(tusk_append(topic, "x", 1, NULL), -ESTALE);
    struct tusk *anew = attach(broker);
    struct tusk_reader *again = reader_of(topic_of(anew, "t"));
    expect_text(again, 0, "kept");
    check_is(append_text(topic_of(anew, "t"), "more"), 1);
    tusk_disconnect(tusk);
    tusk = anew;
    session_end();
}

static void wait_for_death(size_t index, void *arg)
{
    struct tusk_entry entry;
    struct tusk *connection = attach(broker);
    struct tusk_reader *reader = reader_of(topic_of(connection, "t"));
    struct tusk_topic *other = topic_of(connection, "other");
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    gate_pass(arg);
    if (index == 0) {
        check_is(tusk_reader_next(reader, &entry, -1), -ESTALE);
    } else if (index == 1) {
        const int result = tusk_wait(connection, -1);
        check_say(result == 1 || result == -ESTALE, "tusk_wait: %d", result);
        check_is(tusk_reader_next(reader, &entry, 0), -ESTALE);
    } else {
        while (tusk_append(other, "x", 1, NULL) == 0) {
        }
        check_is(tusk_append(other, "x", 1, NULL), -ESTALE);
    }
    tusk_disconnect(connection);
}

Test(lifecycle, the_death_of_the_broker_ends_waits)
{
    broker = tuskd_start("");
    struct gate *gate = shared_memory(sizeof *gate);
    struct clients *waiting = clients_start(3, wait_for_death, gate);
    gate_await(gate, 3);
    gate_open(gate);
    tuskd_kill(broker);
    clients_join(waiting);
    tuskd_restart(broker, "");
    tuskd_stop(broker);
}

static void wait_for_stop(size_t index, void *arg)
{
    struct tusk_entry entry;
    struct tusk *connection = attach(broker);
    struct tusk_reader *reader = reader_of(topic_of(connection, "t"));
    (void)index;
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    gate_pass(arg);
    check_is(tusk_reader_next(reader, &entry, -1), -ESTALE);
    tusk_disconnect(connection);
}

Test(lifecycle, a_clean_stop_ends_waits)
{
    broker = tuskd_start("");
    struct gate *gate = shared_memory(sizeof *gate);
    struct clients *waiting = clients_start(3, wait_for_stop, gate);
    gate_await(gate, 3);
    gate_open(gate);
    tuskd_stop(broker);
    clients_join(waiting);
}

Test(lifecycle, connect_waits_for_a_broker_and_gives_up_in_time)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    broker = tuskd_new();
    options.socket_path = broker->socket;
    options.timeout_ms = 200;
    const uint64_t begin_ms = now_ms();
    check_is(tusk_connect(&tusk, &options), -ENOTCONN);
    const uint64_t took_ms = now_ms() - begin_ms;
    check_say(took_ms >= 199 && took_ms < 20000, "it took %llu ms", (unsigned long long)took_ms);
    check(tusk == NULL);
}

static void connect_early(size_t index, void *arg)
{
    (void)index;
    shared_set(arg, 1);
    append_text(topic_of(attach(broker), "t"), "x");
}

Test(lifecycle, connect_before_the_broker_is_there_waits_for_it)
{
    broker = tuskd_new();
    uint64_t *begun = shared_memory(sizeof *begun);
    struct clients *early = clients_start(2, connect_early, begun);
    wait_until(shared_get(begun) == 1, 5000);
    tuskd_restart(broker, "");
    clients_join(early);
    tuskd_stop(broker);
}

Test(lifecycle, the_socket_is_found_by_the_environment)
{
    broker = tuskd_start("");
    check_ok(setenv("TUSK_SOCKET", broker->socket, 1));
    check_ok(tusk_connect(&tusk, NULL));
    append_text(topic_of(tusk, "t"), "x");
    session_end();
}

Test(lifecycle, options_may_come_from_the_environment_and_a_file)
{
    char path[SCRATCH_PATH_BYTES + 16];
    char options[SCRATCH_PATH_BYTES + 64];
    static const char text[] = "# schedule\nfsync = none\n";
    broker = tuskd_new();
    (void)snprintf(path, sizeof path, "%s/conf", broker->dir);
    scratch_write(path, text, sizeof text - 1);
    (void)snprintf(options, sizeof options, "--config %s", path);
    tuskd_restart(broker, options);
    tusk = attach(broker);
    append_text(topic_of(tusk, "t"), "x");
    check_is(tusk_wait(tusk, 500), 0);
    check_is(info_of(topic_of(tusk, "t")).durable_seq, 0);
    session_restart("");
    check_ok(setenv("TUSK_FSYNC", "each", 1));
    session_restart("");
    append_text(topic_of(tusk, "t"), "x");
    check_is(info_of(topic_of(tusk, "t")).durable_seq, 2);
    session_end();
}

Test(lifecycle, socket_mode_is_as_asked)
{
    struct stat info;
    broker = tuskd_start("--socket-mode 0600");
    check_ok(stat(broker->socket, &info));
    check_is(info.st_mode & 0777, 0600);
    tuskd_stop(broker);
    tuskd_restart(broker, "");
    check_ok(stat(broker->socket, &info));
    check_is(info.st_mode & 0777, 0660);
    tuskd_stop(broker);
}

Test(lifecycle, socket_group_is_as_asked)
{
    struct stat info;
    char options[64];
    (void)snprintf(options, sizeof options, "--socket-group %u", (unsigned)getegid());
    broker = tuskd_start(options);
    check_ok(stat(broker->socket, &info));
    check_is(info.st_gid, getegid());
    tuskd_stop(broker);
}

Test(lifecycle, quiet_prints_nothing_of_a_normal_life)
{
    broker = tuskd_start("--quiet");
    tusk = attach(broker);
    append_text(topic_of(tusk, "t"), "x");
    session_end();
    check_is(strlen(tuskd_log(broker)), 0);
}

Test(lifecycle, it_holds_after_a_start_what_it_held_after_the_one_before)
{
    broker = tuskd_start("");
    tusk_disconnect(attach(broker));
    tuskd_stop(broker);
    tuskd_restart(broker, "");
    const struct process_counts first = process_count(broker->pid);
    for (int i = 0; i < 3; i++) {
        tuskd_stop(broker);
        tuskd_restart(broker, "");
    }
    wait_until(process_count(broker->pid).fds <= first.fds, 5000);
    wait_until(process_count(broker->pid).threads <= first.threads, 5000);
    tuskd_stop(broker);
}
