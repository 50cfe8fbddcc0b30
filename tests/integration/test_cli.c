/*
 * CLI: the tool's verbs through real pipes: what goes in comes out, exit statuses are those of
 * sysexits.h, errors name what was expected.
 * How:        one real broker per test, the real tool.
 * Not here:   the library's own behaviour (the other files).
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/support/payload.h"
#include "tests/support/program.h"
#include "tests/support/session.h"

TestSuite(cli_verbs, .init = session_begin, .fini = session_end);
TestSuite(cli_alone);

/* Run the tool, expect success and this output. */
static void expect_output(const char *words, const char *input, const char *output)
{
    struct program_result result = cli(broker, words, input, strlen(input));
    check_say(result.status == 0, "tusk %s: exit status %d: %s", words, result.status, result.err);
    check_bytes(result.out, result.out_bytes, output, strlen(output));
    program_free(&result);
}

/* Run the tool, expect that status and a message that contains this. */
static void expect_failure(const char *words, int status, const char *part)
{
    struct program_result result = cli(broker, words, "", 0);
    check_say(result.status == status, "tusk %s: exit status %d, expected %d: %s", words,
              result.status, status, result.err);
    check_contains(result.err, part);
    program_free(&result);
}

Test(cli_verbs, lines_of_stdin_come_back_as_lines)
{
    expect_output("append t", "one\ntwo\n\nfour\n", "");
    expect_output("read t", "", "one\ntwo\n\nfour\n");
    check_is(info_of(topic_of(tusk, "t")).next_seq, 4);
}

Test(cli_verbs, a_last_line_without_newline_is_an_entry)
{
    expect_output("append t", "one\ntwo", "");
    expect_output("read t", "", "one\ntwo\n");
}

Test(cli_verbs, append_tells_the_count_on_stderr)
{
    struct program_result result = cli(broker, "append t", "a\nb\nc\n", 6);
    check_is(result.status, 0);
    check_is(result.out_bytes, 0);
    check_contains(result.err, "3");
    program_free(&result);
}

Test(cli_verbs, no_input_appends_nothing)
{
    expect_output("append t", "", "");
    check_is(info_of(topic_of(tusk, "t")).next_seq, 0);
    expect_output("read t", "", "");
}

Test(cli_verbs, many_lines_come_back_in_order)
{
    enum { LINES = 100000, LINE_BYTES = 24 };
    char *text = malloc((size_t)LINES * LINE_BYTES);
    size_t bytes = 0;
    for (int i = 0; i < LINES; i++) {
        bytes += (size_t)snprintf(text + bytes, LINE_BYTES, "line number %d\n", i);
    }
    struct program_result written = cli(broker, "append t", text, bytes);
    check_is(written.status, 0);
    struct program_result read_back = cli(broker, "read t", NULL, 0);
    check_is(read_back.status, 0);
    check_bytes(read_back.out, read_back.out_bytes, text, bytes);
    program_free(&written);
    program_free(&read_back);
    free(text);
}

Test(cli_verbs, files_are_appended_one_after_the_other)
{
    char words[2 * SCRATCH_PATH_BYTES + 64];
    char path[2][SCRATCH_PATH_BYTES + 16];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path[i], sizeof path[i], "%s/file%d", broker->dir, i);
    }
    scratch_write(path[0], "a\nb\n", 4);
    scratch_write(path[1], "c\n", 2);
    (void)snprintf(words, sizeof words, "append t %s %s", path[0], path[1]);
    expect_output(words, "", "");
    expect_output("read t", "", "a\nb\nc\n");
    (void)snprintf(words, sizeof words, "append --whole w %s %s", path[0], path[1]);
    expect_output(words, "", "");
    check_is(info_of(topic_of(tusk, "w")).next_seq, 2);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "w"));
    expect_text(reader, 0, "a\nb\n");
    expect_text(reader, 1, "c\n");
}

Test(cli_verbs, records_of_fixed_size_may_hold_any_byte)
{
    char data[64 * 10];
    payload_fill(data, sizeof data, 1, 1);
    struct program_result result = cli(broker, "append --size 64 t", data, sizeof data);
    check_is(result.status, 0);
    program_free(&result);
    check_is(info_of(topic_of(tusk, "t")).next_seq, 10);
    result = cli(broker, "read --raw t", NULL, 0);
    check_is(result.status, 0);
    check_bytes(result.out, result.out_bytes, data, sizeof data);
    program_free(&result);
}

