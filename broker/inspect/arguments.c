/* Arguments: see arguments.h. */
#include "broker/inspect/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERIFY = 1 << VERB_VERIFY, DUMP = 1 << VERB_DUMP };

enum row_kind { ROW_FLAG, ROW_NUMBER, ROW_PAYLOAD };

struct row {
    const char *name;
    enum row_kind kind;
    unsigned verbs; /* that take it */
    size_t offset;  /* in struct arguments */
    const char *value;
    const char *help;
};

#define AT(member) offsetof(struct arguments, member)

static const struct row rows[] = {
    {"json", ROW_FLAG, VERIFY | DUMP, AT(json), NULL, "one JSON object per line"},
    {"quiet", ROW_FLAG, VERIFY, AT(quiet), NULL, "print damage only, nothing of a clean store"},
    {"progress", ROW_FLAG, VERIFY, AT(progress), NULL,
     "say on stderr how far it is, also where that is no terminal"},
    {"map", ROW_FLAG, VERIFY, AT(map), NULL, "print what each range of bytes is"},
    {"records", ROW_FLAG, DUMP, AT(records), NULL,
     "what the system topic records: topics, slots, trims, cursors"},
    {"frames", ROW_FLAG, DUMP, AT(frames), NULL,
     "the frames of TOPIC; without TOPIC, those of the system topic"},
    {"from", ROW_NUMBER, DUMP, AT(from), "SEQ", "begin with this entry or record"},
    {"count", ROW_NUMBER, DUMP, AT(count), "N", "end after so many frames or records"},
    {"payload", ROW_PAYLOAD, DUMP, AT(payload), "FORM", "text (the default), hex or none"},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static const char intro[] =
    "Usage: tusk-inspect verify DIR [OPTION...]\n"
    "       tusk-inspect dump DIR [TOPIC] [OPTION...]\n"
    "Look at the store of a broker that does not run, with the broker's own code, and change\n"
    "nothing. DIR is a store, or a data directory with several of them.\n"
    "\n"
    "verify reads every byte, says what it is, names what is damaged by file, offset, topic and\n"
    "entries, and whether a start would accept the store. dump lists the topics, or prints the\n"
    "frames of one, which are entries or parts of large ones.\n"
    "\n";

static const char outro[] =
    "\n"
    "Exit status: 0 nothing is wrong; 64 usage; 65 damage was found; 66 there is no store, or none\n"
    "has the topic; 71 the system lacks something; 74 a disk or stdout failed; 75 a broker is using\n"
    "the store; 77 no permission.\n";

static void help_print(void)
{
    fputs(intro, stdout);
    for (unsigned i = 0; i < ROWS; i++) {
        char left[32];
        (void)snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].value ? " " : "",
                       rows[i].value ? rows[i].value : "");
        printf("  %-14s %s%s\n", left,
               rows[i].verbs == (VERIFY | DUMP) ? ""
               : rows[i].verbs == VERIFY        ? "verify: "
                                                : "dump: ",
               rows[i].help);
    }
    printf("  %-14s %s\n  %-14s %s\n", "--help", "this text", "--version", "the version");
    fputs(outro, stdout);
}

static int wrong(const char *what, const char *expected)
{
    fprintf(stderr, "tusk-inspect: %s: %s; see tusk-inspect --help\n", what, expected);
    return ARGUMENTS_WRONG;
}

static int number_store(const struct row *row, const char *text, uint64_t *number)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || strchr("0123456789", text[0]) == NULL) {
        fprintf(stderr,
                "tusk-inspect: --%s: '%s' is not a number from 0 to %" PRIu64
                "; see tusk-inspect --help\n",
                row->name, text, UINT64_MAX);
        return ARGUMENTS_WRONG;
    }
    *number = value;
    return ARGUMENTS_RUN;
}

