/*
 * Namespaces: isolated sets of topics in one broker: what one does, another does not see; each has
 * options of its own; they outlive the broker, are listed and removed; a disk that fails takes one of
 * them and no other.
 * How:        real brokers and processes; disks are small file systems mounted on one namespace's
 *             directory, where that is allowed.
 * Not here:   names of directories and the NAMESPACE file (unit/test_namespace_*.c).
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/filesystem.h"
#include "tests/support/payload.h"
#include "tests/support/process.h"
#include "tests/support/program.h"
#include "tests/support/session.h"

/* As <linux/fs.h> of later kernels has it: a file system that answers -EIO from then on. */
#define FILE_SYSTEM_SHUTDOWN _IOR('X', 125, __u32)

TestSuite(namespaces, .init = session_begin, .fini = session_end);
TestSuite(namespaces_processes);

static struct tusk *attach_to(const char *key)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.namespace_key = key;
    return attach_with(broker, options);
}

static int try_attach(const char *key)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *connection = NULL;
    options.namespace_key = key;
    options.socket_path = broker->socket;
    const int result = tusk_connect(&connection, &options);
    tusk_disconnect(connection);
    return result;
}

static void expect_all(const char *key, const char *name, uint32_t count)
{
    struct tusk *connection = attach_to(key);
    struct tusk_reader *reader = reader_of(topic_of(connection, name));
    for (uint32_t n = 0; n < count; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, 100);
    }
    expect_end(reader);
    tusk_disconnect(connection);
}

static const char *option_of(struct tusk *connection, const char *option)
{
    static char value[128];
    check(tusk_namespace_get(connection, option, value, sizeof value) > 0);
    return value;
}

static const char *space_key(size_t index)
{
    static char key[16];
    (void)snprintf(key, sizeof key, "space-%zu", index);
    return key;
}

/* Isolation. */

Test(namespaces, topics_seqs_and_cursors_are_each_ones_own)
{
    struct tusk *orders = attach_to("orders");
    struct tusk *bills = attach_to("bills");
    check_is(append_text(topic_of(orders, "t"), "order"), 0);
    check_is(append_text(topic_of(bills, "t"), "bill 0"), 0);
    check_is(append_text(topic_of(bills, "t"), "bill 1"), 1);
    check_is(info_of(topic_of(tusk, "t")).next_seq, 0);
    expect_next(topic_of(orders, "t"), 0, "order");
    expect_caught_up(topic_of(orders, "t"));
    expect_next(topic_of(bills, "t"), 0, "bill 0");
    check_ok(tusk_topic_delete(orders, "t"));
    expect_next(topic_of(bills, "t"), 1, "bill 1");
    counters_await(bills, 2);
    check_is(counter_of(tusk, "topics"), 0);
    tusk_disconnect(orders);
    tusk_disconnect(bills);
}

/* Two in one process, as long as it likes, with everything in any order. */
Test(namespaces, seed_fault_07_two_namespaces_in_one_process_keep_apart_over_restarts)
{
    static const char *const keys[] = {"one", "two"};
    for (uint32_t round = 0; round < 4; round++) {
        struct tusk *both[2] = {attach_to(keys[0]), attach_to(keys[1])};
        struct tusk_topic *topics[2] = {topic_of(both[0], "t"), topic_of(both[1], "t")};
        for (uint32_t i = 0; i < 50; i++) {
            append_numbered(topics[i % 2], 1, round * 25 + i / 2, 1, 100);
        }
        check_ok(tusk_flush(both[0], TUSK_DURABLE, -1));
        check_ok(tusk_flush(both[1], TUSK_DURABLE, -1));
        tusk_disconnect(both[round % 2]);
        check_is(info_of(topics[1 - round % 2]).next_seq, (round + 1) * 25);
        tusk_disconnect(both[1 - round % 2]);
        if (round % 2 == 0) {
            session_restart("");
        } else {
            tuskd_kill(broker);
            tusk_disconnect(tusk);
            tuskd_restart(broker, "");
            tusk = attach(broker);
        }
        for (int i = 0; i < 2; i++) {
            expect_all(keys[i], "t", (round + 1) * 25);
        }
    }
}

