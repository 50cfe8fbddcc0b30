/*
 * tusk config: show and change the options of a topic or of a namespace.
 * Runs on:    the tool's one thread.
 * Invariants: nothing is changed unless every KEY=VALUE names an option that can be.
 */
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/verbs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define VALUE_BYTES 256
#define SETTINGS_MAX 16

/* An option of topics, in the order in which they are shown. */
struct topic_option {
    const char *name;
    const char *expected; /* NULL: it can't be changed */
};

static const struct topic_option topic_options[] = {
    {"retention",
     "none, default, or consumed, bytes=SIZE (as 10GiB) and age=TIME (as 7d), joined by "
     "commas"},
    {"retention_source", NULL},
};

#define TOPIC_OPTIONS_COUNT (sizeof topic_options / sizeof *topic_options)

/* The option that "KEY=VALUE" is to change, and *value; NULL and a message if there is none. */
static const struct topic_option *setting_find(const char *setting, const char **value)
{
    const size_t length = strcspn(setting, "=");

    if (setting[length] == '\0') {
        fail(0, "'%s': expected KEY=VALUE, such as retention=consumed", setting);
        return NULL;
    }
    *value = setting + length + 1;
    for (size_t i = 0; i < TOPIC_OPTIONS_COUNT; i++) {
        const struct topic_option *option = &topic_options[i];
        if (option->expected && strlen(option->name) == length &&
            memcmp(option->name, setting, length) == 0) {
            return option;
        }
    }
    fail(0, "'%.*s' is no option of a topic that can be changed; there is: retention", (int)length,
         setting);
    return NULL;
}

static int topic_fail(int error, const char *name)
{
    if (error == -ENOENT) {
        return fail(EX_NOINPUT, "there is no topic '%s'; tusk topics lists what there is", name);
    }
    return fail_tusk(error, "topic '%s'", name);
}

static int options_show(struct tusk_topic *topic, const char *name)
{
    for (size_t i = 0; i < TOPIC_OPTIONS_COUNT; i++) {
        char value[VALUE_BYTES];
        const int length = tusk_topic_get(topic, topic_options[i].name, value, sizeof value);
        if (length < 0) {
            return topic_fail(length, name);
        }
        printf("%s=%s\n", topic_options[i].name, value);
    }
    return EX_OK;
}

static int options_change(struct tusk_topic *topic, const char *name, char **settings, int count)
{
    for (int i = 0; i < count; i++) {
        const char *value = NULL;
        const struct topic_option *option = setting_find(settings[i], &value);
        const int result = tusk_topic_set(topic, option->name, value);
        if (result == -EINVAL) {
            return fail(EX_USAGE, "%s: '%s' is not a value of it; expected %s", option->name, value,
                        option->expected);
        }
        if (result < 0) {
            return topic_fail(result, name);
        }
    }
    return EX_OK;
}

static int topic_config(const struct connection_options *options, const char *name, char **settings,
                        int count)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;
    struct tusk_topic *topic = NULL;

    for (int i = 0; i < count; i++) {
        const char *value = NULL;
        if (!setting_find(settings[i], &value)) {
            return EX_USAGE;
        }
    }
    int status = connection_open(options, 0, &tusk);
    if (status == EX_OK) {
        status = connection_topic(tusk, name, &topic);
    }
    if (status != EX_OK) {
        return status;
    }
    return count == 0 ? options_show(topic, name) : options_change(topic, name, settings, count);
}

static const struct {
    const char *name;
    const char *expected;
} namespace_options[] = {
    {"fsync", "default, each, none, or a time from 1 ms to 1 h (as 200ms)"},
    {"consistency", "default, strict, or a number of entries"},
    {"retention",
     "default, none, or consumed, bytes=SIZE (as 10GiB) and age=TIME (as 7d), joined by commas"},
};

#define NAMESPACE_OPTIONS_COUNT (sizeof namespace_options / sizeof *namespace_options)

static int namespace_show(struct tusk *tusk)
{
    for (size_t i = 0; i < NAMESPACE_OPTIONS_COUNT; i++) {
        char value[VALUE_BYTES];
        char name[64];
        int length = tusk_namespace_get(tusk, namespace_options[i].name, value, sizeof value);
        if (length >= 0) {
            printf("%s=%s\n", namespace_options[i].name, value);
            (void)snprintf(name, sizeof name, "%s_source", namespace_options[i].name);
            length = tusk_namespace_get(tusk, name, value, sizeof value);
        }
        if (length < 0) {
            return fail_tusk(length, "option %s of the namespace", namespace_options[i].name);
        }
        printf("%s=%s\n", name, value);
    }
    return EX_OK;
}

