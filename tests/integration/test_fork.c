/*
 * Fork: a child's use of an inherited handle is a clear error, and harms nobody.
 * How:        one real broker per test, children made by fork with a connection open.
 * Not here:   clients that fork first (all other files).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/process.h"
#include "tests/support/program.h"
#include "tests/support/session.h"

TestSuite(forked, .init = session_begin, .fini = session_end);
TestSuite(forked_none);

static struct tusk_topic *topic;
static struct tusk_reader *reader;

static int never(const char *name, const struct tusk_topic_stat *stat, void *arg)
{
    (void)name;
    (void)stat;
    (void)arg;
    check_failed(__FILE__, __LINE__, "a topic was listed");
}

static void use_appends(size_t index, void *arg)
{
    struct iovec entry = {arg, 1};
    void *buffer = NULL;
    uint64_t seq = 0;
    (void)index;
    check_is(tusk_append(topic, "x", 1, &seq), -EOWNERDEAD);
    check_is(tusk_append_at(topic, 0, "x", 1), -EOWNERDEAD);
    check_is(tusk_batch_append(topic, &entry, 1, &seq), -EOWNERDEAD);
    check_is(tusk_submit(topic, "x", 1, 1), -EOWNERDEAD);
    check_is(tusk_submit_batch(topic, &entry, 1, 1), -EOWNERDEAD);
    check_is(tusk_reserve(topic, 1, &buffer), -EOWNERDEAD);
    check_is(tusk_commit(topic, 1, 1), -EOWNERDEAD);
    tusk_abandon(topic);
}

static void use_reads(size_t index, void *arg)
{
    struct tusk_entry entry;
    struct tusk_reader *another = NULL;
    (void)index;
    (void)arg;
    check_is(tusk_read_next(topic, true, &entry), -EOWNERDEAD);
    check_is(tusk_batch_read(topic, 1, true, &entry, 1), -EOWNERDEAD);
    check_is(tusk_reader_next(reader, &entry, 0), -EOWNERDEAD);
    check_is(tusk_reader_next(reader, &entry, -1), -EOWNERDEAD);
    check_is(tusk_reader_batch(reader, 1, &entry, 1, 0), -EOWNERDEAD);
    check_is(tusk_reader_seek(reader, TUSK_FROM_EARLIEST, 0), -EOWNERDEAD);
    check_is(tusk_reader_open(topic, NULL, &another), -EOWNERDEAD);
}

static void use_connection(size_t index, void *arg)
{
    struct tusk_completion completion;
    struct tusk_topic *another = NULL;
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    (void)index;
    (void)arg;
    check_is(tusk_reap(tusk, &completion, 1), -EOWNERDEAD);
    check_is(tusk_flush(tusk, TUSK_COMMITTED, -1), -EOWNERDEAD);
    check_is(tusk_fd(tusk), -EOWNERDEAD);
    check_is(tusk_arm(tusk), -EOWNERDEAD);
    check_is(tusk_wait(tusk, -1), -EOWNERDEAD);
    tusk_wakeup(tusk);
    check_is(tusk_topic_open(tusk, "another", NULL, &another), -EOWNERDEAD);
    check_is(tusk_topic_delete(tusk, "t"), -EOWNERDEAD);
    check_is(tusk_topic_trim(topic, 0), -EOWNERDEAD);
    check_is(tusk_topic_set(topic, "retention", "consumed"), -EOWNERDEAD);
    check_is(tusk_topic_info(topic, &stat), -EOWNERDEAD);
    check_is(tusk_topic_list(tusk, never, NULL), -EOWNERDEAD);
}

static void prepare(void)
{
    topic = topic_of(tusk, "t");
    reader = reader_of(topic);
    append_text(topic, "before");
    expect_text(reader, 0, "before");
}

/* The parent's lane, reader and completions are as if there had been no child. */
static void expect_parent_unaffected(void)
{
    struct tusk_completion completion;
    check_is(append_text(topic, "after"), 1);
    expect_text(reader, 1, "after");
    check_ok(tusk_submit(topic, "more", 4, 9));
    reap_all(tusk, &completion, 1);
    check_is(completion.seq, 2);
    check_is(completion.user_data, 9);
    expect_text(reader, 2, "more");
    expect_end(reader);
}