Test(namespaces, keys_that_make_the_same_name_are_told_apart_also_after_a_restart)
{
    static const char *const keys[] = {"a/b", "a b", "a_b", "a:b", "..", ".", "\xff", "\xfe"};
    enum { KEYS = sizeof keys / sizeof *keys };
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < KEYS; i++) {
            struct tusk *connection = attach_to(keys[i]);
            struct tusk_topic *topic = topic_of(connection, "mine");
            if (round == 0) {
                check_is(append_text(topic, keys[i]), 0);
                check_ok(tusk_flush(connection, TUSK_DURABLE, -1));
            }
            struct tusk_reader *reader = reader_of(topic);
            expect_text(reader, 0, keys[i]);
            expect_end(reader);
            tusk_disconnect(connection);
        }
        session_restart("");
    }
}

Test(namespaces, the_environment_and_the_options_name_it)
{
    check_ok(setenv("TUSK_NAMESPACE", "from the environment", 1));
    struct tusk *connection = attach(broker);
    append_text(topic_of(connection, "t"), "x");
    tusk_disconnect(connection);
    check_is(info_of(topic_of(tusk, "t")).next_seq, 0);
    connection = attach_to("default");
    check_is(info_of(topic_of(connection, "t")).next_seq, 0);
    tusk_disconnect(connection);
    check_ok(unsetenv("TUSK_NAMESPACE"));
    connection = attach_to("from the environment");
    check_is(info_of(topic_of(connection, "t")).next_seq, 1);
    tusk_disconnect(connection);
}

/* Options. */

Test(namespaces, each_has_its_own_schedule_and_the_others_keep_theirs)
{
    struct tusk *each = attach_to("each");
    struct tusk *none = attach_to("none");
    check_ok(tusk_namespace_set(each, "fsync", "each"));
    check_ok(tusk_namespace_set(none, "fsync", "none"));
    check(strcmp(option_of(tusk, "fsync"), "200ms") == 0);
    check(strcmp(option_of(tusk, "fsync_source"), "default") == 0);
    check(strcmp(option_of(each, "fsync"), "each") == 0);
    check(strcmp(option_of(each, "fsync_source"), "namespace") == 0);
    struct tusk_topic *durable = topic_of(each, "t");
    struct tusk_topic *volatile_ = topic_of(none, "t");
    append_numbered(volatile_, 1, 0, 20, 100);
    for (uint32_t i = 0; i < 20; i++) {
        append_numbered(durable, 1, i, 1, 100);
        check_is(info_of(durable).durable_seq, i + 1);
    }
    (void)usleep(300000); /* longer than the broker's own schedule */
    check_is(info_of(volatile_).durable_seq, 0);
    tusk_disconnect(each);
    tusk_disconnect(none);
    tuskd_kill(broker);
    tusk_disconnect(tusk);
    tuskd_restart(broker, "");
    tusk = attach(broker);
    expect_all("each", "t", 20);
    each = attach_to("each");
    check(strcmp(option_of(each, "fsync"), "each") == 0);
    check_ok(tusk_namespace_set(each, "fsync", "default"));
    check(strcmp(option_of(each, "fsync"), "200ms") == 0);
    tusk_disconnect(each);
}

Test(namespaces, a_change_to_each_makes_durable_what_was_committed_before)
{
    struct tusk *none = attach_to("n");
    check_ok(tusk_namespace_set(none, "fsync", "none"));
    struct tusk_topic *topic = topic_of(none, "t");
    append_numbered(topic, 1, 0, 500, 100);
    check_is(info_of(topic).durable_seq, 0);
    check_ok(tusk_namespace_set(none, "fsync", "each"));
    check_is(info_of(topic).durable_seq, 500);
    append_numbered(topic, 1, 500, 1, 100);
    check_is(info_of(topic).durable_seq, 501);
    tusk_disconnect(none);
}

struct sleeper {
    struct gate gate;
    uint64_t seen;
};

/* Sleeps at the tail, whatever the schedule is. */
static void follow(size_t index, void *arg)
{
    struct sleeper *sleeper = arg;
    struct tusk_reader *reader = reader_of(topic_of(attach_to("n"), "t"));
    (void)index;
    gate_pass(&sleeper->gate);
    for (uint32_t n = 0; n < 40; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        shared_set(&sleeper->seen, n + 1);
    }
}

Test(namespaces_processes, readers_that_sleep_under_each_wake_under_none)
{
    static const char *const schedules[] = {"each", "none", "10ms", "each", "none"};
    struct sleeper *sleeper = shared_memory(sizeof *sleeper);
    broker = tuskd_start("");
    struct clients *clients = clients_start(1, follow, sleeper);
    gate_await(&sleeper->gate, 1);
    gate_open(&sleeper->gate);
    tusk = attach_to("n");
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint32_t n = 0; n < 40; n++) {
        if (n % 8 == 0) {
            check_ok(tusk_namespace_set(tusk, "fsync", schedules[n / 8]));
            (void)usleep(20000); /* the reader sleeps again */
        }
        append_numbered(topic, 1, n, 1, 100);
        wait_until(shared_get(&sleeper->seen) == n + 1, 10000);
    }
    clients_join(clients);
    session_end();
}