static int payload_store(const char *text, enum payload_form *form)
{
    static const char *const names[] = {
        [PAYLOAD_TEXT] = "text", [PAYLOAD_HEX] = "hex", [PAYLOAD_NONE] = "none"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *form = (enum payload_form)i;
            return ARGUMENTS_RUN;
        }
    }
    fprintf(stderr, "tusk-inspect: --payload: '%s' is none of text, hex and none\n", text);
    return ARGUMENTS_WRONG;
}

static int row_store(const struct row *row, const char *value, struct arguments *arguments)
{
    void *target = (char *)arguments + row->offset;
    if (!(row->verbs & 1U << arguments->verb)) {
        fprintf(stderr, "tusk-inspect: --%s: %s does not take it\n", row->name,
                arguments->verb == VERB_VERIFY ? "verify" : "dump");
        return ARGUMENTS_WRONG;
    }
    switch (row->kind) {
    case ROW_FLAG:
        *(bool *)target = true;
        break;
    case ROW_NUMBER:
        return number_store(row, value, target);
    case ROW_PAYLOAD:
        return payload_store(value, target);
    }
    return ARGUMENTS_RUN;
}

static int options_take(struct arguments *arguments, int argc, char **argv)
{
    enum { FIRST = 256 };
    struct option longs[ROWS + 3] = {{0}};
    for (int i = 0; i < ROWS; i++) {
        longs[i] =
            (struct option){.name = rows[i].name,
                            .has_arg = rows[i].kind != ROW_FLAG ? required_argument : no_argument,
                            .val = FIRST + i};
    }
    longs[ROWS] = (struct option){.name = "help", .val = 'h'};
    longs[ROWS + 1] = (struct option){.name = "version", .val = 'v'};
    int found;
    int outcome = ARGUMENTS_RUN;
    opterr = 0;
    while (outcome == ARGUMENTS_RUN && (found = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
        if (found == 'h') {
            help_print();
            outcome = ARGUMENTS_EXIT;
        } else if (found == 'v') {
            printf("tusk-inspect %s\n", TUSK_VERSION);
            outcome = ARGUMENTS_EXIT;
        } else if (found == ':') {
            outcome = wrong(argv[optind - 1], "expected a value");
        } else if (found < FIRST) {
            outcome = wrong(argv[optind - 1], "no such option, or a value where none is taken");
        } else {
            outcome = row_store(&rows[found - FIRST], optarg, arguments);
        }
    }
    return outcome;
}

/* Which verb it is decides which options are taken, so it is looked for first. */
static bool verb_find(struct arguments *arguments, const char *word)
{
    arguments->verb = strcmp(word, "dump") == 0 ? VERB_DUMP : VERB_VERIFY;
    return arguments->verb == VERB_DUMP || strcmp(word, "verify") == 0;
}

int arguments_parse(struct arguments *arguments, int argc, char **argv)
{
    *arguments = (struct arguments){.count = UINT64_MAX};
    const bool verb = argc > 1 && verb_find(arguments, argv[1]);
    if (!verb && argc > 1 && argv[1][0] != '-') {
        return wrong(argv[1], "no such verb; expected verify or dump");
    }
    const int skip = verb ? 1 : 0;
    const int outcome = options_take(arguments, argc - skip, argv + skip);
    if (outcome != ARGUMENTS_RUN) {
        return outcome;
    }
    char **operands = argv + skip + optind;
    const int count = argc - skip - optind;
    if (!verb) {
        return wrong(argc > 1 ? argv[1] : "arguments", "expected verify or dump first");
    }
    if (count < 1) {
        return wrong(argv[1], "expected DIR, the directory of a store");
    }
    const int most = arguments->verb == VERB_DUMP ? 2 : 1;
    if (count > most) {
        return wrong(operands[most], "one operand too many");
    }
    arguments->directory = operands[0];
    arguments->topic = count > 1 ? operands[1] : NULL;
    if (arguments->topic != NULL && arguments->records) {
        return wrong("--records", "it is about the system topic; give no TOPIC");
    }
    return ARGUMENTS_RUN;
}