Test(cli_verbs, append_at_a_seq_is_compare_and_append)
{
    expect_output("append --at 0 t", "first\n", "");
    struct program_result result = cli(broker, "append --at 0 t", "again\n", 6);
    check(result.status != 0);
    check_contains(result.err, "0");
    program_free(&result);
    expect_output("append --at 1 t", "second\n", "");
    expect_output("read t", "", "first\nsecond\n");
}

Test(cli_verbs, read_begins_where_told_and_stops_when_told)
{
    expect_output("append t", "a\nb\nc\nd\n", "");
    expect_output("read -n 2 t", "", "a\nb\n");
    expect_output("read --from 2 t", "", "c\nd\n");
    expect_output("read --from 1 -n 1 t", "", "b\n");
    expect_output("read --from latest t", "", "");
    expect_output("read --from earliest -n 1 t", "", "a\n");
    expect_failure("read --from nowhere t", EX_USAGE, "nowhere");
}

Test(cli_verbs, read_as_json_has_seq_and_data)
{
    expect_output("append t", "say \"hi\"\n", "");
    struct program_result result = cli(broker, "read --json t", NULL, 0);
    check_is(result.status, 0);
    check_contains(result.out, "\"seq\":0");
    check_contains(result.out, "say \\\"hi\\\"");
    check(result.out[result.out_bytes - 1] == '\n');
    program_free(&result);
}

Test(cli_verbs, the_default_group_consumes_and_peeks)
{
    expect_output("append t", "a\nb\nc\n", "");
    expect_output("read --group default --peek -n 1 t", "", "a\n");
    expect_output("read --group default -n 1 t", "", "a\n");
    expect_output("read --group default t", "", "b\nc\n");
    expect_output("read --group default t", "", "");
    check_is(info_of(topic_of(tusk, "t")).unread, 0);
}

Test(cli_verbs, follow_shows_entries_as_they_come)
{
    char line[64];
    const char *const arguments[] = {program_cli(), "read", "--follow", "t", NULL};
    append_text(topic_of(tusk, "t"), "before");
    struct program program = program_start(broker, arguments);
    program_line(&program, line, sizeof line);
    check_bytes(line, strlen(line), "before", 6);
    for (int i = 0; i < 20; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "entry %d", i);
        append_text(topic_of(tusk, "t"), text);
        program_line(&program, line, sizeof line);
        check_bytes(line, strlen(line), text, strlen(text));
    }
    check_ok(kill(program.pid, SIGTERM));
    struct program_result result = program_finish(&program, NULL, 0);
    check_is(result.out_bytes, 0);
    program_free(&result);
}

Test(cli_verbs, append_passes_lines_on_as_they_are_written)
{
    const char *const arguments[] = {program_cli(), "append", "t", NULL};
    struct program program = program_start(broker, arguments);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    program_write(&program, "first\n", 6);
    expect_text(reader, 0, "first");
    program_write(&program, "sec", 3);
    program_write(&program, "ond\n", 4);
    expect_text(reader, 1, "second");
    struct program_result result = program_finish(&program, "third", 5);
    check_is(result.status, 0);
    expect_text(reader, 2, "third");
    program_free(&result);
}

Test(cli_verbs, a_pipe_that_is_closed_early_is_no_error_message)
{
    char line[64];
    append_numbered(topic_of(tusk, "t"), 1, 0, 20000, 100);
    append_text(topic_of(tusk, "u"), "only line");
    const char *const arguments[] = {program_cli(), "read", "--follow", "--json", "t", NULL};
    struct program program = program_start(broker, arguments);
    char first[4096];
    program_line(&program, first, sizeof first);
    (void)close(program.out);
    int status = 0;
    check(waitpid(program.pid, &status, 0) == program.pid);
    const ssize_t bytes = read(program.err, line, sizeof line);
    check_say(bytes <= 0, "it says: %.*s", (int)bytes, line);
}

Test(cli_verbs, topics_and_stat_tell_what_there_is)
{
    expect_output("append apples", "1\n2\n3\n", "");
    expect_output("append pears", "1\n", "");
    struct program_result result = cli(broker, "topics", NULL, 0);
    check_is(result.status, 0);
    check_contains(result.out, "apples");
    check_contains(result.out, "pears");
    program_free(&result);
    result = cli(broker, "stat apples", NULL, 0);
    check_is(result.status, 0);
    check_contains(result.out, "next_seq");
    check_contains(result.out, "3");
    program_free(&result);
    result = cli(broker, "stat", NULL, 0);
    check_is(result.status, 0);
    check_contains(result.out, "entries_appended_total");
    program_free(&result);
    result = cli(broker, "stat --prometheus", NULL, 0);
    check_is(result.status, 0);
    check_contains(result.out, "# TYPE");
    check_contains(result.out, "topic=\"apples\"");
    program_free(&result);
}