/* Completions and schedules that change all the time. */
Test(namespaces, schedules_change_under_load_and_nothing_is_lost)
{
    enum { ROUNDS = 60, EACH = 50 };
    static const char *const schedules[] = {"each", "5ms", "none"};
    struct tusk *connection = attach_to("n");
    struct tusk_topic *topic = topic_of(connection, "t");
    struct tusk_completion completions[EACH];
    for (uint64_t round = 0; round < ROUNDS; round++) {
        const bool each = round % 3 == 0;
        for (uint64_t i = 0; i < EACH; i++) {
            check_ok(tusk_submit(topic, "x", 1, round * EACH + i + 1));
        }
        check_ok(tusk_namespace_set(connection, "fsync", schedules[round % 3]));
        reap_all(connection, completions, EACH);
        for (uint64_t i = 0; i < EACH; i++) {
            check_is(completions[i].user_data, round * EACH + i + 1);
            check_is(completions[i].seq, round * EACH + i);
        }
        check(!each || info_of(topic).durable_seq == (round + 1) * EACH);
    }
    tusk_disconnect(connection);
}

Test(namespaces, consistency_and_retention_are_each_ones_own_and_survive)
{
    struct tusk *connection = attach_to("n");
    check_ok(tusk_namespace_set(connection, "consistency", "1000"));
    check_ok(tusk_namespace_set(connection, "retention", "none"));
    check(strcmp(option_of(connection, "retention"), "none") == 0);
    struct tusk_topic *topic = topic_of(connection, "t");
    append_text(topic, "x");
    append_text(topic, "y");
    counters_await(connection, 2);
    const uint64_t before = counter_of(connection, "syncs_total");
    expect_next(topic, 0, "x");
    expect_next(topic, 1, "y");
    check(counter_of(connection, "syncs_total") <= before + 1); /* not one for each */
    tusk_disconnect(connection);
    session_restart("--consistency 7 --retention consumed");
    connection = attach_to("n");
    check(strcmp(option_of(connection, "consistency"), "1000") == 0);
    check(strcmp(option_of(connection, "retention"), "none") == 0);
    check(strcmp(option_of(tusk, "consistency"), "7") == 0);
    tusk_disconnect(connection);
}

Test(namespaces, what_is_no_option_or_value_is_refused_and_changes_nothing)
{
    static const char *const bad[][2] = {{"fsync", "sometimes"}, {"fsync", ""},
                                         {"consistency", "0.5"}, {"retention", "forever"},
                                         {"arena", "64MiB"},     {"", "x"}};
    char value[4];
    char longest[4096];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        check_is(tusk_namespace_set(tusk, bad[i][0], bad[i][1]), -EINVAL);
    }
    check_is(tusk_namespace_set(tusk, "fsync", longest), -EINVAL);
    check_is(tusk_namespace_set(tusk, longest, "each"), -EINVAL);
    check_is(tusk_namespace_set(tusk, NULL, "each"), -EINVAL);
    check_is(tusk_namespace_get(tusk, "arena", value, sizeof value), -EINVAL);
    check_is(tusk_namespace_get(tusk, "fsync", value, sizeof value), -EMSGSIZE);
    check(strcmp(option_of(tusk, "fsync"), "200ms") == 0);
}

/* Listing and removing. */

struct listing {
    char keys[8][32];
    uint32_t open[8];
    uint64_t topics[8];
    int count;
};

static int list_one(const char *key, const struct tusk_namespace_stat *stat, void *arg)
{
    struct listing *listing = arg;
    check(listing->count < 8);
    check_is(stat->size, sizeof *stat);
    (void)snprintf(listing->keys[listing->count], 32, "%s", key);
    listing->open[listing->count] = stat->open;
    listing->topics[listing->count++] = stat->topics;
    return 0;
}

static struct listing list_all(void)
{
    struct listing listing = {.count = 0};
    check_ok(tusk_namespace_list(tusk, list_one, &listing));
    return listing;
}

