/*
 * Proves what the control thread makes of namespaces: names that are taken, jobs that fail, requests whose
 * asker goes away, and which engine gets what.
 * How: the stage of session_stage.h, with stores that hold nothing, on a real directory.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/scratch.h"
#include "tests/unit/session_stage.h"

TestSuite(namespace_set, .init = stage_begin, .fini = stage_end, .timeout = 600);

/* A client of that namespace, which is opened for it. */
static int client_of(const char *key)
{
    int fds[2];
    const int client = client_connect();
    const union control_message hello = hello_make(key);
    say(client, &hello);
    pump_control();
    pump_jobs();
    answer_take(client, CONTROL_WELCOME, 41, fds, 2);
    fds_close(fds, 2);
    return client;
}

static const struct namespace *space_of(const char *key)
{
    return namespace_set_find_key(&namespaces, key, (uint32_t)strlen(key));
}

static union control_message delete_message(const char *key)
{
    union control_message message;
    control_begin(&message, CONTROL_NAMESPACE_DELETE, sizeof message.space, 61);
    message.space.key_bytes = (uint32_t)strlen(key);
    memcpy(message.space.key, key, strlen(key));
    return message;
}

static union control_message set_message(const char *option, const char *value)
{
    union control_message message;
    control_begin(&message, CONTROL_OPTION_SET, sizeof message.option, 62);
    strcpy(message.option.name, option);
    strcpy(message.option.value, value);
    return message;
}

static void path_of(char path[CONFIG_PATH_BYTES + 128], const char *name)
{
    snprintf(path, CONFIG_PATH_BYTES + 128, "%s/%s", config.data_dir, name);
}

Test(namespace_set, the_second_key_of_a_name_gets_another_directory)
{
    const int first = client_of("a/b");
    const int second = client_of("a:b");
    cr_expect_str_eq(space_of("a/b")->name.text, "a_b");
    cr_expect_str_neq(space_of("a:b")->name.text, "a_b");
    cr_expect_eq(strncmp(space_of("a:b")->name.text, "a_b-", 4), 0);
    close(first);
    close(second);
}

Test(namespace_set, the_engine_with_the_fewest_stores_gets_the_next)
{
    struct fake_engine other;
    fake_engine_init(&other, &mailbox);
    namespace_set_add_engine(&namespaces, &other.mailbox);
    struct fault fault;
    struct namespace *found;
    static const char *const keys[] = {"n1", "n2", "n3"};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(namespace_set_find(&namespaces, keys[i], 2, &found, &fault), NAMESPACE_WAIT);
        pump_jobs();
    }
    fake_engine_run(&other);
    cr_expect_eq(engine.taken[MAIL_STORE_ATTACH], 2); /* `default` and one more */
    cr_expect_eq(other.taken[MAIL_STORE_ATTACH], 2);
    fake_engine_deinit(&other);
}

Test(namespace_set, a_directory_of_somebody_elses_store_is_not_touched)
{
    char path[CONFIG_PATH_BYTES + 128];
    path_of(path, "x_y");
    cr_assert_eq(mkdir(path, 0700), 0);
    path_of(path, "x_y/STORE");
    scratch_write(path, "data", 4);
    const int client = client_connect();
    const union control_message hello = hello_make("x/y");
    say(client, &hello);
    pump_control();
    pump_jobs();
    error_take(client, 41, -EBADMSG, "without a file NAMESPACE");
    close(client);
    path_of(path, "x_y/NAMESPACE");
    cr_expect_neq(access(path, F_OK), 0);
    cr_expect_null(space_of("x/y"));
    const int named = client_of("x_y"); /* whose name it is */
    close(named);
}

Test(namespace_set, a_request_is_answered_when_it_is_done)
{
    const int client = client_of("n");
    const union control_message change = set_message("fsync", "none");
    say(client, &change);
    pump_control();
    cr_expect_eq(namespaces.jobs, 1);
    pump_jobs();
    answer_take(client, CONTROL_DONE, 62, NULL, 0);
    cr_expect_eq(engine.taken[MAIL_STORE_SET], 1);
    cr_expect_eq(space_of("n")->config.fsync, FSYNC_NONE);
    cr_expect_eq(space->config.fsync, FSYNC_EACH);
    close(client);
}

Test(namespace_set, two_changes_at_a_time_are_one_too_many)
{
    const int first = client_of("n");
    const int second = client_of("n");
    const union control_message change = set_message("fsync", "each");
    say(first, &change);
    pump_control();
    say(second, &change);
    pump_control();
    error_take(second, 62, -EBUSY, "try again");
    pump_jobs();
    answer_take(first, CONTROL_DONE, 62, NULL, 0);
    say(second, &change);
    pump_control();
    pump_jobs();
    answer_take(second, CONTROL_DONE, 62, NULL, 0);
    close(first);
    close(second);
}

