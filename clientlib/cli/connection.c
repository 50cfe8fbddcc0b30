/*
 * Connection: see connection.h.
 */
#include "clientlib/cli/connection.h"

#include "clientlib/cli/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define TOPIC_NAME_BYTES_MAX 255
#define NAMESPACE_KEY_BYTES_MAX 1024

/* The namespace that the library connects to, as tusk.h says. */
static const char *namespace_name(const struct connection_options *options)
{
    const char *const variable = getenv("TUSK_NAMESPACE");

    if (options->space && *options->space) {
        return options->space;
    }
    return variable && *variable ? variable : "default";
}

/* Why a namespace cannot be opened, of which the broker's log has the details; NULL: another error. */
static const char *namespace_reason(int error)
{
    switch (error) {
    case -EBADMSG:
        return "its store is damaged, or is none; see tusk-inspect verify";
    case -ENOSPC:
        return "there is no room for it, on its disk or in shared memory";
    case -EIO:
        return "its disk fails";
    case -EBUSY:
        return "another broker uses its store, or it is being removed";
    default:
        return NULL;
    }
}

int connection_fail(const struct connection_options *options, int error)
{
    const char *socket = options->socket ? options->socket : getenv("TUSK_SOCKET");
    const size_t key_bytes = strlen(namespace_name(options));

    if (error == -EINVAL && key_bytes > NAMESPACE_KEY_BYTES_MAX) {
        return fail(EX_USAGE, "--namespace: a key of %zu bytes, expected 1 to %d", key_bytes,
                    NAMESPACE_KEY_BYTES_MAX);
    }
    if (namespace_reason(error)) {
        return fail(fail_status(error),
                    "namespace '%s' cannot be opened: %s (tuskd's log says more)",
                    namespace_name(options), namespace_reason(error));
    }
    if (error != -ENOTCONN) {
        return fail_tusk(error, "connecting to the broker at %s",
                         socket ? socket : "the default socket");
    }
    return fail(EX_UNAVAILABLE,
                "no broker answered at %s within %" PRIu64 " ms; start tuskd, name its socket with "
                "--socket or TUSK_SOCKET, or try `tusk run -- COMMAND`",
                socket ? socket : "the default sockets", options->timeout_ms);
}

int connection_try(const struct connection_options *options, size_t lane_bytes, struct tusk **tusk)
{
    struct tusk_options library = TUSK_OPTIONS_INIT;

    library.socket_path = options->socket;
    library.namespace_key = options->space;
    library.timeout_ms = (int32_t)options->timeout_ms;
    library.lane_bytes = lane_bytes;
    return tusk_connect(tusk, &library);
}

int connection_open(const struct connection_options *options, size_t lane_bytes, struct tusk **tusk)
{
    const int result = connection_try(options, lane_bytes, tusk);
    return result < 0 ? connection_fail(options, result) : 0;
}

int connection_topic(struct tusk *tusk, const char *name, struct tusk_topic **topic)
{
    const size_t length = strlen(name);

    if (length == 0 || length > TOPIC_NAME_BYTES_MAX) {
        return fail(EX_USAGE, "TOPIC: '%s' has %zu bytes, expected 1 to %d", name, length,
                    TOPIC_NAME_BYTES_MAX);
    }
    const int result = tusk_topic_open(tusk, name, NULL, topic);
    return result < 0 ? fail_tusk(result, "opening topic '%s'", name) : 0;
}

void connection_closep(struct tusk **tusk)
{
    tusk_disconnect(*tusk);
}