Test(namespaces, all_are_listed_in_order_open_or_not)
{
    tusk_disconnect(attach_to("zebra"));
    struct tusk *ape = attach_to("ape");
    append_text(topic_of(ape, "t"), "x");
    append_text(topic_of(ape, "u"), "x");
    wait_until(list_all().topics[0] == 2, 5000);
    struct listing listing = list_all();
    check_is(listing.count, 3);
    check(strcmp(listing.keys[0], "ape") == 0 && strcmp(listing.keys[1], "default") == 0 &&
          strcmp(listing.keys[2], "zebra") == 0);
    check_is(listing.open[2], 1);
    tusk_disconnect(ape);
    session_restart("");
    listing = list_all();
    check_is(listing.count, 3);
    check_is(listing.open[0], 0);
    check_is(listing.open[1], 1);
}

static int entries_in(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    check(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count - 2;
}

Test(namespaces, a_removed_one_is_gone_and_one_made_again_is_another)
{
    struct tusk *connection = attach_to("gone");
    append_numbered(topic_of(connection, "t"), 1, 0, 100, 100);
    check_ok(tusk_namespace_set(connection, "fsync", "each"));
    check_is(tusk_namespace_delete(tusk, "gone"), -EBUSY);
    check_is(tusk_namespace_delete(connection, "gone"), -EBUSY);
    append_numbered(topic_of(connection, "t"), 1, 100, 1, 100);
    tusk_disconnect(connection);
    const struct process_counts before = broker_counts(tusk);
    int result;
    wait_until((result = tusk_namespace_delete(tusk, "gone")) != -EBUSY, 5000);
    check_ok(result);
    check_is(tusk_namespace_delete(tusk, "gone"), -ENOENT);
    check_is(tusk_namespace_delete(tusk, "default"), -EACCES);
    check_is(tusk_namespace_delete(tusk, ""), -EINVAL);
    check_is(list_all().count, 1);
    check_is(entries_in(broker->data), 1);
    check_is(entries_in(broker->run_dir), 1);
    check(process_count(broker->pid).fds < before.fds);
    connection = attach_to("gone");
    check_is(info_of(topic_of(connection, "t")).next_seq, 0);
    check(strcmp(option_of(connection, "fsync"), "200ms") == 0);
    tusk_disconnect(connection);
    session_restart("");
    wait_until((result = tusk_namespace_delete(tusk, "gone")) != -EBUSY, 5000);
    check_ok(result); /* one that was not opened since the start */
    check_is(entries_in(broker->data), 1);
}

Test(namespaces, a_removal_that_was_cut_short_is_finished_at_the_next_start)
{
    char from[SCRATCH_PATH_BYTES + 64];
    char to[SCRATCH_PATH_BYTES + 64];
    struct tusk *connection = attach_to("gone");
    append_numbered(topic_of(connection, "t"), 1, 0, 100, 100);
    tusk_disconnect(connection);
    tusk_disconnect(tusk);
    tuskd_kill(broker);
    (void)snprintf(from, sizeof from, "%s/gone", broker->data);
    (void)snprintf(to, sizeof to, "%s/gone~removed", broker->data);
    check_ok(rename(from, to));
    tuskd_restart(broker, "");
    tusk = attach(broker);
    check_is(list_all().count, 1);
    check_is(entries_in(broker->data), 1);
}

#ifdef TUSK_CRASH_POINTS

/* Starts a broker that dies at that point, does something that leads there, and starts another one. */
static void die_at(const char *point, void (*act)(struct tusk *connection))
{
    tusk_disconnect(tusk);
    tuskd_stop(broker);
    check_ok(setenv("TUSK_CRASH_AT", point, 1));
    tuskd_restart(broker, "");
    check_ok(unsetenv("TUSK_CRASH_AT"));
    tusk = attach(broker);
    act(tusk);
    siginfo_t ending;
    deadline_doing(point);
    check_ok(waitid(P_PID, (id_t)broker->pid, &ending, WEXITED | WNOWAIT));
    deadline_doing(NULL);
    tuskd_kill(broker); /* checks that it was SIGKILL, the point's own */
    tusk_disconnect(tusk);
    tuskd_restart(broker, "");
    tusk = attach(broker);
}

/* Without patience: whoever waits would wait for the next broker. */
static void act_open(struct tusk *connection)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *none = NULL;
    (void)connection;
    options.namespace_key = "n";
    options.socket_path = broker->socket;
    options.timeout_ms = 200;
    check_is(tusk_connect(&none, &options), -ENOTCONN);
}

static void act_set(struct tusk *connection)
{
    check(tusk_namespace_set(connection, "fsync", "each") != 0);
}

