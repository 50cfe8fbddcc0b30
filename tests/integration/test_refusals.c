/*
 * Refusals: a broker that cannot do what it is told says why, in words, and exits non-zero before
 * it is ready; nothing is changed.
 * How:        real brokers, their exit statuses and what they print.
 * Not here:   second brokers (test_lifecycle.c).
 */
#include <criterion/criterion.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/checksum.h"
#include "tests/support/program.h"
#include "tests/support/session.h"

TestSuite(refusals);

/* Exit statuses are those of sysexits.h: 64 to 78. */
static void expect_refusal(struct tuskd *tuskd, const char *options, const char *part)
{
    const char *text = NULL;
    const int status = tuskd_refusal(tuskd, options, &text);
    check_say(status >= 64 && status <= 78, "%s: exit status %d", options, status);
    check_contains(text, part);
    check_say(strstr(text, "ssertion") == NULL, "an assertion instead of words: %s", text);
}

Test(refusals, bad_option_values_name_the_option_and_what_it_takes)
{
    static const struct {
        const char *options;
        const char *part;
    } cases[] = {
        {"--fsync sometimes", "fsync"},
        {"--fsync -1ms", "fsync"},
        {"--fsync 99999999999999999999ms", "fsync"},
        {"--fsync", "fsync"},
        {"--arena 12", "arena"},
        {"--arena 1X", "arena"},
        {"--arena -1", "arena"},
        {"--arena 99999999999999999999", "arena"},
        {"--chunk 100K", "chunk"},
        {"--chunk 1K", "chunk"},
        {"--chunk 1G", "chunk"},
        {"--segment 1K", "segment"},
        {"--segment 64K --chunk 256K", "segment"},
        {"--engines 0", "engines"},
        {"--engines x", "engines"},
        {"--idle never", "idle"},
        {"--consistency maybe", "consistency"},
        {"--consistency -3", "consistency"},
        {"--socket-mode 9999", "socket-mode"},
        {"--socket-mode rw", "socket-mode"},
        {"--socket-group no-such-group-here", "no-such-group-here"},
        {"--retention bytes", "retention"},
        {"--no-such-option", "no-such-option"},
        {"--fsnyc each", "fsync"}, /* a slip: the option meant is named */
        {"argument", "argument"},
        {"--config /no/such/file", "/no/such/file"},
    };
    broker = tuskd_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refusal(broker, cases[i].options, cases[i].part);
    }
    check_say(access(broker->data, F_OK) != 0, "a refused broker has made %s", broker->data);
}

Test(refusals, a_bad_line_of_a_file_is_named_with_its_number)
{
    static const char text[] = "fsync = each\n\n# comment\narena = lots\n";
    char path[SCRATCH_PATH_BYTES + 16];
    char options[SCRATCH_PATH_BYTES + 64];
    broker = tuskd_new();
    (void)snprintf(path, sizeof path, "%s/conf", broker->dir);
    (void)snprintf(options, sizeof options, "--config %s", path);
    scratch_write(path, text, sizeof text - 1);
    expect_refusal(broker, options, "4");
    expect_refusal(broker, options, "arena");
    expect_refusal(broker, options, path);
}

Test(refusals, a_data_directory_that_cannot_be_made_or_written)
{
    broker = tuskd_new();
    (void)snprintf(broker->data, sizeof broker->data, "/proc/no/such/place");
    expect_refusal(broker, "", "/proc/no");
    (void)snprintf(broker->data, sizeof broker->data, "/proc");
    expect_refusal(broker, "", "/proc");
    (void)snprintf(broker->data, sizeof broker->data, "%s/file", broker->dir);
    scratch_write(broker->data, "x", 1);
    expect_refusal(broker, "", broker->data);
}

Test(refusals, a_socket_path_that_is_too_long_or_taken_by_a_file)
{
    char options[512];
    char name[300];
    broker = tuskd_new();
    memset(name, 's', sizeof name);
    name[200] = 0;
    (void)snprintf(options, sizeof options, "--socket %s/%s", broker->dir, name);
    expect_refusal(broker, options, "socket");
    scratch_write(broker->socket, "precious", 8);
    expect_refusal(broker, "", broker->socket);
    size_t bytes = 0;
    char *text = scratch_read(broker->socket, &bytes);
    check_bytes(text, bytes, "precious", 8);
    free(text);
}

Test(refusals, a_full_shared_memory_file_system)
{
    broker = tuskd_new();
    if (!scratch_mount(broker->run_dir, 2U * 1024 * 1024)) {
        cr_skip_test("mounting a tmpfs is not allowed");
    }
    expect_refusal(broker, "--arena 64M", broker->run_dir);
    if (!scratch_mount(broker->run_dir, 128U * 1024 * 1024)) {
        cr_skip_test("mounting a tmpfs is not allowed");
    }
    tuskd_restart(broker, "--arena 16M");
    tuskd_stop(broker);
}