/* An answer that would come is not waited for. */
Test(namespace_set, a_session_asks_one_thing_at_a_time)
{
    const int client = client_of("n");
    const union control_message change = set_message("fsync", "each");
    say(client, &change);
    say(client, &change);
    pump_control();
    error_take(client, 62, -EPROTO, "unanswered");
    cr_expect(has_ended(client));
    close(client);
    pump_jobs();
    cr_expect_null(space_of("n")->asker);
}

Test(namespace_set, what_was_asked_is_done_though_the_asker_is_gone)
{
    const int client = client_of("n");
    const union control_message change = set_message("retention", "none");
    say(client, &change);
    pump_control();
    close(client);
    pump_jobs();
    cr_expect_str_eq(space_of("n")->facts.options[2], "none");
    cr_expect_eq(space_of("n")->sessions, 0);

    const int asker = client_open();
    const union control_message delete = delete_message("n");
    say(asker, &delete);
    pump_control();
    close(asker);
    pump_jobs();
    cr_expect_null(space_of("n"));
}

Test(namespace_set, a_hello_that_meets_a_removal_gets_a_new_one)
{
    char path[CONFIG_PATH_BYTES + 128];
    const int before = client_of("n");
    const struct directory_shm *old = space_of("n")->regions.directory.base;
    const uint64_t epoch = old->header.epoch;
    close(before);
    pump();
    const int asker = client_open();
    const union control_message delete = delete_message("n");
    say(asker, &delete);
    pump_control(); /* the engine has not closed the store yet */
    const int client = client_connect();
    const union control_message hello = hello_make("n");
    say(client, &hello);
    pump_control();
    pump_jobs();
    int fds[2];
    answer_take(asker, CONTROL_DONE, 61, NULL, 0);
    cr_expect_neq(answer_take(client, CONTROL_WELCOME, 41, fds, 2).welcome.epoch, epoch);
    fds_close(fds, 2);
    path_of(path, "n/NAMESPACE");
    cr_expect_eq(access(path, F_OK), 0);
    close(asker);
    close(client);
}

Test(namespace_set, a_removal_that_fails_leaves_it_as_it_was)
{
    char path[CONFIG_PATH_BYTES + 128];
    const int before = client_of("n");
    close(before);
    pump();
    path_of(path, "n~removed");
    cr_assert_eq(mkdir(path, 0700), 0);
    path_of(path, "n~removed/mine");
    cr_assert_eq(mkdir(path, 0700), 0); /* in the way, and nobody's to remove */
    const int asker = client_open();
    const union control_message delete = delete_message("n");
    say(asker, &delete);
    pump_control();
    pump_jobs();
    error_take(asker, 61, -ENOTEMPTY, "cannot be removed");
    cr_expect_not_null(space_of("n"));
    const int again = client_of("n");
    close(again);
    close(asker);
}

Test(namespace_set, who_uses_it_is_told_and_default_stays)
{
    const int client = client_of("n");
    const union control_message delete = delete_message("n");
    say(client, &delete);
    pump_control();
    error_take(client, 61, -EBUSY, "sessions: 1");
    const union control_message stays = delete_message("default");
    say(client, &stays);
    pump_control();
    error_take(client, 61, -EPERM, "stays");
    const union control_message none = delete_message("none");
    say(client, &none);
    pump_control();
    error_take(client, 61, -ENOENT, "no such");
    const union control_message empty = delete_message("");
    say(client, &empty);
    pump_control();
    error_take(client, 61, -EINVAL, "0 bytes");
    close(client);
}

/* What a start finds. */
Test(namespace_set, a_start_finds_them_all_and_keeps_the_names_of_what_it_cannot_read)
{
    char path[CONFIG_PATH_BYTES + 128];
    struct fault fault = {0};
    struct namespace *found;
    close(client_of("a/b"));
    close(client_of("a:b"));
    close(client_of("rotten"));
    path_of(path, "rotten/NAMESPACE");
    scratch_write(path, "key = rotten\n", 13);
    path_of(path, "lost+found");
    cr_assert_eq(mkdir(path, 0700), 0);
    path_of(path, "file");
    scratch_write(path, "x", 1);
    path_of(path, "half");
    cr_assert_eq(mkdir(path, 0700), 0); /* as a broker leaves it that dies early */
    pump();
    const struct namespace_name name = space_of("a:b")->name;
    stage_restart();
    cr_expect_eq(namespaces.count, 4);
    cr_expect_str_eq(space_of("a/b")->name.text, "a_b");
    cr_expect_str_eq(space_of("a:b")->name.text, name.text);
    cr_expect_eq(space_of("a/b")->state, NAMESPACE_CLOSED);
    cr_expect_eq(namespace_set_find(&namespaces, "rotten", 6, &found, &fault), -EBADMSG);
    cr_expect_not_null(strstr(fault.text, "rotten/NAMESPACE"));
    close(client_of("half"));
    cr_expect_str_eq(space_of("half")->name.text, "half");
}