static void act_delete(struct tusk *connection)
{
    check(tusk_namespace_delete(connection, "n") != 0);
}

Test(namespaces, a_broker_that_dies_while_it_makes_one_leaves_none_or_a_whole_one)
{
    /* The first passage of dir_made is that of `default`, which has its file already. */
    static const char *const points[] = {"namespace.dir_made:2", "namespace.file_made",
                                         "namespace.file_written", "namespace.file_named"};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        die_at(points[i], act_open);
        struct tusk *connection = attach_to("n");
        check_is(append_text(topic_of(connection, "t"), "x"), 0);
        tusk_disconnect(connection);
        int result;
        wait_until((result = tusk_namespace_delete(tusk, "n")) != -EBUSY, 5000);
        check_ok(result);
    }
}

Test(namespaces, a_broker_that_dies_while_it_changes_one_leaves_the_old_or_the_new)
{
    static const char *const points[] = {"namespace.file_made", "namespace.file_written",
                                         "namespace.file_named"};
    append_text(topic_of(tusk, "t"), "x");
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        die_at(points[i], act_set);
        const char *fsync = option_of(tusk, "fsync");
        check(strcmp(fsync, "each") == 0 || strcmp(fsync, "200ms") == 0);
        expect_text(reader_of(topic_of(tusk, "t")), 0, "x");
        check_ok(tusk_namespace_set(tusk, "fsync", "default"));
    }
}

Test(namespaces, a_broker_that_dies_while_it_removes_one_has_removed_it)
{
    static const char *const points[] = {"namespace.renamed", "namespace.removed"};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        struct tusk *connection = attach_to("n");
        check_is(append_text(topic_of(connection, "t"), "x"), 0);
        check_ok(tusk_flush(connection, TUSK_DURABLE, -1));
        tusk_disconnect(connection);
        die_at(points[i], act_delete);
        check_is(list_all().count, 1);
        check_is(entries_in(broker->data), 1);
    }
}

#endif

/* One that cannot be opened. */

Test(namespaces, one_whose_file_is_damaged_is_refused_and_the_others_go_on)
{
    char path[SCRATCH_PATH_BYTES + 64];
    tusk_disconnect(attach_to("rotten"));
    tusk_disconnect(attach_to("sound"));
    (void)snprintf(path, sizeof path, "%s/rotten/NAMESPACE", broker->data);
    size_t bytes = 0;
    char *whole = scratch_read(path, &bytes);
    scratch_write(path, "key = rotten\n", 13);
    session_restart("");
    check_is(try_attach("rotten"), -EBADMSG);
    check_contains(tuskd_log(broker), path);
    check_ok(try_attach("sound"));
    append_text(topic_of(tusk, "t"), "x");
    scratch_write(path, whole, bytes);
    free(whole);
    session_restart("");
    check_ok(try_attach("rotten"));
}

Test(namespaces, one_whose_store_is_damaged_is_refused_until_it_is_mended)
{
    char path[SCRATCH_PATH_BYTES + 64];
    struct tusk *connection = attach_to("rotten");
    append_text(topic_of(connection, "t"), "x");
    check_ok(tusk_flush(connection, TUSK_DURABLE, -1));
    tusk_disconnect(connection);
    (void)snprintf(path, sizeof path, "%s/rotten/STORE", broker->data);
    session_restart("");
    size_t bytes = 0;
    char *whole = scratch_read(path, &bytes);
    scratch_write(path, "x", 1);
    check_is(try_attach("rotten"), -EBADMSG);
    check_is(try_attach("rotten"), -EBADMSG);
    struct program_result result = cli(broker, "--namespace rotten read t", "", 0);
    check_is(result.status, EX_DATAERR);
    check_contains(result.err, "namespace 'rotten' cannot be opened: its store is damaged");
    program_free(&result);
    append_text(topic_of(tusk, "t"), "x");
    scratch_write(path, whole, bytes);
    free(whole);
    connection = attach_to("rotten"); /* without a restart */
    expect_text(reader_of(topic_of(connection, "t")), 0, "x");
    tusk_disconnect(connection);
}

