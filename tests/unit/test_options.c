/*
 * Proves that every source of options gives the same config, in the promised precedence, that each
 * bad text is refused with its source, option, value and what is accepted, and that paths resolve
 * as documented. How: options_parse() on made-up command lines, variables and files.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sysexits.h>
#include <unistd.h>

#include "broker/fault.h"
#include "broker/options.h"
#include "broker/options_table.h"
#include "broker/options_value.h"
#include "shm/quantity.h"

enum { ARGUMENTS_MAX = 32 };

static struct options options;
static struct fault fault;
static char directory[] = "/tmp/test_options.XXXXXX";
static char file_path[64];

static void environment_clear(void)
{
    for (size_t at = 0; at < option_count; at++) {
        if (option_table[at].variable != NULL) {
            unsetenv(option_table[at].variable);
        }
    }
    unsetenv("XDG_STATE_HOME");
    unsetenv("XDG_RUNTIME_DIR");
    memset(&fault, 0, sizeof fault);
    cr_assert_not_null(mkdtemp(directory));
    snprintf(file_path, sizeof file_path, "%s/tuskd.conf", directory);
}

static void directory_remove(void)
{
    unlink(file_path);
    rmdir(directory);
}

TestSuite(options, .init = environment_clear, .fini = directory_remove, .timeout = 600);

/* Parses "tuskd" and the arguments, which end with NULL. */
#define PARSE(...) parse((const char *[]){"tuskd", __VA_ARGS__, NULL})
#define PARSE_NOTHING() parse((const char *[]){"tuskd", NULL})

static int parse(const char *const *arguments)
{
    char *copies[ARGUMENTS_MAX];
    int count = 0;
    for (; arguments[count] != NULL; count++) {
        copies[count] = strdup(arguments[count]);
    }
    copies[count] = NULL;
    const int result = options_parse(&options, count, copies, &fault);
    for (int at = 0; at < count; at++) {
        free(copies[at]);
    }
    return result;
}

