/* Options' values: see options_value.h for the contract. */
#include "broker/options_value.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include "broker/options.h"
#include "broker/options_table.h"
#include "shm/quantity.h"

_Static_assert(sizeof(enum fsync_schedule) == sizeof(int) &&
                   sizeof(enum idle_strategy) == sizeof(int) &&
                   sizeof(enum io_backend) == sizeof(int) &&
                   sizeof(enum io_direct) == sizeof(int) &&
                   sizeof(enum read_consistency) == sizeof(int),
               "words are stored as int");

static void *member_at(struct options *options, size_t offset)
{
    return (char *)options + offset;
}

static int path_store(const struct option_spec *spec, const char *text, struct options *options)
{
    const size_t length = strlen(text);
    if (length == 0 || length >= spec->bytes) {
        return -EINVAL;
    }
    memcpy(member_at(options, spec->offset), text, length + 1);
    return 0;
}

/* Size, duration or integer. */
static int number_store(const struct option_spec *spec, const char *text, struct options *options)
{
    uint64_t value;
    int result;
    if (spec->kind == OPTION_SIZE) {
        result = quantity_size_parse(text, &value);
    } else if (spec->kind == OPTION_DURATION) {
        result = quantity_duration_parse(text, &value);
    } else {
        result = quantity_integer_parse(text, &value);
    }
    if (result < 0) {
        return -EINVAL;
    }
    if (value == 0 && spec->zero_as_minimum) {
        value = spec->minimum;
    }
    if (value < spec->minimum || value > spec->maximum ||
        (spec->power_of_two && (value & (value - 1)) != 0)) {
        return -EINVAL;
    }
    memcpy(member_at(options, spec->offset), &value, sizeof value);
    if (spec->words != NULL) {
        memcpy(member_at(options, spec->word_offset), &spec->number_word, sizeof spec->number_word);
    }
    return 0;
}

static int word_store(const struct option_spec *spec, const char *text, struct options *options)
{
    for (const struct option_word *word = spec->words; word != NULL && word->name != NULL; word++) {
        if (strcasecmp(word->name, text) == 0) {
            memcpy(member_at(options, spec->word_offset), &word->value, sizeof word->value);
            return 0;
        }
    }
    return -EINVAL;
}

static int bool_store(const struct option_spec *spec, const char *text, struct options *options)
{
    static const char *const names[][2] = {
        {"no", "yes"}, {"false", "true"}, {"off", "on"}, {"0", "1"}};
    bool *const member = member_at(options, spec->offset);
    for (size_t at = 0; at < sizeof names / sizeof names[0]; at++) {
        for (int value = 0; value < 2; value++) {
            if (strcasecmp(names[at][value], text) == 0) {
                *member = value != 0;
                return 0;
            }
        }
    }
    return -EINVAL;
}

static int mode_store(const struct option_spec *spec, const char *text, struct options *options)
{
    mode_t *const member = member_at(options, spec->offset);
    const size_t digits = strspn(text, "01234567");
    if (digits == 0 || digits > 8 || text[digits] != '\0') {
        return -EINVAL;
    }
    const unsigned long mode = strtoul(text, NULL, 8);
    if (mode > 0777) {
        return -EINVAL;
    }
    *member = (mode_t)mode;
    return 0;
}

static int group_store(const struct option_spec *spec, const char *text, struct options *options)
{
    gid_t *const member = member_at(options, spec->offset);
    uint64_t number;
    if (quantity_integer_parse(text, &number) == 0) {
        if (number >= CONFIG_GROUP_UNCHANGED) {
            return -EINVAL;
        }
        *member = (gid_t)number;
        return 0;
    }
    const struct group *const group = getgrnam(text);
    if (group == NULL) {
        return -EINVAL;
    }
    *member = group->gr_gid;
    return 0;
}

int option_value_store(const struct option_spec *spec, const char *text, struct options *options)
{
    switch (spec->kind) {
    case OPTION_PATH:
        return path_store(spec, text, options);
    case OPTION_SIZE:
    case OPTION_DURATION:
    case OPTION_INTEGER:
        return word_store(spec, text, options) == 0 ? 0 : number_store(spec, text, options);
    case OPTION_WORD:
        return word_store(spec, text, options);
    case OPTION_BOOL:
        return bool_store(spec, text, options);
    case OPTION_MODE:
        return mode_store(spec, text, options);
    case OPTION_GROUP:
        return group_store(spec, text, options);
    case OPTION_RETENTION:
        return retention_policy_parse(text, member_at(options, spec->offset));
    case OPTION_FLAG:
        break;
    }
    return -EINVAL;
}

/* As "each, none"; the length. */
static size_t words_list(const struct option_spec *spec, char *text, size_t bytes)
{
    size_t used = 0;
    for (const struct option_word *word = spec->words;
         word != NULL && word->name != NULL && used < bytes; word++) {
        used +=
            (size_t)snprintf(text + used, bytes - used, "%s%s", used == 0 ? "" : ", ", word->name);
    }
    return used < bytes ? used : bytes;
}

static const char *number_expected(const struct option_spec *spec, char *text, size_t bytes)
{
    const size_t used = words_list(spec, text, bytes);
    const char *const before = used == 0 ? "" : ", or ";
    char *const rest = text + used;
    if (spec->kind == OPTION_SIZE) {
        snprintf(rest, bytes - used, "%s%s from %s to %s", before,
                 spec->power_of_two ? "a power of two" : "a size", SIZE_TEXT(spec->minimum),
                 SIZE_TEXT(spec->maximum));
    } else if (spec->kind == OPTION_DURATION) {
        snprintf(rest, bytes - used, "%sa time from %s to %s", before, DURATION_TEXT(spec->minimum),
                 DURATION_TEXT(spec->maximum));
    } else {
        snprintf(rest, bytes - used, "%sa number from %llu to %llu", before,
                 (unsigned long long)spec->minimum, (unsigned long long)spec->maximum);
    }
    return text;
}

const char *option_value_expected(const struct option_spec *spec, char *text, size_t bytes)
{
    switch (spec->kind) {
    case OPTION_PATH:
        snprintf(text, bytes, "a path of 1 to %zu bytes", spec->bytes - 1);
        break;
    case OPTION_SIZE:
    case OPTION_DURATION:
    case OPTION_INTEGER:
        number_expected(spec, text, bytes);
        break;
    case OPTION_WORD:
        words_list(spec, text, bytes);
        break;
    case OPTION_BOOL:
        snprintf(text, bytes, "yes or no");
        break;
    case OPTION_MODE:
        snprintf(text, bytes, "permissions in octal, from 0 to 0777");
        break;
    case OPTION_GROUP:
        snprintf(text, bytes, "the name of a group of this machine, or its number");
        break;
    case OPTION_RETENTION:
        snprintf(text, bytes, "%s", RETENTION_POLICY_FORMS);
        break;
    case OPTION_FLAG:
        snprintf(text, bytes, "no value");
        break;
    }
    return text;
}