Test(namespaces_processes, a_store_of_the_layout_without_namespaces_is_refused_with_what_to_do)
{
    char from[SCRATCH_PATH_BYTES + 64];
    char to[SCRATCH_PATH_BYTES + 64];
    const char *text = NULL;
    broker = tuskd_start("");
    tusk = attach(broker);
    append_text(topic_of(tusk, "t"), "old");
    tusk_disconnect(tusk);
    tuskd_stop(broker);
    (void)snprintf(from, sizeof from, "%s/default", broker->data);
    (void)snprintf(to, sizeof to, "%s.old", broker->data);
    check_ok(rename(from, to));
    check_ok(rmdir(broker->data));
    check_ok(rename(to, broker->data));
    check(tuskd_refusal(broker, "", &text) != 0);
    check_contains(text, "default");
    check_contains(text, "segments");
    check_ok(rename(broker->data, to));
    check_ok(mkdir(broker->data, 0700));
    check_ok(rename(to, from)); /* as told */
    tuskd_restart(broker, "");
    tusk = attach(broker);
    expect_text(reader_of(topic_of(tusk, "t")), 0, "old");
    session_end();
}

static void open_slow(size_t index, void *arg)
{
    uint64_t *opened = arg;
    (void)index;
    tusk_disconnect(attach_to("slow"));
    shared_set(opened, 1);
}

/* Its LOCK is another's for a while, as it is when a killed broker's writes are slow to land. */
Test(namespaces_processes, one_that_opens_slowly_holds_up_nobody)
{
    char path[SCRATCH_PATH_BYTES + 64];
    uint64_t *opened = shared_memory(sizeof *opened);
    broker = tuskd_start("");
    tusk = attach(broker);
    (void)snprintf(path, sizeof path, "%s/slow", broker->data);
    check_ok(mkdir(path, 0700));
    (void)snprintf(path, sizeof path, "%s/slow/LOCK", broker->data);
    const int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(lock >= 0 && flock(lock, LOCK_EX) == 0);
    struct clients *clients = clients_start(2, open_slow, opened);
    wait_until(list_all().count == 1 && counter_of(tusk, "sessions") == 1, 5000);
    for (uint32_t round = 0; round < 50; round++) {
        append_numbered(topic_of(tusk, "t"), 1, round, 1, 100);
        check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
        if (round % 10 == 0) {
            char key[16];
            (void)snprintf(key, sizeof key, "quick-%u", round);
            check_ok(try_attach(key));
            check_ok(tusk_namespace_set(tusk, "fsync", round % 20 == 0 ? "10ms" : "20ms"));
        }
    }
    check_is(tusk_namespace_delete(tusk, "slow"), -EBUSY);
    check_is(shared_get(opened), 0);
    check_ok(flock(lock, LOCK_UN)); /* the clients have it open as well */
    check_ok(close(lock));
    clients_join(clients);
    check_is(shared_get(opened), 1);
    session_end();
}

Test(namespaces_processes, one_that_is_being_opened_does_not_hold_up_a_stop)
{
    char path[SCRATCH_PATH_BYTES + 64];
    broker = tuskd_start("");
    (void)snprintf(path, sizeof path, "%s/slow", broker->data);
    check_ok(mkdir(path, 0700));
    (void)snprintf(path, sizeof path, "%s/slow/LOCK", broker->data);
    const int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(lock >= 0 && flock(lock, LOCK_EX) == 0);
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *connection = NULL;
    options.namespace_key = "slow";
    options.socket_path = broker->socket;
    options.timeout_ms = 300;
    check_is(tusk_connect(&connection, &options), -ENOTCONN);
    tuskd_stop(broker); /* waits for the lock's deadline, not for ever */
    check_ok(close(lock));
    tuskd_restart(broker, "");
    check_ok(try_attach("slow"));
    tuskd_stop(broker);
}

/* Several engines. */

enum { SPACES = 8, WRITERS = SPACES };

struct load {
    uint64_t durable[SPACES]; /* entries that tusk_flush has told to be durable */
    struct gate gate;
};

static void write_until_killed(size_t index, void *arg)
{
    struct load *load = arg;
    struct tusk *connection = attach_to(space_key(index));
    struct tusk_topic *topic = topic_of(connection, "t");
    const uint32_t first = (uint32_t)info_of(topic).next_seq;
    gate_pass(&load->gate);
    for (uint32_t n = first;; n++) {
        unsigned char data[100];
        payload_fill(data, sizeof data, 1, n);
        if (tusk_append(topic, data, sizeof data, NULL) != 0) {
            return;
        }
        if (n % 50 == 0 && tusk_flush(connection, TUSK_DURABLE, -1) == 0) {
            shared_set(&load->durable[index], n + 1);
        }
    }
}