Test(cli_verbs, delete_removes_a_topic_and_trim_its_beginning)
{
    expect_output("append t", "a\nb\nc\n", "");
    expect_output("trim t 2", "", "");
    expect_output("read t", "", "c\n");
    expect_failure("read --from 1 t", EX_DATAERR, "read on with --from 2 or --from earliest");
    expect_output("read --from 2 t", "", "c\n");
    expect_failure("trim t 9", EX_USAGE, "expected at most 3");
    expect_output("delete t", "", "");
    expect_output("read t", "", "");
    expect_failure("delete t", EX_NOINPUT, "t");
}

Test(cli_verbs, wrong_usage_is_said_and_does_nothing)
{
    expect_failure("", EX_USAGE, "append");
    expect_failure("frobnicate", EX_USAGE, "frobnicate");
    expect_failure("groups t", EX_USAGE, "'groups' is not a verb");
    expect_failure("seek t default 0", EX_USAGE, "'seek' is not a verb");
    expect_failure("top", EX_USAGE, "'top' is not a verb");
    expect_failure("append", EX_USAGE, "TOPIC");
    expect_failure("append --no-such t", EX_USAGE, "no-such");
    expect_failure("append --size 0 t", EX_USAGE, "size");
    expect_failure("append --size x t", EX_USAGE, "size");
    expect_failure("append --size 1Q t", EX_USAGE, "size");
    expect_failure("append --size 1KB t", EX_USAGE, "size");
    expect_failure("append --size K t", EX_USAGE, "size");
    expect_failure("read", EX_USAGE, "TOPIC");
    expect_failure("read -n x t", EX_USAGE, "x");
    expect_failure("trim t", EX_USAGE, "SEQ");
    expect_failure("trim t -1", EX_USAGE, "1");
    expect_failure("append t /no/such/file", EX_NOINPUT, "/no/such/file");
}

/* A file of one entry more bytes than an entry may have: a hole, so that it takes no space. */
Test(cli_verbs, an_entry_that_is_too_large_is_named)
{
    char path[SCRATCH_PATH_BYTES + 16];
    char words[SCRATCH_PATH_BYTES + 64];
    (void)snprintf(path, sizeof path, "%s/hole", broker->dir);
    scratch_write(path, "", 0);
    check_ok(truncate(path, (off_t)1 << 30 | 1));
    (void)snprintf(words, sizeof words, "append --whole t %s", path);
    struct program_result result = cli(broker, words, NULL, 0);
    check_is(result.status, EX_DATAERR);
    check_contains(result.err, path);
    check_contains(result.err, "1 GiB");
    program_free(&result);
    expect_failure("append --size 1025M t", EX_USAGE, "--size");
    check_is(info_of(topic_of(tusk, "t")).next_seq, 0);
}

Test(cli_alone, entries_larger_than_the_arena_go_through_it_and_come_back)
{
    enum { BYTES = 9 * 1024 * 1024, RECORD = BYTES / 3 };
    char path[SCRATCH_PATH_BYTES + 16];
    char words[SCRATCH_PATH_BYTES + 64];
    char *data = malloc(BYTES);
    session_begin_with("--arena 4MiB");
    payload_fill(data, BYTES, 1, 1);
    (void)snprintf(path, sizeof path, "%s/file", broker->dir);
    scratch_write(path, data, BYTES);
    for (int as_records = 0; as_records <= 1; as_records++) {
        (void)snprintf(words, sizeof words, "append %s t%d %s",
                       as_records ? "--size 3MiB" : "--whole", as_records, path);
        expect_output(words, "", "");
        (void)snprintf(words, sizeof words, "read --raw t%d", as_records);
        struct program_result result = cli(broker, words, NULL, 0);
        check_is(result.status, 0);
        check_bytes(result.out, result.out_bytes, data, BYTES);
        program_free(&result);
    }
    check_is(info_of(topic_of(tusk, "t0")).next_seq, 1);
    check_is(info_of(topic_of(tusk, "t1")).next_seq, BYTES / RECORD);
    free(data);
    session_end();
}

/* Stopped in the middle of it, until the broker has given it up: the tool says so, and nothing of it is
 * there. When that is, is found out: what is appended meanwhile comes before an entry that was stopped
 * too early, and behind one that was stopped too late. */
