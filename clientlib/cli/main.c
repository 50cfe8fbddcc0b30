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
#include <stdlib.h>
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
    {"namespaces", verb_namespaces, "list the namespaces, isolated sets of topics"},
    {"stat", verb_stat, "show the broker's counters, or a topic's figures"},
    {"config", verb_config, "show or change the options of a topic or a namespace"},
    {"delete", verb_delete, "remove a topic, or a namespace, and all that is in it"},
    {"trim", verb_trim, "give up a topic's oldest entries"},
    {"run", verb_run, "run a command with a private broker"},
};

#define VERBS_COUNT (sizeof verbs / sizeof verbs[0])

#define VERBS_TEXT_BYTES 256

/* The verbs' names, "a, b or c". */
static const char *verbs_text(char text[VERBS_TEXT_BYTES])
{
    size_t used = 0;

    for (size_t i = 0; i < VERBS_COUNT && used < VERBS_TEXT_BYTES; i++) {
        const char *const between = i == 0 ? "" : i + 1 < VERBS_COUNT ? ", " : " or ";
        used +=
            (size_t)snprintf(text + used, VERBS_TEXT_BYTES - used, "%s%s", between, verbs[i].name);
    }
    return text;
}

static int help_print(void)
{
    output_text("Usage: tusk [--namespace NS] VERB [OPTION...] [ARGUMENT...]\n"
                "Append to and read from the durable topics of the local broker, tuskd.\n\n");
    for (size_t i = 0; i < VERBS_COUNT; i++) {
        printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
    }
    output_text("\n`tusk VERB --help` explains one. `tusk --version` prints the version.\n"
                "Try it: tusk run -- sh -c 'echo hello | tusk append greetings; "
                "tusk read greetings'\n");
    return EX_OK;
}

/*
 * "--namespace NS" may stand before the verb: moves it behind, where it is one of the verb's options,
 * or for `run` into the environment of the command. 0, or an exit status.
 */
static int namespace_move(int *argc, char **argv)
{
    static const char name[] = "--namespace";
    const size_t length = strlen(name);
    const int words = *argc > 1 && strcmp(argv[1], name) == 0                          ? 2
                      : *argc > 1 && strncmp(argv[1], "--namespace=", length + 1) == 0 ? 1
                                                                                       : 0;
    if (words == 0) {
        return EX_OK;
    }
    if (*argc <= words + 1) {
        return fail(EX_USAGE, "expected --namespace NS and a verb behind it; see tusk --help");
    }
    char *const verb = argv[words + 1];
    if (strcmp(verb, "run") == 0) {
        setenv("TUSK_NAMESPACE", words == 2 ? argv[2] : argv[1] + length + 1, 1);
        memmove(argv + 1, argv + 1 + words, (size_t)(*argc - words) * sizeof *argv);
        *argc -= words;
        return EX_OK;
    }
    memmove(argv + 2, argv + 1, (size_t)words * sizeof *argv);
    argv[1] = verb;
    return EX_OK;
}

static int verb_find_and_run(int argc, char **argv)
{
    char text[VERBS_TEXT_BYTES];

    if (argc < 2) {
        return fail(EX_USAGE, "expected a verb: %s; see tusk --help", verbs_text(text));
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
    return fail(EX_USAGE, "'%s' is not a verb; expected %s", argv[1], verbs_text(text));
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
    status = namespace_move(&argc, argv);
    if (status == EX_OK) {
        status = verb_find_and_run(argc, argv);
    }
    return output_flush() == OUTPUT_FAILED && status == EX_OK ? EX_IOERR : status;
}