Test(namespaces_processes, eight_on_three_engines_under_load_survive_kills)
{
    static const char options[] = "--engines 3 --arena 8M --segment 4M --fsync 20ms";
    struct load *load = shared_memory(sizeof *load);
    broker = tuskd_start(options);
    for (int round = 0; round < 3; round++) {
        memset(&load->gate, 0, sizeof load->gate);
        struct clients *clients = clients_start(WRITERS, write_until_killed, load);
        gate_await(&load->gate, WRITERS);
        gate_open(&load->gate);
        uint64_t before[SPACES];
        for (size_t i = 0; i < SPACES; i++) {
            before[i] = shared_get(&load->durable[i]);
        }
        for (size_t i = 0; i < SPACES; i++) { /* all of them go on */
            wait_until(shared_get(&load->durable[i]) > before[i] + 100, 20000);
        }
        tuskd_kill(broker);
        clients_join(clients);
        tuskd_restart(broker, options);
        for (size_t i = 0; i < SPACES; i++) {
            struct tusk *connection = attach_to(space_key(i));
            const uint64_t next = info_of(topic_of(connection, "t")).next_seq;
            tusk_disconnect(connection);
            check_say(next >= shared_get(&load->durable[i]), "%s: %llu of %llu durable entries",
                      space_key(i), (unsigned long long)next,
                      (unsigned long long)shared_get(&load->durable[i]));
            expect_all(space_key(i), "t", (uint32_t)next);
        }
    }
    tuskd_stop(broker);
}

/* Disks. */

/* A file system of its own under one namespace's directory, before the broker starts. */
static void mount_under(const char *key, const char *kind, uint64_t bytes, char mounted[])
{
    char target[SCRATCH_PATH_BYTES + 64];
    const char *why = filesystem_mount(mounted, kind, bytes);
    if (why != NULL) {
        cr_skip_test("%s: %s", kind, why);
    }
    check(mkdir(broker->data, 0700) == 0 || errno == EEXIST);
    (void)snprintf(target, sizeof target, "%s/%s", broker->data, key);
    check_ok(mkdir(target, 0700));
    check_ok(mount(mounted, target, NULL, MS_BIND, NULL));
}

Test(namespaces_processes, seed_fault_19_a_full_disk_of_one_namespace_stops_only_that_one)
{
    char mounted[SCRATCH_PATH_BYTES];
    enum { SIZE = 60000 };
    broker = tuskd_new();
    mount_under("full", "tmpfs", 16 * 1024 * 1024, mounted);
    tuskd_restart(broker, "--segment 4M --chunk 64K --arena 8M --fsync 10ms");
    tusk = attach(broker);
    struct tusk *full = attach_to("full");
    struct tusk *other = attach_to("other");
    struct tusk_topic *topic = topic_of(full, "t");
    unsigned char *data = calloc(1, SIZE);
    check(data != NULL);
    int result = 0;
    uint32_t taken = 0;
    while (result == 0 && taken < 1000) {
        result = tusk_append(topic, data, SIZE, NULL);
        taken += result == 0;
        append_numbered(topic_of(other, "t"), 1, taken - (result == 0), result == 0, 100);
    }
    check_is(result, -ENOSPC);
    check(taken > 20);
    append_numbered(topic_of(other, "t"), 1, taken, 500, 100);
    check_ok(tusk_flush(other, TUSK_DURABLE, TEST_LONG_MS));
    append_numbered(topic_of(tusk, "t"), 1, 0, 500, 100);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    /* One more fits where the broker has given a slot of its own back meanwhile. */
    uint32_t kept = taken;
    do {
        result = tusk_append(topic, data, SIZE, NULL);
        kept += result == 0;
    } while (result == 0 && kept < 1000);
    check_is(result, -ENOSPC);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < kept; n++) {
        check_is(reader_take(reader).size, SIZE);
    }
    free(data);
    tusk_disconnect(full);
    tusk_disconnect(other);
    expect_all("other", "t", taken + 500);
    session_end();
}