static void file_write(const char *text)
{
    FILE *file = fopen(file_path, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
}

#define EXPECT_REFUSED(result, status, ...)                                                        \
    expect_refused(__LINE__, result, status, (const char *[]){__VA_ARGS__, NULL})

/* The words hold every one of the parts. */
static void expect_refused(int line, int result, int status, const char *const *parts)
{
    cr_expect_lt(result, 0, "line %d: accepted", line);
    cr_expect_eq(fault.error, result, "line %d: fault %d, result %d", line, fault.error, result);
    cr_expect_eq(options_exit_status(&options), status, "line %d: status %d", line,
                 options_exit_status(&options));
    for (; *parts != NULL; parts++) {
        cr_expect_not_null(strstr(fault.text, *parts), "line %d: no \"%s\" in: %s", line, *parts,
                           fault.text);
    }
}

Test(options, defaults_are_the_documented_ones)
{
    cr_assert_eq(PARSE_NOTHING(), OPTIONS_RUN, "%s", fault.text);
    const struct config *config = &options.config;
    cr_expect_eq(config->socket_mode, 0660);
    cr_expect_eq(config->socket_group, CONFIG_GROUP_UNCHANGED);
    cr_expect_eq(config->fsync, FSYNC_INTERVAL);
    cr_expect_eq(config->fsync_interval_ns, UINT64_C(200000000));
    cr_expect_eq(config->arena_bytes, UINT64_C(128) << 20);
    cr_expect_not(config->arena_given);
    cr_expect_eq(config->chunk_bytes, UINT64_C(256) << 10);
    cr_expect_eq(config->segment_bytes, UINT64_C(64) << 20);
    cr_expect_eq(config->engines, 1);
    cr_expect_eq(config->idle, IDLE_ADAPTIVE);
    cr_expect_eq(config->backend, IO_BACKEND_AUTO);
    cr_expect_eq(config->direct, IO_DIRECT_AUTO);
    cr_expect_eq(config->consistency, READ_STRICTLY_AT_ONCE);
    cr_expect_geq(config->persist_every, 1);
    cr_expect(config->retention.consumed && config->retention.bytes_max == 0);
    cr_expect_eq(config->topics_max, 16384);
    cr_expect_eq(config->lanes_max, 8192);
    cr_expect_not(config->quiet);
    cr_expect_eq(options.ready_fd, 0);
}

Test(options, command_line_sets_every_option)
{
    cr_assert_eq(PARSE("--data=/tmp", "--socket", "/tmp/t.sock", "--socket-mode=0600",
                       "--socket-group=12", "--run-dir=/dev/shm/t", "--fsync=each", "--arena=64MiB",
                       "--chunk=128K", "--segment=2097152", "--engines=2", "--idle=spin",
                       "--consistency=7", "--retention=consumed", "--quiet"),
                 OPTIONS_RUN, "%s", fault.text);
    const struct config *config = &options.config;
    cr_expect_str_eq(config->data_dir, "/tmp");
    cr_expect_str_eq(config->socket_path, "/tmp/t.sock");
    cr_expect_str_eq(config->run_dir, "/dev/shm/t");
    cr_expect_eq(config->socket_mode, 0600);
    cr_expect_eq(config->socket_group, 12);
    cr_expect_eq(config->fsync, FSYNC_EACH);
    cr_expect_eq(config->arena_bytes, UINT64_C(64) << 20);
    cr_expect(config->arena_given);
    cr_expect_eq(config->chunk_bytes, UINT64_C(128) << 10);
    cr_expect_eq(config->segment_bytes, UINT64_C(2) << 20);
    cr_expect_eq(config->engines, 2);
    cr_expect_eq(config->idle, IDLE_SPIN);
    cr_expect_eq(config->consistency, READ_AT_LEAST_ONCE);
    cr_expect_eq(config->persist_every, 7);
    cr_expect(config->quiet);
    cr_assert_eq(PARSE("--topics=9", "--lanes=10", "--ready-fd=11", "--idle", "block",
                       "--backend=mmap", "--direct=off"),
                 0);
    cr_expect_eq(config->backend, IO_BACKEND_MMAP);
    cr_expect_eq(config->direct, IO_DIRECT_OFF);
    cr_expect_eq(config->topics_max, 9);
    cr_expect_eq(config->lanes_max, 10);
    cr_expect_eq(options.ready_fd, 11);
    cr_expect_eq(config->idle, IDLE_BLOCK);
}

Test(options, every_default_and_every_variable_is_accepted)
{
    for (size_t at = 0; at < option_count; at++) {
        const struct option_spec *spec = &option_table[at];
        for (size_t other = 0; other < at; other++) {
            cr_expect_str_neq(spec->name, option_table[other].name);
        }
        if (spec->default_text != NULL) {
            cr_expect_eq(option_value_store(spec, spec->default_text, &options), 0, "%s",
                         spec->name);
        }
        if (spec->variable != NULL && spec->default_text != NULL) {
            setenv(spec->variable, spec->default_text, 1);
        }
        cr_expect_eq(option_find(spec->name), spec);
    }
    cr_expect_eq(PARSE_NOTHING(), OPTIONS_RUN, "%s", fault.text);
    cr_expect(options.config.arena_given, "the environment gave it");
}

Test(options, precedence_is_command_line_environment_file_default)
{
    file_write("fsync = 1 ms\nengines = 2\ntopics = 3\n");
    setenv("TUSK_FSYNC", "2ms", 1);
    setenv("TUSK_ENGINES", "4", 1);
    cr_assert_eq(PARSE("--config", file_path, "--fsync", "3 ms"), OPTIONS_RUN, "%s", fault.text);
    cr_expect_eq(options.config.fsync_interval_ns, 3 * NS_PER_MS);
    cr_expect_eq(options.config.engines, 4);
    cr_expect_eq(options.config.topics_max, 3);
    cr_expect_eq(options.config.lanes_max, 8192);
}

Test(options, file_is_named_by_the_environment_unless_the_command_line_does)
{
    file_write("topics = 3\n");
    setenv("TUSK_CONFIG", file_path, 1);
    cr_assert_eq(PARSE_NOTHING(), OPTIONS_RUN, "%s", fault.text);
    cr_expect_eq(options.config.topics_max, 3);
    EXPECT_REFUSED(PARSE("--config=/nonexistent/t.conf"), EX_CONFIG, "/nonexistent/t.conf",
                   "No such file");
}

Test(options, file_knows_comments_blanks_and_quotes)
{
    file_write("# a comment\r\n"
               "\n"
               "   \t# another\n"
               "fsync=each#not a comment without a blank before\n");
    EXPECT_REFUSED(PARSE("--config", file_path), EX_CONFIG, "tuskd.conf:4: fsync 'each#not");
    file_write("\tfsync\t=  none   # when chunks fill\r\n"
               "data = \"/tmp/a # b\" # in quotes\n"
               "socket = /tmp/a#b.sock\n"
               "quiet = yes");
    cr_assert_eq(PARSE("--config", file_path), OPTIONS_RUN, "%s", fault.text);
    cr_expect_eq(options.config.fsync, FSYNC_NONE);
    cr_expect_str_eq(options.config.data_dir, "/tmp/a # b");
    cr_expect_str_eq(options.config.socket_path, "/tmp/a#b.sock");
    cr_expect(options.config.quiet);
}

Test(options, file_errors_name_file_and_line)
{
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"engines = 1\nfsnyc = each\n",
         "tuskd.conf:2: unknown option 'fsnyc'; did you mean fsync?"},
        {"socket_mode = 0600\n", "tuskd.conf:1: unknown option 'socket_mode'; did you mean "
                                 "socket-mode?"},
        {"\nengines\n", "tuskd.conf:2: expected 'name = value'"},
        {"= 3\n", "tuskd.conf:1: expected 'name = value'"},
        {"data = \"/tmp\n", "tuskd.conf:1: expected 'name = value'"},
        {"data = \"/tmp\" x\n", "tuskd.conf:1: expected 'name = value'"},
        {"engines = 2\nengines = 3\n", "tuskd.conf:2: 'engines' is given twice, first in line 1"},
        {"engines = \n", "tuskd.conf:1: engines '': expected a number from 1 to 64"},
        {"arena = 1MiB\n", "tuskd.conf:1: arena '1MiB': expected a size from 4MiB to 1TiB"},
        {"config = /x\n", "tuskd.conf:1: 'config' cannot be given in a file"},
        {"ready-fd = 3\n", "tuskd.conf:1: 'ready-fd' cannot be given in a file"},
        {"help = yes\n", "tuskd.conf:1: 'help' cannot be given in a file"},
    };
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        file_write(cases[at].text);
        EXPECT_REFUSED(PARSE("--config", file_path), EX_CONFIG, cases[at].part);
    }
    FILE *file = fopen(file_path, "w");
    cr_assert_not_null(file);
    fwrite("eng\0ines = 2\n", 1, 13, file);
    fclose(file);
    EXPECT_REFUSED(PARSE("--config", file_path), EX_CONFIG, "tuskd.conf:1: a zero byte");
    EXPECT_REFUSED(PARSE("--config", directory), EX_CONFIG, directory, "cannot be read");
}