struct namespace_setting {
    const char *name;
    const char *value;
    const char *expected;
};

/* Cuts "KEY=VALUE"; false and a message if KEY is no option. */
static bool namespace_setting_parse(char *text, struct namespace_setting *setting)
{
    char *const sign = strchr(text, '=');

    if (!sign) {
        fail(0, "'%s': expected KEY=VALUE, such as fsync=each", text);
        return false;
    }
    *sign = '\0';
    for (size_t i = 0; i < NAMESPACE_OPTIONS_COUNT; i++) {
        if (strcmp(namespace_options[i].name, text) == 0) {
            *setting = (struct namespace_setting){
                .name = text, .value = sign + 1, .expected = namespace_options[i].expected};
            return true;
        }
    }
    fail(0,
         "'%s' is no option of a namespace; there are: fsync, consistency, retention (a topic with "
         "a = in its name: --topic)",
         text);
    return false;
}

static int namespace_change(struct tusk *tusk, const struct namespace_setting *settings, int count)
{
    for (int i = 0; i < count; i++) {
        const struct namespace_setting *setting = &settings[i];
        const int result = tusk_namespace_set(tusk, setting->name, setting->value);
        if (result == -EINVAL) {
            return fail(EX_USAGE, "%s: '%s' is not a value of it; expected %s", setting->name,
                        setting->value, setting->expected);
        }
        if (result == -EBUSY) {
            return fail(EX_TEMPFAIL, "%s: the namespace is being changed by somebody else",
                        setting->name);
        }
        if (result < 0) {
            return fail_tusk(result, "changing %s of the namespace", setting->name);
        }
    }
    return EX_OK;
}

static int namespace_config(const struct connection_options *options, char **settings, int count)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;
    struct namespace_setting parsed[SETTINGS_MAX];

    if (count > SETTINGS_MAX) {
        return fail(EX_USAGE, "expected at most %d settings", SETTINGS_MAX);
    }
    for (int i = 0; i < count; i++) {
        if (!namespace_setting_parse(settings[i], &parsed[i])) {
            return EX_USAGE;
        }
    }
    const int status = connection_open(options, 0, &tusk);
    if (status != EX_OK) {
        return status;
    }
    return count == 0 ? namespace_show(tusk) : namespace_change(tusk, parsed, count);
}

int verb_config(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "config",
        .operands = "[TOPIC] [KEY=VALUE...]",
        .summary = "Show the options of TOPIC, or change them; without TOPIC, those of the "
                   "namespace. A\nchange is durable when the command ends (of a topic under fsync "
                   "none: later).",
        .details =
            "  retention=POLICY  what the topic gives up: consumed (what its cursor has "
            "passed),\n"
            "                    bytes=SIZE (what is beyond it, as bytes=10GiB), age=TIME "
            "(what is\n"
            "                    older, as age=7d), several of these joined by commas, or "
            "none;\n"
            "                    default: what the namespace, or else the broker, is set to\n"
            "  fsync=SCHEDULE    of a namespace: each, a time (as 200ms) or none\n"
            "  consistency=C     of a namespace: strict, or a number of entries\n"
            "A first operand with a = is KEY=VALUE of the namespace; a TOPIC that has one in its "
            "name is\nnamed by --topic, behind which all operands are KEY=VALUE.\n",
        .operands_max = -1,
    };
    struct connection_options options = CONNECTION_OPTIONS_DEFAULT;
    const char *topic = NULL;
    const struct option_spec specs[] = {
        TEXT_ROW(0, "topic", "NAME", &topic, "the topic, whatever its name"),
        CONNECTION_OPTIONS(&options)};
    struct verb_call call;

    if (!VERB_BEGIN(&call, &page, specs, argc, argv)) {
        return call.status;
    }
    if (topic) {
        return topic_config(&options, topic, call.operands, call.count);
    }
    if (call.count == 0 || strchr(call.operands[0], '=')) {
        return namespace_config(&options, call.operands, call.count);
    }
    return topic_config(&options, call.operands[0], call.operands + 1, call.count - 1);
}