Test(forked, a_childs_appends_are_eownerdead)
{
    char byte = 'x';
    prepare();
    clients_run(2, use_appends, &byte);
    expect_parent_unaffected();
}

Test(forked, a_childs_reads_are_eownerdead)
{
    prepare();
    clients_run(2, use_reads, NULL);
    expect_parent_unaffected();
}

Test(forked, a_childs_other_calls_are_eownerdead)
{
    prepare();
    clients_run(2, use_connection, NULL);
    expect_parent_unaffected();
}

static void close_everything(size_t index, void *arg)
{
    (void)arg;
    if (index == 0) {
        tusk_reader_close(reader);
        tusk_topic_close(topic);
    }
    tusk_disconnect(tusk);
}

Test(forked, a_child_may_disconnect_and_the_parent_goes_on)
{
    prepare();
    clients_run(3, close_everything, NULL);
    expect_parent_unaffected();
}

static void connect_anew(size_t index, void *arg)
{
    (void)arg;
    if (index % 2 == 0) {
        tusk_disconnect(tusk);
    }
    struct tusk *mine = attach(broker);
    struct tusk_topic *own = topic_of(mine, "children");
    for (int i = 0; i < 100; i++) {
        append_text(own, "child");
    }
    struct tusk_reader *own_reader = reader_of(topic_of(mine, "t"));
    expect_text(own_reader, 0, "before");
    tusk_disconnect(mine);
}

Test(forked, a_child_may_connect_anew)
{
    prepare();
    clients_run(4, connect_anew, NULL);
    check_is(info_of(topic_of(tusk, "children")).next_seq, 400);
    expect_parent_unaffected();
}

static void live_on(size_t index, void *arg)
{
    (void)index;
    deadline_inherit();
    gate_pass(arg);
}

/* A child keeps the inherited sockets open: the broker must notice the parent's death anyway. */
static void connect_fork_and_die(size_t index, void *arg)
{
    struct gate *gates = arg;
    struct tusk *mine = attach(broker);
    (void)index;
    append_text(topic_of(mine, "t"), "x");
    const pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        live_on(0, &gates[0]);
        _exit(0);
    }
    gate_await(&gates[0], 1);
    _exit(0);
}

Test(forked, a_dead_parents_session_ends_although_a_child_lives)
{
    struct gate *gate = shared_memory(sizeof *gate);
    topic = topic_of(tusk, "t");
    append_text(topic, "x");
    const struct process_counts before = broker_counts(tusk);
    clients_run(1, connect_fork_and_die, gate);
    wait_until(process_count(broker->pid).fds <= before.fds, 5000);
    gate_open(gate);
    append_text(topic, "x");
}

/* How many descriptors a program has that this process executes. */
static int inherited_count(void)
{
    const char *const arguments[] = {"/bin/ls", "/proc/self/fd", NULL};
    char path[SCRATCH_PATH_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/list", broker->dir);
    const pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        (void)dup2(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), STDOUT_FILENO);
        program_replace(arguments);
        _exit(127);
    }
    int status = 1;
    check(waitpid(child, &status, 0) == child);
    check_is(status, 0);
    size_t bytes = 0;
    char *text = scratch_read(path, &bytes);
    int count = 0;
    for (size_t i = 0; i < bytes; i++) {
        count += text[i] == '\n';
    }
    free(text);
    return count;
}

/* Whatever the library opens is close-on-exec. */
Test(forked_none, a_program_that_is_executed_inherits_nothing)
{
    broker = tuskd_start("");
    const int before = inherited_count();
    tusk = attach(broker);
    prepare();
    check(tusk_fd(tusk) >= 0);
    check_is(inherited_count(), before);
    session_end();
}