Test(refusals, a_small_shared_memory_file_system_gets_a_smaller_default_arena)
{
    broker = tuskd_new();
    if (!scratch_mount(broker->run_dir, 64U * 1024 * 1024)) {
        cr_skip_test("mounting a tmpfs is not allowed");
    }
    const char *const arguments[] = {program_tuskd(), "--data",    broker->data,    "--socket",
                                     broker->socket,  "--run-dir", broker->run_dir, NULL};
    struct program program = program_start(NULL, arguments);
    tusk = attach(broker); /* waits until it is there */
    append_text(topic_of(tusk, "t"), "x");
    tusk_disconnect(tusk);
    check_ok(kill(program.pid, SIGTERM));
    struct program_result result = program_finish(&program, NULL, 0);
    check_is(result.status, 0);
    check_contains(result.err, "arena");
    program_free(&result);
}

/* Every regular file of the store whose name is looked for. */
static const char *wanted_name;
static char found_path[512];

static int find_file(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    if (kind == FTW_F && strcmp(path + walk->base, wanted_name) == 0) {
        (void)snprintf(found_path, sizeof found_path, "%s", path);
        return 1;
    }
    return 0;
}

static const char *store_file(void)
{
    wanted_name = "STORE";
    check_is(nftw(broker->data, find_file, 16, FTW_PHYS), 1);
    return found_path;
}

static void overwrite(const char *path, size_t offset, const void *data, size_t bytes)
{
    size_t total = 0;
    char *text = scratch_read(path, &total);
    for (size_t at = offset; at + bytes <= total; at += 4096) {
        memcpy(text + at, data, bytes); /* all copies of the superblock */
    }
    scratch_write(path, text, total);
    free(text);
}

Test(refusals, a_store_that_is_not_one_of_ours)
{
    broker = tuskd_start("");
    tuskd_stop(broker);
    overwrite(store_file(), 0, "GARBAGE!", 8);
    expect_refusal(broker, "", broker->data);
}

/* Magic, version and checksum have their places in all versions: 0, 8 and 12. */
Test(refusals, a_store_of_a_newer_version)
{
    broker = tuskd_start("");
    tuskd_stop(broker);
    const char *path = store_file();
    size_t bytes = 0;
    char *text = scratch_read(path, &bytes);
    check(bytes > 0 && bytes % 4096 == 0);
    for (size_t at = 0; at < bytes; at += 4096) {
        const uint32_t version = 1000;
        const uint32_t none = 0;
        memcpy(text + at + 8, &version, sizeof version);
        memcpy(text + at + 12, &none, sizeof none);
        const uint32_t checksum = checksum_bytes(text + at, 4096);
        memcpy(text + at + 12, &checksum, sizeof checksum);
    }
    scratch_write(path, text, bytes);
    expect_refusal(broker, "", broker->data);
    expect_refusal(broker, "", "version");
    size_t bytes_after = 0;
    char *after = scratch_read(path, &bytes_after);
    check_bytes(after, bytes_after, text, bytes);
    free(after);
    free(text);
}

Test(refusals, a_directory_with_other_peoples_files_is_left_alone)
{
    char path[SCRATCH_PATH_BYTES + 32];
    broker = tuskd_new();
    check_ok(mkdir(broker->data, 0700));
    (void)snprintf(path, sizeof path, "%s/STORE", broker->data);
    scratch_write(path, "my shopping list", 16);
    expect_refusal(broker, "", broker->data);
    size_t bytes = 0;
    char *text = scratch_read(path, &bytes);
    check_bytes(text, bytes, "my shopping list", 16);
    free(text);
}

Test(refusals, an_empty_superblock)
{
    broker = tuskd_start("");
    tuskd_stop(broker);
    scratch_write(store_file(), "", 0);
    expect_refusal(broker, "", broker->data);
}

Test(refusals, another_chunk_size_than_the_stores)
{
    broker = tuskd_start("--chunk 64K");
    tusk = attach(broker);
    append_text(topic_of(tusk, "t"), "x");
    session_end();
    const char *text = NULL;
    int status = tuskd_refusal(broker, "--chunk 128K", &text);
    check(status >= 64 && status <= 78);
    check_contains(text, "chunk");
    tuskd_restart(broker, "--chunk 64K");
    tusk = attach(broker);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    expect_text(reader, 0, "x");
    session_end();
}

Test(refusals, version_and_help_go_to_stdout)
{
    static const char *const flags[] = {"--version", "--help"};
    for (int i = 0; i < 2; i++) {
        const char *const arguments[] = {program_tuskd(), flags[i], NULL};
        struct program_result result = program_run(NULL, arguments, NULL, 0);
        check_is(result.status, 0);
        check(result.out_bytes > 3);
        check_is(result.err_bytes, 0);
        program_free(&result);
    }
}
