/* Session namespace: see session_namespace.h. */
#include "broker/session_namespace.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "broker/namespace_set.h"

/* The texts of a message, if they are. */
static enum request_outcome option_check(const struct control_option *option, struct fault *why)
{
    if (memchr(option->name, 0, sizeof option->name) == NULL ||
        memchr(option->value, 0, sizeof option->value) == NULL) {
        fault_set(why, -EPROTO, "an option whose name or value does not end");
        return REQUEST_BROKEN;
    }
    return REQUEST_DONE;
}

static enum request_outcome key_check(const struct control_namespace *asked, uint32_t bytes_min,
                                      struct fault *why)
{
    if (asked->key_bytes < bytes_min || asked->key_bytes > sizeof asked->key) {
        fault_set(why, -EINVAL,
                  "the namespace key has %" PRIu32 " bytes, expected %" PRIu32 " to %zu",
                  asked->key_bytes, bytes_min, sizeof asked->key);
        return REQUEST_REFUSED;
    }
    return REQUEST_DONE;
}

static enum request_outcome one_at_a_time(const struct session *session, struct fault *why)
{
    if (session->asked != NULL) {
        fault_set(why, -EPROTO, "a request about a namespace while another one is unanswered");
        return REQUEST_BROKEN;
    }
    return REQUEST_DONE;
}

static void ask(struct session *session, struct namespace *space,
                const union control_message *message)
{
    session->asked = space;
    session->asked_id = message->header.id;
}

enum request_outcome request_option_set(struct session *session,
                                        const union control_message *message, struct fault *why)
{
    const struct control_option *option = &message->option;
    enum request_outcome outcome = option_check(option, why);
    if (outcome == REQUEST_DONE) {
        outcome = one_at_a_time(session, why);
    }
    if (outcome != REQUEST_DONE) {
        return outcome;
    }
    if (namespace_set_option(session->space, option->name, option->value, session, why) != 0) {
        return REQUEST_REFUSED;
    }
    ask(session, session->space, message);
    return REQUEST_DONE;
}

enum request_outcome request_option_get(struct session *session,
                                        const union control_message *message, struct fault *why)
{
    struct namespace_option_text text;
    union control_message answer;
    const enum request_outcome outcome = option_check(&message->option, why);
    if (outcome != REQUEST_DONE) {
        return outcome;
    }
    if (namespace_option_value(session->space, message->option.name, &text, why) != 0) {
        return REQUEST_REFUSED;
    }
    control_begin(&answer, CONTROL_OPTION, sizeof answer.option, message->header.id);
    memcpy(answer.option.name, message->option.name, sizeof answer.option.name);
    strcpy(answer.option.value, text.text);
    return request_answer(session, &answer, NULL, 0, why);
}

enum request_outcome request_namespace_next(struct session *session,
                                            const union control_message *message, struct fault *why)
{
    const struct control_namespace *asked = &message->space;
    union control_message answer;
    const enum request_outcome outcome = key_check(asked, 0, why);
    if (outcome != REQUEST_DONE) {
        return outcome;
    }
    control_begin(&answer, CONTROL_NAMESPACE, sizeof answer.space, message->header.id);
    struct namespace *space =
        namespace_set_next(session->set->namespaces, asked->key, asked->key_bytes);
    if (space != NULL) {
        answer.space.key_bytes = space->facts.key_bytes;
        memcpy(answer.space.key, space->facts.key, space->facts.key_bytes);
    }
    if (space != NULL && space->state == NAMESPACE_SERVING) {
        answer.space.open = 1;
        answer.space.sessions = space->sessions_open;
        answer.space.topics = atom_load_relaxed(
            &directory_counter(space->regions.directory.base, COUNTER_TOPICS)->value); /* alone */
    }
    return request_answer(session, &answer, NULL, 0, why);
}

enum request_outcome request_namespace_delete(struct session *session,
                                              const union control_message *message,
                                              struct fault *why)
{
    const struct control_namespace *asked = &message->space;
    struct namespace *space;
    enum request_outcome outcome = key_check(asked, 1, why);
    if (outcome == REQUEST_DONE) {
        outcome = one_at_a_time(session, why);
    }
    if (outcome != REQUEST_DONE) {
        return outcome;
    }
    if (namespace_set_remove(session->set->namespaces, asked->key, asked->key_bytes, session,
                             &space, why) != 0) {
        return REQUEST_REFUSED;
    }
    ask(session, space, message);
    return REQUEST_DONE;
}

void session_answered(struct session *session, const struct fault *why)
{
    struct fault gone = {0};
    session->asked = NULL;
    if (session->state != SESSION_OPEN) {
        return;
    }
    if (why != NULL) {
        if (session_send_error(session->socket, session->asked_id, why) != 0) {
            session_end(session, -EPIPE, "the client does not take its answers");
        }
        return;
    }
    union control_message answer;
    control_begin(&answer, CONTROL_DONE, sizeof answer.header, session->asked_id);
    if (request_answer(session, &answer, NULL, 0, &gone) != REQUEST_DONE) {
        session_end(session, gone.error, gone.text);
    }
}