Test(cli_alone, an_entry_that_the_broker_gave_up_is_said_not_to_be_appended)
{
    enum { BYTES = 64 * 1024 * 1024, ROUNDS = 100 };
    char path[SCRATCH_PATH_BYTES + 16];
    session_begin_with("--arena 8MiB --stream-timeout 200ms");
    (void)snprintf(path, sizeof path, "%s/hole", broker->dir);
    scratch_write(path, "", 0);
    check_ok(truncate(path, BYTES));
    const char *const arguments[] = {program_cli(), "append", "--whole", "t", path, NULL};
    struct tusk_topic *topic = topic_of(tusk, "t");
    uint64_t expected = 0;
    uint64_t delay_us = 40000;
    bool given_up = false;
    for (int round = 0; !given_up; round++) {
        check_say(round < ROUNDS, "it was never stopped in the middle of its entry");
        struct program program = program_start(broker, arguments);
        (void)usleep((useconds_t)delay_us);
        check_ok(kill(program.pid, SIGSTOP));
        /* Waits until the entry is there, or has been given up. */
        const bool early = append_text(topic, "between") == expected;
        delay_us = early ? delay_us + delay_us / 4 : delay_us - delay_us / 5;
        expected++;
        check_ok(kill(program.pid, SIGCONT));
        struct program_result result = program_finish(&program, NULL, 0);
        if (result.status != 0) {
            check_is(result.status, EX_TEMPFAIL);
            check_contains(result.err, "gave it up");
            check_contains(result.err, "appended 0 entries");
            given_up = true;
        } else {
            expected++;
        }
        program_free(&result);
    }
    check_is(info_of(topic).next_seq, expected);
    session_end();
}

/* A line that no lane holds between lines that are not waited for. */
Test(cli_verbs, large_lines_keep_their_place_among_small_ones)
{
    enum { LARGE = 3 * 1024 * 1024, SMALL = 1000, LINE_BYTES = 24 };
    char *text = malloc((size_t)LARGE + 2 * SMALL * LINE_BYTES);
    size_t bytes = 0;
    for (int i = 0; i < 2 * SMALL; i++) {
        if (i == SMALL) {
            memset(text + bytes, 'l', LARGE);
            bytes += LARGE;
            text[bytes - 1] = '\n';
        }
        bytes += (size_t)snprintf(text + bytes, LINE_BYTES, "line number %d\n", i);
    }
    for (int at = 0; at <= 1; at++) { /* with --at each line is waited for */
        const char *const words = at ? "append --at 2001 t" : "append t";
        struct program_result result = cli(broker, words, text, bytes);
        check_say(result.status == 0, "tusk %s: %s", words, result.err);
        check_contains(result.err, "appended 2001 entries");
        program_free(&result);
        result = cli(broker, at ? "read --from 2001 t" : "read t", NULL, 0);
        check_bytes(result.out, result.out_bytes, text, bytes);
        program_free(&result);
    }
    free(text);
}

Test(cli_alone, help_and_version_need_no_broker)
{
    static const char *const words[] = {"--help",        "--version",     "append --help",
                                        "read --help",   "topics --help", "stat --help",
                                        "delete --help", "run --help"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct program_result result = cli(NULL, words[i], NULL, 0);
        check_is(result.status, 0);
        check(result.out_bytes > 5);
        check_is(result.err_bytes, 0);
        program_free(&result);
    }
}

Test(cli_alone, run_gives_a_command_a_private_broker_and_takes_it_away)
{
    char script[512];
    (void)snprintf(script, sizeof script,
                   "echo hello | '%s' append greetings && '%s' read greetings && echo $TUSK_SOCKET",
                   program_cli(), program_cli());
    const char *const arguments[] = {program_cli(), "run", "--", "sh", "-c", script, NULL};
    struct program_result result = program_run(NULL, arguments, NULL, 0);
    check_say(result.status == 0, "exit status %d: %s", result.status, result.err);
    check_contains(result.out, "hello\n");
    char *socket_path = strchr(result.out, '/');
    check(socket_path != NULL);
    socket_path[strcspn(socket_path, "\n")] = 0;
    check_say(access(socket_path, F_OK) != 0, "%s is still there", socket_path);
    program_free(&result);
}

Test(cli_alone, run_ends_with_its_commands_status)
{
    const char *const arguments[] = {program_cli(), "run", "--", "sh", "-c", "exit 42", NULL};
    struct program_result result = program_run(NULL, arguments, NULL, 0);
    check_is(result.status, 42);
    program_free(&result);
    const char *const missing[] = {program_cli(), "run", "--", "/no/such/command", NULL};
    result = program_run(NULL, missing, NULL, 0);
    check(result.status != 0);
    check_contains(result.err, "/no/such/command");
    program_free(&result);
}
