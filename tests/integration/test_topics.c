/*
 * Topics: deleted, created anew, listed, asked, trimmed, configured.
 * How:        one real broker per test.
 * Not here:   names (test_basics.c), trims by the cursor (test_pressure.c).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

TestSuite(topics, .init = session_begin, .fini = session_end);
TestSuite(topics_processes);

Test(topics, after_a_delete_every_handle_is_estale)
{
    struct tusk *other = attach(broker);
    struct tusk_entry entry;
    struct tusk_topic *here = topic_of(tusk, "t");
    struct tusk_topic *there = topic_of(other, "t");
    append_text(here, "x");
    struct tusk_reader *reader = reader_of(there);
    expect_text(reader, 0, "x");
    check_ok(tusk_topic_delete(tusk, "t"));
    check_is(tusk_append(here, "y", 1, NULL), -ESTALE);
    check_is(tusk_append(there, "y", 1, NULL), -ESTALE);
    check_is(tusk_append_at(there, 0, "y", 1), -ESTALE);
    check_is(tusk_reader_next(reader, &entry, 0), -ESTALE);
    check_is(tusk_reader_next(reader, &entry, TEST_LONG_MS), -ESTALE);
    check_is(tusk_read_next(here, true, &entry), -ESTALE);
    check_is(tusk_read_next(here, false, &entry), -ESTALE);
    check_is(tusk_batch_read(there, 10, true, &entry, 1), -ESTALE);
    tusk_reader_close(reader);
    tusk_topic_close(there);
    tusk_disconnect(other);
}

Test(topics, one_created_after_a_delete_begins_at_seq_0)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (int i = 0; i < 100; i++) {
        append_text(topic, "old");
    }
    check_ok(tusk_topic_delete(tusk, "t"));
    struct tusk_topic *anew = topic_of(tusk, "t");
    check_is(info_of(anew).next_seq, 0);
    check_is(append_text(anew, "new"), 0);
    struct tusk_reader *reader = reader_of(anew);
    expect_text(reader, 0, "new");
    expect_end(reader);
    expect_next(anew, 0, "new");
    check_is(tusk_append(topic, "old", 3, NULL), -ESTALE);
    session_restart("");
    reader = reader_of(topic_of(tusk, "t"));
    expect_text(reader, 0, "new");
    expect_end(reader);
}

Test(topics, a_delete_survives_restarts)
{
    append_text(topic_of(tusk, "t"), "x");
    append_text(topic_of(tusk, "kept"), "y");
    check_ok(tusk_topic_delete(tusk, "t"));
    session_restart("");
    check_is(tusk_topic_delete(tusk, "t"), -ENOENT);
    check_is(info_of(topic_of(tusk, "kept")).next_seq, 1);
}

Test(topics, deleting_what_does_not_exist_is_enoent)
{
    check_is(tusk_topic_delete(tusk, "none"), -ENOENT);
    struct tusk_topic *opened = topic_of(tusk, "opened");
    check_is(tusk_topic_delete(tusk, "opened"), -ENOENT);
    check_is(append_text(opened, "x"), 0);
    check_ok(tusk_topic_delete(tusk, "opened"));
    check_is(tusk_topic_delete(tusk, "opened"), -ENOENT);
}

static void wait_for_delete(size_t index, void *arg)
{
    struct tusk_entry entry;
    struct tusk *connection = attach(broker);
    struct tusk_reader *reader = reader_of(topic_of(connection, "t"));
    (void)index;
    expect_text(reader, 0, "x");
    gate_pass(arg);
    check_is(tusk_reader_next(reader, &entry, -1), -ESTALE);
    tusk_disconnect(connection);
}

Test(topics_processes, a_delete_ends_pending_waits)
{
    broker = tuskd_start("");
    struct gate *gate = shared_memory(sizeof *gate);
    struct clients *waiting = clients_start(3, wait_for_delete, gate);
    tusk = attach(broker);
    append_text(topic_of(tusk, "t"), "x");
    gate_await(gate, 3);
    gate_open(gate);
    check_ok(tusk_topic_delete(tusk, "t"));
    clients_join(waiting);
    session_end();
}

Test(topics, many_created_and_deleted_leave_nothing)
{
    char name[32];
    for (int i = 0; i < 600; i++) {
        (void)snprintf(name, sizeof name, "round-%d", i % 7);
        struct tusk_topic *topic = topic_of(tusk, name);
        check_is(append_text(topic, name), 0);
        check_ok(tusk_topic_delete(tusk, name));
        tusk_topic_close(topic);
    }
    session_restart("");
    check_is(append_text(topic_of(tusk, "round-3"), "x"), 0);
}

struct list {
    char names[64][32];
    struct tusk_topic_stat stats[64];
    int count;
    int stop_at;
};

static int list_add(const char *name, const struct tusk_topic_stat *stat, void *arg)
{
    struct list *list = arg;
    check(list->count < 64);
    (void)snprintf(list->names[list->count], sizeof list->names[0], "%s", name);
    list->stats[list->count] = *stat;
    list->count++;
    return list->count == list->stop_at ? 17 : 0;
}

Test(topics, the_list_has_each_once_with_its_figures)
{
    struct list list = {0};
    char name[32];
    for (uint32_t i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "topic %u", i);
        append_numbered(topic_of(tusk, name), 1, 0, i + 1, 50);
    }
    check_ok(tusk_topic_delete(tusk, "topic 5"));
    check_ok(tusk_topic_list(tusk, list_add, &list));
    check_is(list.count, 39);
    bool seen[40] = {false};
    for (int i = 0; i < list.count; i++) {
        unsigned number = 99;
        check_is(sscanf(list.names[i], "topic %u", &number), 1);
        check(number < 40 && number != 5 && !seen[number]);
        seen[number] = true;
        check_is(list.stats[i].next_seq, number + 1);
        check_is(list.stats[i].unread, number + 1);
        check_is(list.stats[i].first_seq, 0);
        check(list.stats[i].bytes >= (number + 1) * 50);
        check_is(list.stats[i].size, sizeof(struct tusk_topic_stat));
    }
}

Test(topics, the_list_stops_when_told)
{
    struct list list = {.stop_at = 2};
    append_text(topic_of(tusk, "a"), "x");
    append_text(topic_of(tusk, "b"), "x");
    append_text(topic_of(tusk, "c"), "x");
    check_is(tusk_topic_list(tusk, list_add, &list), 17);
    check_is(list.count, 2);
}

Test(topics, info_tells_what_there_is)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 100, 1000);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    const struct tusk_topic_stat stat = info_of(topic);
    check_is(stat.first_seq, 0);
    check_is(stat.next_seq, 100);
    check_is(stat.durable_seq, 100);
    check_is(stat.unread, 100);
    check(stat.bytes >= 100 * 1000 && stat.bytes < 100 * 1000 * 2);
}

Test(topics, info_writes_only_as_much_as_the_caller_knows)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    struct tusk_topic_stat stat;
    memset(&stat, 0x5a, sizeof stat);
    stat.size = offsetof(struct tusk_topic_stat, durable_seq);
    check_ok(tusk_topic_info(topic, &stat));
    check_is(stat.first_seq, 0);
    check_is(stat.next_seq, 1);
    check(stat.durable_seq == UINT64_C(0x5a5a5a5a5a5a5a5a));
    check(stat.bytes == UINT64_C(0x5a5a5a5a5a5a5a5a));
}

Test(topics, a_trim_gives_up_exactly_what_lies_before)
{
    struct tusk_entry entry;
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 1000, 500);
    struct tusk_reader *reader = reader_of(topic);
    check_is(reader_take(reader).seq, 0);
    check_ok(tusk_topic_trim(topic, 333));
    check_is(info_of(topic).first_seq, 333);
    check_is(info_of(topic).next_seq, 1000);
    check_is(tusk_reader_next(reader, &entry, 0), -ENODATA);
    check_is(tusk_reader_next(reader, &entry, TEST_LONG_MS), -ENODATA);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, info_of(topic).first_seq));
    for (uint32_t n = 333; n < 1000; n++) {
        entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, 500);
    }
    struct tusk_reader *earliest = reader_of(topic);
    check_is(reader_take(earliest).seq, 333);
    struct tusk_reader *before = reader_from(topic, TUSK_FROM_SEQ, 10);
    check_is(tusk_reader_next(before, &entry, 0), -ENODATA);
}

Test(topics, a_trim_is_kept_over_restarts)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 1000, 500);
    check_ok(tusk_topic_trim(topic, 700));
    for (int i = 0; i < 2; i++) {
        session_restart("");
        topic = topic_of(tusk, "t");
        check_is(info_of(topic).first_seq, 700);
        check_is(info_of(topic).next_seq, 1000);
        check_is(reader_take(reader_of(topic)).seq, 700);
    }
}

Test(topics, a_trim_of_everything_leaves_the_next_seq)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 100, 500);
    check_ok(tusk_topic_trim(topic, 100));
    check_is(info_of(topic).first_seq, 100);
    check_is(info_of(topic).unread, 0);
    struct tusk_reader *reader = reader_of(topic);
    expect_end(reader);
    session_restart("");
    topic = topic_of(tusk, "t");
    check_is(info_of(topic).first_seq, 100);
    check_is(append_text(topic, "next"), 100);
    reader = reader_of(topic);
    expect_text(reader, 100, "next");
}

Test(topics, a_trim_backwards_changes_nothing_and_one_beyond_the_end_is_refused)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_is(tusk_topic_trim(topic, 0), -ENOENT);
    append_numbered(topic, 1, 0, 100, 500);
    check_ok(tusk_topic_trim(topic, 50));
    check_ok(tusk_topic_trim(topic, 50));
    check_ok(tusk_topic_trim(topic, 10));
    check_ok(tusk_topic_trim(topic, 0));
    check_is(info_of(topic).first_seq, 50);
    check_is(tusk_topic_trim(topic, 101), -EINVAL);
    check_is(tusk_topic_trim(topic, UINT64_MAX), -EINVAL);
    check_is(info_of(topic).first_seq, 50);
}

Test(topics, the_cursor_goes_on_behind_a_trim)
{
    struct tusk_entry entry;
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 100, 500);
    check_is(tusk_read_next(topic, true, &entry), 1);
    check_ok(tusk_topic_trim(topic, 50));
    check_is(info_of(topic).unread, 50);
    check_is(tusk_read_next(topic, true, &entry), 1);
    check_is(entry.seq, 50);
}

Test(topics, options_that_are_none_are_refused)
{
    static const char *const values[] = {"bytes", "bytes:1M",      "age",      "bytes=0", "",
                                         "x",     "none,consumed", "age=7d,,", NULL};
    char value[96];
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_is(tusk_topic_set(topic, "retention", "consumed"), -ENOENT);
    check_is(tusk_topic_get(topic, "retention", value, sizeof value), -ENOENT);
    append_text(topic, "x");
    check_ok(tusk_topic_set(topic, "retention", "bytes=1MiB"));
    for (int i = 0; values[i] != NULL; i++) {
        struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
        struct tusk_topic *other = NULL;
        check_is(tusk_topic_set(topic, "retention", values[i]), -EINVAL);
        options.retention = values[i];
        check_is(tusk_topic_open(tusk, "other", &options, &other), -EINVAL);
    }
    check_is(tusk_topic_set(topic, "no such option", "1"), -EINVAL);
    check_is(tusk_topic_set(topic, "retention_source", "topic"), -EINVAL);
    check_is(tusk_topic_set(topic, "", ""), -EINVAL);
    check_is(tusk_topic_get(topic, "no such option", value, sizeof value), -EINVAL);
    check_is(tusk_topic_get(topic, "retention", value, 10), -EMSGSIZE);
    check_is(tusk_topic_get(topic, "retention", value, 11), 10);
    check_say(strcmp(value, "bytes=1MiB") == 0, "retention is %s", value);
    check_is(append_text(topic, "still"), 1);
}

static void delete_and_append(size_t index, void *arg)
{
    struct tusk *connection = attach(broker);
    (void)arg;
    for (int i = 0; i < 300; i++) {
        struct tusk_topic *topic = topic_of(connection, "contested");
        const int result = index == 0 ? tusk_topic_delete(connection, "contested")
                                      : tusk_append(topic, "x", 1, NULL);
        check_say(result == 0 || result == (index == 0 ? -ENOENT : -ESTALE), "client %zu: %d",
                  index, result);
        tusk_topic_close(topic);
    }
}

Test(topics_processes, deletes_and_appends_may_race)
{
    broker = tuskd_start("");
    clients_run(4, delete_and_append, NULL);
    tusk = attach(broker);
    append_text(topic_of(tusk, "contested"), "x");
    session_restart("");
    append_text(topic_of(tusk, "contested"), "x");
    session_end();
}
