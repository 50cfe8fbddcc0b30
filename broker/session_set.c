/* Session set: see session_set.h. */
#include "broker/session_set.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

#include "broker/session.h"
#include "broker/session_namespace.h"
#include "shm/ensure.h"

/* Who waited for the namespace. */
static void namespace_opened(void *context, struct namespace *space, const struct fault *why)
{
    (void)context;
    list_each(node, &space->waiting)
    {
        session_resume(list_entry(node, struct session, sessions), why);
    }
}

static void namespace_answered(void *context, struct namespace *space, const struct fault *why)
{
    (void)context;
    session_answered(space->asker, why);
}

void session_set_init(struct session_set *set, struct control_loop *loop,
                      struct namespace_set *namespaces, struct log *log)
{
    *set = (struct session_set){.loop = loop, .namespaces = namespaces, .log = log};
    list_init(&set->greeting);
    list_init(&set->open);
    list_init(&set->closing);
    namespaces->opened = namespace_opened;
    namespaces->answered = namespace_answered;
    namespaces->context = set;
}

static void sessions_free(struct list *sessions)
{
    list_each(node, sessions)
    {
        session_free(list_entry(node, struct session, sessions));
    }
}

void session_set_deinit(struct session_set *set)
{
    if (set->loop == NULL) {
        return;
    }
    sessions_free(&set->greeting);
    sessions_free(&set->open);
    sessions_free(&set->closing);
    list_each(node, &set->namespaces->all)
    {
        sessions_free(&list_entry(node, struct namespace, namespaces)->waiting);
    }
    ensure(set->count == 0);
    *set = (struct session_set){0};
}

static uint32_t greeting_of(const struct session_set *set, uid_t uid)
{
    uint32_t count = 0;
    list_each(node, &set->greeting)
    {
        count += list_entry(node, struct session, sessions)->client.uid == uid;
    }
    return count;
}

static int limits_check(const struct session_set *set, uid_t uid, struct fault *why)
{
    if (set->count >= SESSIONS_MAX) {
        return fault_set(why, -ENOSPC, "the broker has %" PRIu32 " sessions, its limit",
                         set->count);
    }
    if (set->greeting_count >= GREETING_MAX || greeting_of(set, uid) >= GREETING_PER_UID_MAX) {
        return fault_set(
            why, -EAGAIN,
            "too many connections wait for HELLO, of all users or of uid %u: try later", uid);
    }
    return 0;
}

void session_set_accept(struct session_set *set, int connection, uint64_t now_ns)
{
    struct ucred peer = {0};
    socklen_t length = sizeof peer;
    struct fault why = {0};
    struct session *session = NULL;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
        fault_set(&why, -errno, "cannot tell who connects: %s", strerror(errno));
    } else if (limits_check(set, peer.uid, &why) == 0) {
        session = session_new(set, connection, peer.pid, peer.uid, &why);
    }
    if (session == NULL) {
        set->refused++;
        log_warning(set->log, "session.refused", "pid=%d uid=%u reason=%s", peer.pid, peer.uid,
                    LOG_QUOTE(why.text));
        session_send_error(connection, 0, &why); /* if there is room for it */
        connection_close(connection);
        return;
    }
    session->greeting_ends_ns = now_ns + GREETING_TIMEOUT_NS;
}

uint64_t session_set_expire(struct session_set *set, uint64_t now_ns)
{
    list_each(node, &set->greeting)
    {
        struct session *session = list_entry(node, struct session, sessions);
        if (session->greeting_ends_ns > now_ns) {
            return session->greeting_ends_ns;
        }
        session_end(session, -ETIMEDOUT, "no HELLO in time");
    }
    return UINT64_MAX;
}

static struct session *session_of(const struct session_set *set, const struct client *client)
{
    struct session *session = client->session;
    ensure(session->set == set &&
           (session->state == SESSION_OPEN || session->state == SESSION_CLOSING));
    return session;
}

void session_set_mail(struct session_set *set, const struct mail *mail)
{
    struct lane *lane = mail->subject;
    struct client *client = mail->subject;
    switch (mail->kind) {
    case MAIL_LANE_CLOSED:
        session_lane_closed(session_of(set, lane->client), lane);
        return;
    case MAIL_PINS_ATTACHED:
        session_pins_attached(session_of(set, client));
        return;
    case MAIL_CLIENT_CLOSED:
        session_free(session_of(set, client));
        return;
    case MAIL_CLIENT_HOSTILE:
        session_end(session_of(set, client), -EPROTO, client->hostile);
        return;
    case MAIL_STORE_ATTACH:
    case MAIL_STORE_CLOSE:
    case MAIL_STORE_SET:
    case MAIL_STORE_SET_DONE:
    case MAIL_STORE_CLOSED:
    case MAIL_CLIENT_ATTACH:
    case MAIL_LANE_ATTACH:
    case MAIL_LANE_CLOSE:
    case MAIL_PINS_ATTACH:
    case MAIL_CLIENT_CLOSE:
    case MAIL_STOP:
    case MAIL_ENGINE_STOPPED:
    case MAIL_JOB_DONE:
    default:
        ensure(!"mail for the session set");
    }
}

void session_set_publish(struct session_set *set)
{
    list_each(node, &set->namespaces->all)
    {
        struct namespace *space = list_entry(node, struct namespace, namespaces);
        if (space->state == NAMESPACE_SERVING) {
            counter_set(&space->counters, COUNTER_SESSIONS_REFUSED, set->refused);
            counter_set(&space->counters, COUNTER_SESSIONS_HOSTILE, set->hostile);
            counters_publish(&space->counters);
        }
    }
}

static void sessions_mute(struct session_set *set, struct list *sessions)
{
    list_each(node, sessions)
    {
        struct session *session = list_entry(node, struct session, sessions);
        control_loop_remove(set->loop, &session->socket_source);
        control_loop_remove(set->loop, &session->process_source);
    }
}

void session_set_mute(struct session_set *set)
{
    sessions_mute(set, &set->greeting);
    sessions_mute(set, &set->open);
    list_each(node, &set->namespaces->all)
    {
        sessions_mute(set, &list_entry(node, struct namespace, namespaces)->waiting);
    }
}