Test(options, refusals_name_source_option_value_and_range)
{
    EXPECT_REFUSED(PARSE("--arena=4095K"), EX_USAGE,
                   "command line: --arena '4095K': expected a size from 4MiB to 1TiB");
    EXPECT_REFUSED(PARSE("--chunk", "96KiB"), EX_USAGE,
                   "command line: --chunk '96KiB': expected a power of two from 64KiB to 4MiB");
    EXPECT_REFUSED(PARSE("--idle=lazy"), EX_USAGE, "--idle 'lazy'", "spin, adaptive, block");
    EXPECT_REFUSED(PARSE("--backend=aio"), EX_USAGE, "--backend 'aio'",
                   "auto, uring, pwrite, mmap");
    EXPECT_REFUSED(PARSE("--direct=yes"), EX_USAGE, "--direct 'yes'", "auto, on, off");
    EXPECT_REFUSED(PARSE("--fsync=sometimes"), EX_USAGE, "--fsync 'sometimes'",
                   "each, none, or a time from 1ms to 1h");
    EXPECT_REFUSED(PARSE("--retention=bytes"), EX_USAGE,
                   "--retention 'bytes': expected none, or consumed, bytes=SIZE");
    EXPECT_REFUSED(PARSE("--consistency=loose"), EX_USAGE,
                   "expected strict, or a number from 1 to 4294967295");
    EXPECT_REFUSED(PARSE("--socket-mode=0888"), EX_USAGE, "--socket-mode '0888'", "octal");
    EXPECT_REFUSED(PARSE("--socket-mode=01777"), EX_USAGE, "from 0 to 0777");
    EXPECT_REFUSED(PARSE("--socket-group=no-such-group"), EX_USAGE,
                   "--socket-group 'no-such-group'", "a group");
    EXPECT_REFUSED(PARSE("--data="), EX_USAGE, "--data ''", "a path of 1 to 4095 bytes");
    EXPECT_REFUSED(PARSE("--quiet=perhaps"), EX_USAGE, "--quiet 'perhaps': expected yes or no");
    setenv("TUSK_ENGINES", "65", 1);
    EXPECT_REFUSED(PARSE_NOTHING(), EX_CONFIG,
                   "environment: TUSK_ENGINES '65': expected a number from 1 to 64");
}

