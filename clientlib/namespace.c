/*
 * Namespace: options of the connection's namespace, which namespaces there are, and the end of one.
 * Runs on:    any thread; asks the broker over the control connection.
 * Invariants: a broker that leaves a request unanswered for ASK_TIMEOUT_MS is given up: what it answers
 *             later would be taken for the reply to another request.
 * Trust:      the broker's texts are copied as far as they go and terminated here.
 */
#include <errno.h>
#include <string.h>

#include "clientlib/cancel.h"
#include "clientlib/handle.h"

/* Opening and closing a store's files, a sync. */
enum { ASK_TIMEOUT_MS = 60000 };

static int ask(struct tusk *tusk, union control_message *message, enum control_kind reply)
{
    CANCEL_OFF;
    int error = handle_check(tusk);
    if (error != 0) {
        return error;
    }
    error = client_session_ask(&tusk->session, message, reply, expiry_in(ASK_TIMEOUT_MS));
    switch (error) {
    case -EPIPE:
    case -ETIMEDOUT:
        return handle_kill(tusk);
    case -EPERM:
        return -EACCES;
    default:
        return error;
    }
}

/* A request about an option. 0, or -EINVAL: there is none of such a name, or no such value. */
static int option_begin(union control_message *message, enum control_kind kind, const char *name,
                        const char *value)
{
    const size_t name_bytes = strlen(name);
    const size_t value_bytes = strlen(value);
    control_begin(message, kind, sizeof message->option, 0);
    if (name_bytes >= sizeof message->option.name || value_bytes >= sizeof message->option.value) {
        return -EINVAL;
    }
    memcpy(message->option.name, name, name_bytes);
    memcpy(message->option.value, value, value_bytes);
    return 0;
}

int tusk_namespace_set(struct tusk *tusk, const char *option, const char *value)
{
    union control_message message;
    if (tusk == NULL || option == NULL || value == NULL) {
        return -EINVAL;
    }
    const int error = option_begin(&message, CONTROL_OPTION_SET, option, value);
    return error != 0 ? error : ask(tusk, &message, CONTROL_DONE);
}

int tusk_namespace_get(struct tusk *tusk, const char *option, char *value, size_t size)
{
    union control_message message;
    if (tusk == NULL || option == NULL || value == NULL) {
        return -EINVAL;
    }
    int error = option_begin(&message, CONTROL_OPTION_GET, option, "");
    if (error == 0) {
        error = ask(tusk, &message, CONTROL_OPTION);
    }
    if (error != 0) {
        return error;
    }
    const size_t length = strnlen(message.option.value, sizeof message.option.value - 1);
    if (length >= size) {
        return -EMSGSIZE;
    }
    memcpy(value, message.option.value, length);
    value[length] = '\0';
    return (int)length;
}

int tusk_namespace_list(struct tusk *tusk,
                        int (*each)(const char *key, const struct tusk_namespace_stat *stat,
                                    void *arg),
                        void *arg)
{
    char key[NAMESPACE_KEY_BYTES_MAX + 1] = "";
    uint32_t bytes = 0;
    if (tusk == NULL || each == NULL) {
        return -EINVAL;
    }
    for (;;) {
        union control_message message;
        control_begin(&message, CONTROL_NAMESPACE_NEXT, sizeof message.space, 0);
        message.space.key_bytes = bytes;
        memcpy(message.space.key, key, bytes);
        const int error = ask(tusk, &message, CONTROL_NAMESPACE);
        if (error != 0) {
            return error;
        }
        bytes = message.space.key_bytes;
        if (bytes == 0) {
            return 0;
        }
        if (bytes > NAMESPACE_KEY_BYTES_MAX) {
            return -EPROTO;
        }
        memcpy(key, message.space.key, bytes);
        key[bytes] = '\0';
        const struct tusk_namespace_stat stat = {
            .size = sizeof stat,
            .sessions = message.space.sessions,
            .topics = message.space.topics,
            .open = message.space.open,
        };
        const int answer = each(key, &stat, arg);
        if (answer != 0) {
            return answer;
        }
    }
}

int tusk_namespace_delete(struct tusk *tusk, const char *key)
{
    union control_message message;
    if (tusk == NULL || key == NULL) {
        return -EINVAL;
    }
    const size_t bytes = strlen(key);
    if (bytes == 0 || bytes > NAMESPACE_KEY_BYTES_MAX) {
        return -EINVAL;
    }
    control_begin(&message, CONTROL_NAMESPACE_DELETE, sizeof message.space, 0);
    message.space.key_bytes = (uint32_t)bytes;
    memcpy(message.space.key, key, bytes);
    return ask(tusk, &message, CONTROL_DONE);
}
