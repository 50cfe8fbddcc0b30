/*
 * Connect: finding the broker, making a handle and leaving again.
 * Runs on:    any thread; tusk_disconnect while no other thread is in a call on the handle.
 * Invariants: a broker that isn't there yet is waited for; everything else that is wrong is said at
 *             once.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clientlib/cancel.h"
#include "clientlib/client_lane.h"
#include "clientlib/cursor.h"
#include "clientlib/descriptor.h"
#include "clientlib/handle.h"
#include "clientlib/idle.h"
#include "clientlib/lane_op.h"
#include "clientlib/options.h"
#include "clientlib/topic.h"
#include "shm/cleanup.h"
#include "shm/wake.h"

enum {
    SOCKET_PATH_BYTES_MAX = 4096,
    TIMEOUT_DEFAULT_MS = 30000,
    /* Between attempts while no broker is there. */
    RETRY_FIRST_MS = 1,
    RETRY_LAST_MS = 100,
};

#define SOCKET_PATH_SYSTEM "/run/tusk/tusk.sock"
#define NAMESPACE_DEFAULT "default"

static const char *environment(const char *name)
{
    const char *value = secure_getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Where the broker's socket is looked for now: it may appear while we wait. 0 or -EINVAL. */
static int socket_path_find(const char *given, char path[SOCKET_PATH_BYTES_MAX])
{
    const char *found = given != NULL ? given : environment("TUSK_SOCKET");
    int length;
    if (found != NULL) {
        length = snprintf(path, SOCKET_PATH_BYTES_MAX, "%s", found);
        return length < SOCKET_PATH_BYTES_MAX ? 0 : -EINVAL;
    }
    const char *runtime = environment("XDG_RUNTIME_DIR");
    if (runtime != NULL) {
        length = snprintf(path, SOCKET_PATH_BYTES_MAX, "%s/tusk/tusk.sock", runtime);
        if (length < SOCKET_PATH_BYTES_MAX && access(path, F_OK) == 0) {
            return 0;
        }
    }
    snprintf(path, SOCKET_PATH_BYTES_MAX, "%s", SOCKET_PATH_SYSTEM);
    return 0;
}

static int options_apply(struct tusk *tusk, const struct tusk_options *options)
{
    const uint64_t lane_bytes = options->lane_bytes != 0 ? options->lane_bytes : SQ_BYTES_DEFAULT;
    if (!is_power_of_two(lane_bytes) || lane_bytes < SQ_BYTES_MIN || lane_bytes > SQ_BYTES_MAX ||
        options->idle > TUSK_IDLE_BLOCK || options->consistency > TUSK_AT_LEAST_ONCE ||
        options->timeout_ms < -1 || options->one_lane > 1 || options->reserved != 0) {
        return -EINVAL;
    }
    tusk->sq_bytes = lane_bytes;
    tusk->idle = (enum tusk_idle)options->idle;
    tusk->consistency = (enum tusk_consistency)options->consistency;
    tusk->persist_every = options->persist_every;
    tusk->timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_DEFAULT_MS;
    tusk->one_lane = options->one_lane != 0;
    return 0;
}

/* May the broker still appear, or have been stopping just now? */
static bool broker_absent(int error)
{
    return error == -ENOENT || error == -ECONNREFUSED || error == -EAGAIN || error == -EPIPE ||
           error == -ECONNRESET || error == -ENOTDIR;
}

/* In the words of the public header. */
static int session_error(int error)
{
    switch (error) {
    case -ETIMEDOUT:
        return -ENOTCONN;
    case -EPERM:
        return -EACCES;
    case -ENOSPC: /* on the namespace's disk, or of namespaces */
        return error;
    default:
        return resource_error(error);
    }
}

static int session_open(struct tusk *tusk, const struct tusk_options *options,
                        struct control_welcome *welcome, int fds[2])
{
    const char *key = options->namespace_key;
    if (key == NULL) {
        key = environment("TUSK_NAMESPACE");
    }
    const struct expiry expiry = handle_expiry(tusk);
    for (int pause_ms = RETRY_FIRST_MS;;) {
        char path[SOCKET_PATH_BYTES_MAX];
        bool refused = false;
        int error = socket_path_find(options->socket_path, path);
        if (error == 0) {
            error = client_session_open(&tusk->session, path, key != NULL ? key : NAMESPACE_DEFAULT,
                                        welcome, fds, expiry, &refused);
        }
        if (refused || !broker_absent(error)) {
            return session_error(error);
        }
        const int left_ms = expiry_left_ms(expiry);
        if (left_ms == 0) {
            return -ENOTCONN;
        }
        poll(NULL, 0, left_ms > 0 && left_ms < pause_ms ? left_ms : pause_ms);
        pause_ms = pause_ms * 2 < RETRY_LAST_MS ? pause_ms * 2 : RETRY_LAST_MS;
    }
}

static int handle_attach(struct tusk *tusk, const struct control_welcome *welcome, int fds[2])
{
    int error = mapping_open(&tusk->directory_mapping, fds[0], welcome->directory_bytes, false);
    if (error != 0) {
        return error;
    }
    tusk->directory = tusk->directory_mapping.base;
    error = directory_check(tusk->directory, welcome->directory_bytes);
    const struct directory_header_shm *header = &tusk->directory->header;
    if (error != 0 || header->arena_bytes != welcome->arena_bytes) {
        return -EPROTO;
    }
    /* Set before the broker serves anybody. */
    if (atom_load_relaxed(&tusk->directory->client_fences) != 0) {
        tusk->client_fences = true;
    }
    tusk->arena.fd = take_fd(&fds[1]);
    return 0;
}

int tusk_connect(struct tusk **tusk, const struct tusk_options *options)
{
    struct tusk_options given = TUSK_OPTIONS_INIT;
    if (tusk == NULL || !OPTIONS_TAKE(&given, options)) {
        return -EINVAL;
    }
    CANCEL_OFF;
    struct tusk *made;
    int error = handle_new(&made);
    if (error != 0) {
        return error;
    }
    /* A process that can't be fenced by the broker fences itself. */
    made->client_fences = wake_register() != 0;
    struct control_welcome welcome;
    int fds[2] = {-1, -1};
    error = options_apply(made, &given);
    if (error == 0) {
        error = session_open(made, &given, &welcome, fds);
    }
    if (error == 0) {
        error = handle_attach(made, &welcome, fds);
    }
    cleanup_fd_close(&fds[0]);
    cleanup_fd_close(&fds[1]);
    if (error != 0) {
        handle_free(made);
        return error;
    }
    handle_show(made);
    *tusk = made;
    return 0;
}

/* Waits until what was submitted on any lane is committed, as far as the time goes. */
static void lanes_settle(struct tusk *tusk)
{
    const struct expiry expiry = handle_expiry(tusk);
    struct client_lane *lane;
    LIST_FOREACH(lane, &tusk->lanes, siblings)
    {
        lane->reserved = NULL;
        if (lane_appended(lane) == lane->flush[TUSK_COMMITTED].reached) {
            continue;
        }
        const struct lane_request wait = {.kind = SUBMIT_WAIT};
        struct completion_shm result;
        if (lane_call(lane, &wait, expiry, &result) == -ESTALE) {
            return;
        }
    }
}

static void topics_free(struct tusk *tusk)
{
    while (!LIST_EMPTY(&tusk->topics)) {
        struct tusk_topic *topic = LIST_FIRST(&tusk->topics);
        LIST_REMOVE(topic, siblings);
        struct tusk_reader *reader;
        while ((reader = topic_reader_take(topic)) != NULL) {
            reader_free(reader);
        }
        topic_free(topic);
    }
    while (!LIST_EMPTY(&tusk->descriptors)) {
        struct descriptor *descriptor = LIST_FIRST(&tusk->descriptors);
        LIST_REMOVE(descriptor, siblings);
        free(descriptor);
    }
}

void tusk_disconnect(struct tusk *tusk)
{
    if (tusk == NULL) {
        return;
    }
    CANCEL_OFF;
    const bool forked = handle_forked(tusk);
    handle_hide(tusk);
    if (!forked) {
        lanes_settle(tusk);
    }
    client_session_close(&tusk->session);
    topics_free(tusk);
    while (!LIST_EMPTY(&tusk->lanes)) {
        struct client_lane *lane = LIST_FIRST(&tusk->lanes);
        LIST_REMOVE(lane, siblings);
        client_lane_free(lane);
    }
    handle_free(tusk);
}