Test(options, empty_variable_is_none)
{
    setenv("TUSK_ENGINES", "", 1);
    setenv("TUSK_QUIET", "1", 1);
    cr_assert_eq(PARSE_NOTHING(), OPTIONS_RUN, "%s", fault.text);
    cr_expect_eq(options.config.engines, 1);
    cr_expect(options.config.quiet);
    cr_assert_eq(PARSE("--quiet=no"), OPTIONS_RUN, "%s", fault.text);
    cr_expect_not(options.config.quiet);
}

Test(options, what_does_not_fit_together_is_blamed_on_its_source)
{
    EXPECT_REFUSED(PARSE("--segment=65M", "--chunk=2M"), EX_USAGE,
                   "command line: --segment: 65MiB is not a multiple of --chunk 2MiB", "(32MiB)");
    EXPECT_REFUSED(PARSE("--chunk=4M", "--arena=32M"), EX_USAGE, "command line: --arena: 32MiB",
                   "less than 16 of them (64MiB)");
    EXPECT_REFUSED(PARSE("--chunk=64K", "--arena=65G"), EX_USAGE,
                   "command line: --arena: 65GiB is too much for --chunk 64KiB", "at most 64GiB");
    EXPECT_REFUSED(PARSE("--backend=mmap", "--direct=on"), EX_USAGE,
                   "command line: --direct: --backend mmap is the page cache");
    file_write("\nsegment = 3M\n");
    EXPECT_REFUSED(PARSE("--config", file_path), EX_CONFIG, "tuskd.conf:2: segment: 3MiB");
}

Test(options, unknown_options_suggest_the_nearest)
{
    EXPECT_REFUSED(PARSE("--fsnyc=each"), EX_USAGE,
                   "command line: unknown option '--fsnyc=each'; did you mean --fsync?");
    EXPECT_REFUSED(PARSE("--sock=x"), EX_USAGE, "unknown option '--sock=x'", "--socket or ",
                   "--socket-mode or --socket-group?");
    EXPECT_REFUSED(PARSE("--zzzzzz"), EX_USAGE, "unknown option '--zzzzzz'; --help lists");
    EXPECT_REFUSED(PARSE("-q"), EX_USAGE, "unknown option '-q'");
    EXPECT_REFUSED(PARSE("--quiet", "-xy"), EX_USAGE, "unknown option '-xy'");
    EXPECT_REFUSED(PARSE("--data"), EX_USAGE, "--data needs a value: expected a path");
    EXPECT_REFUSED(PARSE("--help=x"), EX_USAGE, "--help takes no value");
    EXPECT_REFUSED(PARSE("--fsync", "200", "ms"), EX_USAGE, "unexpected 'ms'", "quotes");
    EXPECT_REFUSED(PARSE("--", "x"), EX_USAGE, "unexpected 'x'");
}

