/*
 * Embed: the public interface of a broker inside another program (tusk/broker.h).
 * Runs on:    the program's thread that starts and stops the broker.
 * Invariants: every value goes through the option table, so that a program's are held to the same
 *             bounds, and refused in the same words, as tuskd's.
 * Trust:      the program; a struct of another size is one of another version.
 * Not here:   signals, limits and supervisors (main.c).
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tusk/broker.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/config.h"
#include "broker/fault.h"
#include "broker/log.h"
#include "broker/options.h"
#include "shm/cleanup.h"

_Static_assert((int)IDLE_ADAPTIVE == (int)TUSK_IDLE_ADAPTIVE, "public and internal names agree");
_Static_assert((int)IDLE_SPIN == (int)TUSK_IDLE_SPIN, "public and internal names agree");
_Static_assert((int)IDLE_BLOCK == (int)TUSK_IDLE_BLOCK, "public and internal names agree");

struct tusk_broker {
    struct log log;
    struct broker *broker;
};

enum member_kind { MEMBER_TEXT, MEMBER_BYTES, MEMBER_COUNT, MEMBER_MODE, MEMBER_IDLE, MEMBER_YES };

#define MEMBER(option, member, kind)                                                               \
    {                                                                                              \
        option, offsetof(struct tusk_broker_options, member), kind                                 \
    }

static const struct {
    const char *option;
    size_t offset;
    enum member_kind kind;
} members[] = {
    MEMBER("data", data_dir, MEMBER_TEXT),
    MEMBER("socket", socket_path, MEMBER_TEXT),
    MEMBER("socket-group", socket_group, MEMBER_TEXT),
    MEMBER("run-dir", run_dir, MEMBER_TEXT),
    MEMBER("fsync", fsync, MEMBER_TEXT),
    MEMBER("consistency", consistency, MEMBER_TEXT),
    MEMBER("retention", retention, MEMBER_TEXT),
    MEMBER("backend", backend, MEMBER_TEXT),
    MEMBER("direct", direct, MEMBER_TEXT),
    MEMBER("pin-timeout", pin_timeout, MEMBER_TEXT),
    MEMBER("stream-timeout", stream_timeout, MEMBER_TEXT),
    MEMBER("arena", arena_bytes, MEMBER_BYTES),
    MEMBER("chunk", chunk_bytes, MEMBER_BYTES),
    MEMBER("segment", segment_bytes, MEMBER_BYTES),
    MEMBER("socket-mode", socket_mode, MEMBER_MODE),
    MEMBER("engines", engines, MEMBER_COUNT),
    MEMBER("topics", topics_max, MEMBER_COUNT),
    MEMBER("lanes", lanes_max, MEMBER_COUNT),
    MEMBER("idle", idle, MEMBER_IDLE),
    MEMBER("quiet", quiet, MEMBER_YES),
};

struct member_text {
    char text[24];
};

/* The member as the option's text, or NULL when it means the default. */
static const char *member_text(struct member_text *text, const void *member, enum member_kind kind)
{
    if (kind == MEMBER_TEXT) {
        return *(const char *const *)member;
    }
    const uint64_t value =
        kind == MEMBER_BYTES ? *(const uint64_t *)member : *(const uint32_t *)member;
    if (value == 0) {
        return NULL;
    }
    if (kind == MEMBER_YES) {
        return "yes";
    }
    if (kind == MEMBER_IDLE && value <= IDLE_BLOCK) {
        return config_idle_name((enum idle_strategy)value);
    }
    snprintf(text->text, sizeof text->text, kind == MEMBER_MODE ? "%llo" : "%llu",
             (unsigned long long)value);
    return text->text;
}

/* Resolves what the program gave. */
static int options_from(struct options *options, const struct tusk_broker_options *given,
                        struct fault *fault)
{
    options_init(options);
    for (size_t at = 0; at < sizeof members / sizeof members[0]; at++) {
        struct member_text buffer;
        const char *const text =
            member_text(&buffer, (const char *)given + members[at].offset, members[at].kind);
        const int result = text == NULL ? 0 : options_set(options, members[at].option, text, fault);
        if (result < 0) {
            return result;
        }
    }
    return options_resolve(options, fault);
}

static int embedded_start(struct tusk_broker *broker, const struct tusk_broker_options *given,
                          struct fault *fault)
{
    cleanup_free struct options *options = malloc(sizeof *options);
    if (broker == NULL || options == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for a broker");
    }
    int result = options_from(options, given, fault);
    if (result < 0) {
        return result;
    }
    log_init(&broker->log, STDERR_FILENO, options->config.quiet);
    result = broker_start(&broker->broker, &options->config, &broker->log, fault);
    if (result < 0) {
        log_deinit(&broker->log);
    }
    return result;
}

int tusk_broker_start(struct tusk_broker **broker, const struct tusk_broker_options *options)
{
    struct tusk_broker_options given = TUSK_BROKER_OPTIONS_INIT;
    struct fault fault = {0, ""};
    if (broker == NULL || (options != NULL && options->size < sizeof options->size)) {
        return -EINVAL;
    }
    if (options != NULL) {
        memcpy(&given, options, options->size < sizeof given ? options->size : sizeof given);
    }
    *broker = malloc(sizeof **broker);
    const int result = embedded_start(*broker, &given, &fault);
    if (result < 0) {
        free(*broker);
        *broker = NULL;
    }
    if (given.error_text != NULL && given.error_text_bytes > 0) {
        snprintf(given.error_text, given.error_text_bytes, "%s", fault.text);
    }
    return result;
}

int tusk_broker_stop(struct tusk_broker *broker)
{
    if (broker == NULL) {
        return 0;
    }
    const int result = broker_stop(broker->broker);
    log_deinit(&broker->log);
    free(broker);
    return result;
}
