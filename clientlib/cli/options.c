/*
 * Options: see options.h. getopt_long does the splitting; its own messages are off, for they do
 * not say what was expected.
 */
#include "clientlib/cli/options.h"

#include "clientlib/cli/fail.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define OPTIONS_MAX 24
#define LONG_BASE 256 /* getopt_long values from here on are rows of the table */
#define LETTERS_MAX (4 + 2 * OPTIONS_MAX)
#define HELP_COLUMN 22

static const struct option_spec help_spec = {
    .name = "help", .letter = 'h', .kind = OPTION_FLAG, .help = "print this and exit"};

int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    char *end = NULL;

    if (*text < '0' || *text > '9') {
        return -EINVAL;
    }
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (*end != '\0') {
        return -EINVAL;
    }
    if (errno == ERANGE || value < min || value > max) {
        return -ERANGE;
    }
    *number = value;
    return 0;
}

/* Digits, then nothing, or K, M or G, or KiB, MiB or GiB. */
static int size_parse(const char *text, uint64_t min, uint64_t max, uint64_t *size)
{
    static const char units[] = "KMG";
    char digits[24];
    const size_t length = strspn(text, "0123456789");
    const char *const suffix = text + length;
    const char *const unit = *suffix ? strchr(units, *suffix) : NULL;
    const unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

    if (length >= sizeof digits || (*suffix && !unit) ||
        (unit && suffix[1] != '\0' && strcmp(suffix + 1, "iB") != 0)) {
        return -EINVAL;
    }
    memcpy(digits, text, length);
    digits[length] = '\0';
    const int result = number_parse(digits, 0, UINT64_MAX >> shift, size);
    if (result < 0) {
        return result;
    }
    *size <<= shift;
    return *size < min || *size > max ? -ERANGE : 0;
}

static void spec_print(const struct option_spec *spec)
{
    char left[64];
    const int length = snprintf(left, sizeof left, "  %c%c%s--%s%s%s", spec->letter ? '-' : ' ',
                                spec->letter ? spec->letter : ' ', spec->letter ? ", " : "  ",
                                spec->name, spec->value ? " " : "", spec->value ? spec->value : "");

    printf("%-*s%s%s\n", HELP_COLUMN, left, length < HELP_COLUMN ? "" : "  ", spec->help);
}

static void page_print(const struct option_page *page, const struct option_spec *specs,
                       size_t specs_count)
{
    printf("Usage: tusk %s [OPTION...]%s%s\n%s\n\n", page->verb, *page->operands ? " " : "",
           page->operands, page->summary);
    for (size_t i = 0; i < specs_count; i++) {
        spec_print(&specs[i]);
    }
    spec_print(&help_spec);
    if (*page->details) {
        printf("\n%s", page->details);
    }
}

static int spec_store(const struct option_spec *spec, const char *value)
{
    int result = 0;

    switch (spec->kind) {
    case OPTION_FLAG:
        *(bool *)spec->target = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)spec->target = value;
        return 0;
    case OPTION_NUMBER:
        result = number_parse(value, spec->min, spec->max, spec->target);
        break;
    case OPTION_SIZE:
        result = size_parse(value, spec->min, spec->max, spec->target);
        break;
    }
    if (result < 0) {
        fail(0, "--%s: '%s' is not a %s from %" PRIu64 " to %" PRIu64, spec->name, value,
             spec->kind == OPTION_SIZE ? "size (a number, perhaps with KiB, MiB or GiB)" : "number",
             spec->min, spec->max);
    }
    return result;
}

static void tables_make(const struct option_page *page, const struct option_spec *specs,
                        size_t specs_count, struct option *longs, char *letters)
{
    if (page->operands_end) {
        *letters++ = '+';
    }
    *letters++ = ':';
    *letters++ = 'h';
    for (size_t i = 0; i < specs_count; i++) {
        const bool takes_value = specs[i].kind != OPTION_FLAG;
        longs[i] = (struct option){.name = specs[i].name,
                                   .has_arg = takes_value ? required_argument : no_argument,
                                   .val = LONG_BASE + (int)i};
        if (specs[i].letter) {
            *letters++ = specs[i].letter;
            if (takes_value) {
                *letters++ = ':';
            }
        }
    }
    *letters = '\0';
    longs[specs_count] = (struct option){.name = "help", .val = 'h'};
    longs[specs_count + 1] = (struct option){0};
}

static const struct option_spec *spec_find(const struct option_spec *specs, size_t specs_count,
                                           int found)
{
    if (found >= LONG_BASE) {
        return &specs[found - LONG_BASE];
    }
    for (size_t i = 0; i < specs_count; i++) {
        if (specs[i].letter == found) {
            return &specs[i];
        }
    }
    return NULL;
}

static enum options_outcome unknown_answer(const struct option_page *page, int found,
                                           const char *argument)
{
    if (found == ':') {
        fail(0, "%s: expected a value; see tusk %s --help", argument, page->verb);
    } else {
        fail(0, "%s: no such option, or a value where none is taken; see tusk %s --help", argument,
             page->verb);
    }
    return OPTIONS_WRONG;
}

static enum options_outcome operands_check(const struct option_page *page, int count,
                                           char **operands)
{
    if (count < page->operands_min) {
        fail(0, "expected %s after the options, got %d; see tusk %s --help", page->operands, count,
             page->verb);
        return OPTIONS_WRONG;
    }
    if (page->operands_max >= 0 && count > page->operands_max) {
        fail(0, "'%s' is one operand too many; expected %s", operands[page->operands_max],
             *page->operands ? page->operands : "none");
        return OPTIONS_WRONG;
    }
    return OPTIONS_RUN;
}

enum options_outcome options_parse(const struct option_page *page, const struct option_spec *specs,
                                   size_t specs_count, int argc, char **argv, char ***operands,
                                   int *operands_count)
{
    struct option longs[OPTIONS_MAX + 2];
    char letters[LETTERS_MAX];
    int found = 0;

    tables_make(page, specs, specs_count, longs, letters);
    opterr = 0;
    while ((found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (found == 'h') {
            page_print(page, specs, specs_count);
            return OPTIONS_EXIT;
        }
        const struct option_spec *spec = spec_find(specs, specs_count, found);
        if (!spec) { /* '?' or ':' */
            return unknown_answer(page, found, argv[optind - 1]);
        }
        if (spec_store(spec, optarg) < 0) {
            return OPTIONS_WRONG;
        }
    }
    *operands = argv + optind;
    *operands_count = argc - optind;
    return operands_check(page, *operands_count, *operands);
}

bool verb_begin(struct verb_call *call, const struct option_page *page,
                const struct option_spec *specs, size_t specs_count, int argc, char **argv)
{
    *call = (struct verb_call){.status = EX_OK};
    const enum options_outcome outcome =
        options_parse(page, specs, specs_count, argc, argv, &call->operands, &call->count);
    switch (outcome) {
    case OPTIONS_RUN:
        return true;
    case OPTIONS_EXIT:
        return false;
    case OPTIONS_WRONG:
        call->status = EX_USAGE;
        return false;
    }
    return false;
}