Test(options, help_and_version_are_answers)
{
    cr_expect_eq(PARSE("--help"), OPTIONS_HELP);
    cr_expect_eq(PARSE("--quiet", "--version", "--nonsense"), OPTIONS_VERSION);
}

Test(options, help_names_every_option_with_variable_and_default)
{
    char *text;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    options_print_help(stream);
    fclose(stream);
    for (size_t at = 0; at < option_count; at++) {
        char name[64];
        snprintf(name, sizeof name, "  --%s", option_table[at].name);
        cr_expect_not_null(strstr(text, name), "%s", name);
        if (option_table[at].variable != NULL) {
            snprintf(name, sizeof name, "[%s; ", option_table[at].variable);
            cr_expect_not_null(strstr(text, name), "%s", name);
        }
    }
    size_t column = 0;
    for (const char *at = text; *at != '\0'; at++) {
        column = *at == '\n' ? 0 : column + 1;
        cr_expect_leq(column, 80);
    }
    free(text);
}

Test(options, fsync_accepts_each_number_and_none)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {{"200", 200},       {"200ms", 200}, {"200 ms", 200}, {"200MS", 200},
                 {"0", 1},           {"0ms", 1},     {"1", 1},        {"2s", 2000},
                 {"60min", 3600000}, {"1h", 3600000}};
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        cr_expect_eq(PARSE("--fsync", cases[at].text), OPTIONS_RUN, "%s", cases[at].text);
        cr_expect_eq(options.config.fsync, FSYNC_INTERVAL);
        cr_expect_eq(options.config.fsync_interval_ns, cases[at].ms * NS_PER_MS, "%s",
                     cases[at].text);
    }
    static const char *const bad[] = {"-1",
                                      "1.5ms",
                                      "ms",
                                      "200 msec",
                                      "3600001",
                                      "2h",
                                      "18446744073709551616",
                                      "18446744073709551615h",
                                      " 1",
                                      ""};
    for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
        EXPECT_REFUSED(PARSE("--fsync", bad[at]), EX_USAGE, "--fsync '");
    }
}

Test(options, consistency_zero_acts_as_one)
{
    cr_expect_eq(PARSE("--consistency=0"), OPTIONS_RUN);
    cr_expect_eq(options.config.consistency, READ_AT_LEAST_ONCE);
    cr_expect_eq(options.config.persist_every, 1);
    cr_expect_eq(PARSE("--consistency=strict"), OPTIONS_RUN);
    cr_expect_eq(options.config.consistency, READ_STRICTLY_AT_ONCE);
}

Test(options, group_is_found_by_its_name)
{
    const struct group *group = getgrgid(0);
    cr_assert_not_null(group);
    cr_expect_eq(PARSE("--socket-group", group->gr_name), OPTIONS_RUN);
    cr_expect_eq(options.config.socket_group, 0);
}

