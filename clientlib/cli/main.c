/*
 * tusk: the command-line tool. Picks the verb; everything else is in the verbs' files.
 * Runs on:    one thread.
 * Invariants: descriptors 0, 1 and 2 are open before anything else is, so that no socket or file
 *             ever takes the place of a closed stdout.
 */
#include "clientlib/cli/fail.h"
#include "clientlib/cli/output.h"
#include "clientlib/cli/verbs.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <tusk/tusk.h>
#include <unistd.h>

struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct verb verbs[] = {
    {"append", verb_append, "append the lines of files or of stdin to a topic"},
    {"read", verb_read, "write a topic's entries to stdout"},
    {"topics", verb_topics, "list the topics"},
    {"stat", verb_stat, "show the broker's counters, or a topic's figures"},
    {"config", verb_config, "show or change a topic's options"},
    {"delete", verb_delete, "remove a topic and all that is in it"},
    {"trim", verb_trim, "give up a topic's oldest entries"},
    {"run", verb_run, "run a command with a private broker"},
};

#define VERBS_COUNT (sizeof verbs / sizeof verbs[0])

static int help_print(void)
{
    output_text("Usage: tusk VERB [OPTION...] [ARGUMENT...]\n"
                "Append to and read from the durable topics of the local broker, tuskd.\n\n");
    for (size_t i = 0; i < VERBS_COUNT; i++) {
        printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    }
    output_text("\n`tusk VERB --help` explains one. `tusk --version` prints the version.\n"
                "Try it: tusk run -- sh -c 'echo hello | tusk append greetings; "
                "tusk read greetings'\n");
    return EX_OK;
}

static int verb_find_and_run(int argc, char **argv)
{
    if (argc < 2) {
        return fail(EX_USAGE,
                    "expected a verb: append, read, topics, stat, config, delete, trim or run; "
                    "see tusk --help");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return help_print();
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tusk %s\n", tusk_version());
        return EX_OK;
    }
    for (size_t i = 0; i < VERBS_COUNT; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            fail_verb(verbs[i].name);
            return verbs[i].run(argc - 1, argv + 1);
        }
    }
    return fail(
        EX_USAGE,
        "'%s' is not a verb; expected append, read, topics, stat, config, delete, trim or run",
        argv[1]);
}

static int standard_fds_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        /* read-only, so that writing to a stdout that was closed fails as it should */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd) {
            return EX_OSERR;
        }
    }
    return EX_OK;
}

int main(int argc, char **argv)
{
    int status = standard_fds_open();

    if (status != EX_OK) {
        return status;
    }
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write instead */
    output_init();
    status = verb_find_and_run(argc, argv);
    return output_flush() == OUTPUT_FAILED && status == EX_OK ? EX_IOERR : status;
}