Test(namespaces_processes, seed_fault_19_a_failing_disk_of_one_namespace_stops_only_that_one)
{
    char mounted[SCRATCH_PATH_BYTES];
    const __u32 how = 2; /* neither the log nor data is flushed */
    broker = tuskd_new();
    mount_under("failing", "ext4", 64 * 1024 * 1024, mounted);
    tuskd_restart(broker, "--segment 4M --arena 8M --fsync 10ms --engines 1");
    tusk = attach(broker);
    struct tusk *failing = attach_to("failing");
    struct tusk *other = attach_to("other");
    append_numbered(topic_of(failing, "t"), 1, 0, 100, 100);
    check_ok(tusk_flush(failing, TUSK_DURABLE, TEST_LONG_MS));
    append_numbered(topic_of(other, "t"), 1, 0, 100, 100);
    const int dir = open(mounted, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(dir >= 0 && ioctl(dir, FILE_SYSTEM_SHUTDOWN, &how) == 0);
    (void)close(dir);
    int result = 0;
    wait_until((result = tusk_append(topic_of(failing, "t"), "x", 1, NULL)) != 0, 20000);
    check_is(result, -EIO);
    check_is(tusk_append(topic_of(failing, "t"), "x", 1, NULL), -EIO);
    struct tusk_reader *reader = reader_of(topic_of(failing, "t"));
    for (uint32_t n = 0; n < 100; n++) { /* reads go on */
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, 1, n, 100);
    }
    append_numbered(topic_of(other, "t"), 1, 100, 400, 100);
    check_ok(tusk_flush(other, TUSK_DURABLE, TEST_LONG_MS));
    append_numbered(topic_of(tusk, "t"), 1, 0, 400, 100);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    check_ok(tusk_namespace_set(other, "fsync", "each"));
    check_contains(tuskd_log(broker), "store.fenced");
    tusk_disconnect(failing);
    tusk_disconnect(other);
    expect_all("other", "t", 500);
    tusk_disconnect(tusk);
    tuskd_kill(broker); /* a stop tells of the store that was fenced */
    tusk = NULL;
}

Test(namespaces_processes, a_disk_that_cannot_be_written_refuses_a_namespace_and_no_other)
{
    char path[SCRATCH_PATH_BYTES + 64];
    broker = tuskd_new();
    check_ok(mkdir(broker->data, 0700));
    (void)snprintf(path, sizeof path, "%s/taken", broker->data);
    scratch_write(path, "a file", 6);
    tuskd_restart(broker, "");
    tusk = attach(broker);
    check(try_attach("taken") < 0);
    check_contains(tuskd_log(broker), path);
    check_ok(try_attach("free"));
    check_ok(unlink(path));
    check_ok(try_attach("taken"));
    session_end();
}

/* The tool. */

Test(namespaces, the_tool_goes_where_it_is_told)
{
    struct program_result result = cli(broker, "--namespace a append t", "one\n", 4);
    check_is(result.status, 0);
    program_free(&result);
    result = cli(broker, "append --namespace b t", "two\n", 4);
    check_is(result.status, 0);
    program_free(&result);
    result = cli(broker, "--namespace=a read t", "", 0);
    check_bytes(result.out, result.out_bytes, "one\n", 4);
    program_free(&result);
    check_ok(setenv("TUSK_NAMESPACE", "b", 1));
    result = cli(broker, "read t", "", 0);
    check_bytes(result.out, result.out_bytes, "two\n", 4);
    program_free(&result);
    check_ok(unsetenv("TUSK_NAMESPACE"));
    result = cli(broker, "config --namespace a fsync=each retention=none", "", 0);
    check_is(result.status, 0);
    program_free(&result);
    result = cli(broker, "config --namespace a", "", 0);
    check_contains(result.out, "fsync=each\nfsync_source=namespace\n");
    check_contains(result.out, "retention=none\n");
    program_free(&result);
    result = cli(broker, "config --namespace a fsync=often", "", 0);
    check_is(result.status, 64);
    check_contains(result.err, "each, none");
    program_free(&result);
    result = cli(broker, "--namespace a stat --prometheus", "", 0);
    check_contains(result.out, "tusk_topic_next_seq{topic=\"t\"} 1");
    program_free(&result);
    result = cli(broker, "namespaces --json", "", 0);
    check_contains(result.out, "{\"namespace\":\"a\",\"open\":true,\"topics\":1,");
    program_free(&result);
    result = cli(broker, "--namespace a delete", "", 0); /* a forgotten TOPIC removes nothing */
    check_is(result.status, 64);
    program_free(&result);
    do {
        result = cli(broker, "--namespace a delete --all", "", 0);
        const int status = result.status;
        program_free(&result);
        if (status != 75) { /* the sessions before may still be closing */
            check_is(status, 0);
            break;
        }
    } while (true);
    result = cli(broker, "namespaces", "", 0);
    check(strstr(result.out, " a\n") == NULL && strstr(result.out, " b\n") != NULL);
    program_free(&result);
    result = cli(broker, "delete --namespace default --all", "", 0);
    check_is(result.status, 77);
    program_free(&result);
}