Test(options, sizes_read_as_they_are_written)
{
    static const uint64_t sizes[] = {0,       1,       1000,       1024,       65536,
                                     1048576, 1048577, 5ULL << 20, 3ULL << 30, 1ULL << 40};
    for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        uint64_t back;
        cr_expect_eq(quantity_size_parse(SIZE_TEXT(sizes[at]), &back), 0);
        cr_expect_eq(back, sizes[at]);
    }
    cr_expect_str_eq(SIZE_TEXT(UINT64_C(262144)), "256KiB");
    cr_expect_str_eq(SIZE_TEXT(UINT64_C(1000)), "1000B");
    cr_expect_str_eq(DURATION_TEXT(200 * NS_PER_MS), "200ms");
    cr_expect_str_eq(DURATION_TEXT(120000 * NS_PER_MS), "2min");
    uint64_t value;
    cr_expect_eq(quantity_size_parse("16777216T", &value), -ERANGE);
    cr_expect_eq(quantity_size_parse("16777215T", &value), 0);
    cr_expect_eq(quantity_size_parse("1MB", &value), -EINVAL,
                 "neither 1000000 nor 1048576 is sure");
    cr_expect_eq(quantity_size_parse("0x10", &value), -EINVAL);
    cr_expect_eq(quantity_integer_parse("12 ", &value), -EINVAL);
}

Test(options, paths_are_absolute_and_the_data_directory_has_one_name)
{
    char link_path[96];
    char data[128];
    char expected[128];
    snprintf(link_path, sizeof link_path, "%s/link", directory);
    cr_assert_eq(symlink("/tmp", link_path), 0);
    snprintf(data, sizeof data, "%s//./new/store/", link_path);
    cr_expect_eq(PARSE("--data", data), OPTIONS_RUN, "%s", fault.text);
    cr_expect_str_eq(options.config.data_dir, "/tmp/new/store");
    unlink(link_path);

    cr_assert_eq(chdir(directory), 0);
    cr_expect_eq(PARSE("--data=store", "--socket=./s.sock", "--run-dir=/dev/shm/../shm//x/"),
                 OPTIONS_RUN, "%s", fault.text);
    snprintf(expected, sizeof expected, "%s/store", directory);
    cr_expect_str_eq(options.config.data_dir, expected);
    snprintf(expected, sizeof expected, "%s/s.sock", directory);
    cr_expect_str_eq(options.config.socket_path, expected);
    cr_expect_str_eq(options.config.run_dir, "/dev/shm/../shm/x");
}

Test(options, socket_paths_have_the_kernels_length)
{
    char path[CONFIG_SOCKET_PATH_BYTES + 1] = "/";
    memset(path + 1, 's', sizeof path - 2);
    EXPECT_REFUSED(PARSE("--socket", path), EX_USAGE, "a path of 1 to 107 bytes");
    path[CONFIG_SOCKET_PATH_BYTES - 1] = '\0';
    cr_expect_eq(PARSE("--socket", path), OPTIONS_RUN, "%s", fault.text);
    cr_assert_eq(chdir(directory), 0);
    EXPECT_REFUSED(PARSE("--socket", path + 1), EX_USAGE, "command line: --socket", "107 bytes");
}

Test(options, run_dir_is_in_memory_and_one_per_store)
{
    char first[CONFIG_PATH_BYTES];
    cr_expect_eq(PARSE("--data=/tmp/one", "--socket=/dev/shm/new/t.sock"), OPTIONS_RUN);
    cr_expect(strncmp(options.config.run_dir, "/dev/shm/new/regions-", 21) == 0, "%s",
              options.config.run_dir);
    strcpy(first, options.config.run_dir);
    cr_expect_eq(PARSE("--data=/tmp/one/.", "--socket=/dev/shm/new/u.sock"), OPTIONS_RUN);
    cr_expect_str_eq(options.config.run_dir, first, "the same store, the same place");
    cr_expect_eq(PARSE("--data=/tmp/two", "--socket=/dev/shm/new/t.sock"), OPTIONS_RUN);
    cr_expect_str_neq(options.config.run_dir, first);

    struct statfs status;
    cr_assert_eq(statfs("/tmp", &status), 0);
    if (status.f_type != TMPFS_MAGIC) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "/dev/shm/tusk-%u-", (unsigned)geteuid());
        cr_expect_eq(PARSE("--data=/tmp/one", "--socket=/tmp/t.sock"), OPTIONS_RUN);
        cr_expect(strncmp(options.config.run_dir, prefix, strlen(prefix)) == 0, "%s",
                  options.config.run_dir);
    }
    EXPECT_REFUSED(PARSE("--run-dir=/proc/tusk"), EX_USAGE,
                   "command line: --run-dir: '/proc/tusk' is not on a tmpfs", "/dev/shm");
}

static void default_paths_expect(const char *data, const char *socket)
{
    cr_expect_eq(PARSE_NOTHING(), OPTIONS_RUN, "%s", fault.text);
    cr_expect_str_eq(options.config.data_dir, data);
    cr_expect_str_eq(options.config.socket_path, socket);
}

Test(options, default_paths_follow_the_user)
{
    setenv("HOME", "/nonexistent/home", 1);
    setenv("XDG_RUNTIME_DIR", "/dev/shm/runtime", 1);
    const bool root = geteuid() == 0;
    if (root) {
        default_paths_expect("/var/lib/tusk", "/run/tusk/tusk.sock");
        cr_assert_eq(seteuid(65534), 0);
    }
    default_paths_expect("/nonexistent/home/.local/state/tusk", "/dev/shm/runtime/tusk/tusk.sock");
    setenv("XDG_STATE_HOME", "/nonexistent/state", 1);
    default_paths_expect("/nonexistent/state/tusk", "/dev/shm/runtime/tusk/tusk.sock");
    setenv("XDG_STATE_HOME", "relative", 1);
    default_paths_expect("/nonexistent/home/.local/state/tusk", "/dev/shm/runtime/tusk/tusk.sock");
    unsetenv("HOME");
    EXPECT_REFUSED(PARSE_NOTHING(), EX_CONFIG, "default of --data", "HOME");
    setenv("HOME", "/nonexistent/home", 1);
    unsetenv("XDG_RUNTIME_DIR");
    EXPECT_REFUSED(PARSE_NOTHING(), EX_CONFIG, "default of --socket", "XDG_RUNTIME_DIR");
    if (root) {
        cr_assert_eq(seteuid(0), 0);
        cr_assert_eq(prctl(PR_SET_DUMPABLE, 1), 0); /* else the leak check cannot look */
    }
}

Test(options, program_gives_options_by_name)
{
    options_init(&options);
    cr_expect_eq(options_set(&options, "fsync", "each", &fault), 0);
    cr_expect_eq(options_set(&options, "data", "/tmp", &fault), 0);
    cr_expect_eq(options_resolve(&options, &fault), 0, "%s", fault.text);
    cr_expect_eq(options.config.fsync, FSYNC_EACH);
    EXPECT_REFUSED(options_set(&options, "engines", "0", &fault), EX_CONFIG,
                   "options: engines '0': expected a number from 1 to 64");
}

Test(options, fault_text_that_is_too_long_ends_in_dots)
{
    static char text[2 * FAULT_TEXT_BYTES];
    memset(text, 'x', sizeof text - 1);
    cr_expect_eq(fault_set(&fault, -EIO, "%s", text), -EIO);
    cr_expect_eq(strlen(fault.text), FAULT_TEXT_BYTES - 1);
    cr_expect_str_eq(fault.text + FAULT_TEXT_BYTES - 4, "...");
    cr_expect_eq(fault_set(NULL, -EIO, "%s", "nobody listens"), -EIO);
}

Test(options, faults_have_an_exit_status)
{
    cr_expect_eq(fault_exit_status(0), EX_OK);
    cr_expect_eq(fault_exit_status(-EACCES), EX_CANTCREAT);
    cr_expect_eq(fault_exit_status(-EBUSY), EX_TEMPFAIL);
    cr_expect_eq(fault_exit_status(-EBADMSG), EX_DATAERR);
    cr_expect_eq(fault_exit_status(-EPROTO), EX_CONFIG);
    cr_expect_eq(fault_exit_status(-EIO), EX_IOERR);
    cr_expect_eq(fault_exit_status(-ENOSYS), EX_UNAVAILABLE);
    cr_expect_eq(fault_exit_status(-ENOMEM), EX_OSERR);
}
