/* Session: see session.h. */
#include "broker/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/session_request.h"
#include "shm/cleanup.h"
#include "shm/control.h"
#include "shm/ensure.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* Taken unread from a client whose connection is closed; one that sends more loses the last word. */
enum { UNREAD_MESSAGES_MAX = 64 };

/*
 * The client's death, which the end of its socket does not tell where it has forked children: a
 * pidfd, or -1 where there is none: the kernel lacks it or forbids it, or the client is in a pid
 * namespace that cannot be seen from here (pid 0). *error is 0, or -errno for anything else.
 */
static int process_open(int connection, pid_t pid, int *error)
{
    int process;
    socklen_t length = sizeof process;
    *error = 0;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERPIDFD, &process, &length) == 0) {
        return process; /* close-on-exec, as all pidfds are */
    }
    if (errno == ENOPROTOOPT && pid > 0) {
        process = pidfd_open(pid, 0);
        if (process >= 0 || errno == ENOSYS || errno == EPERM) {
            return process;
        }
    }
    if (errno != ENOPROTOOPT) {
        *error = -errno;
    }
    return -1;
}

static void message_serve(struct session *session, int received, union control_message *message)
{
    struct fault why = {0};
    enum request_outcome outcome = REQUEST_BROKEN;
    if (received == 0) {
        outcome = request_serve(session, message, &why);
    } else {
        request_explain(message, &why);
    }
    switch (outcome) {
    case REQUEST_DONE:
        return;
    case REQUEST_REFUSED:
        log_warning(session->set->log, "request.refused", "session=%" PRIu64 " pid=%d reason=%s",
                    session->client.session_id, session->client.pid, LOG_QUOTE(why.text));
        if (session_send_error(session->socket, message->header.id, &why) == 0) {
            return;
        }
        session_end(session, -EPIPE, "the client does not take its answers");
        return;
    case REQUEST_BROKEN:
        session_send_error(session->socket, message->header.id, &why); /* if it still listens */
        session_end(session, why.error, why.text);
        return;
    case REQUEST_GONE:
    default:
        session_end(session, why.error, why.text);
        return;
    }
}

static void socket_readable(struct control_source *source)
{
    struct session *session = list_entry(source, struct session, socket_source);
    union control_message message = {{0}};
    const int received = control_receive(session->socket, &message, NULL, 0);
    switch (-received) {
    case EAGAIN:
        return;
    case 0:
    case EPROTO:
        message_serve(session, received, &message);
        return;
    case EPIPE:
        session_end(session, 0, "the client closed its connection");
        return;
    default:
        session_end(session, received, strerror(-received));
        return;
    }
}

static void process_readable(struct control_source *source)
{
    session_end(list_entry(source, struct session, process_source), 0,
                "the client's process is dead");
}

static void client_init(struct session *session, pid_t pid, uid_t uid)
{
    struct client *client = &session->client;
    *client = (struct client){
        .pid = pid,
        .uid = uid,
        .pins_fd = -1,
        .session = session,
        .attach_mail = {.kind = MAIL_CLIENT_ATTACH, .subject = client},
        .close_mail = {.kind = MAIL_CLIENT_CLOSE, .subject = client},
        .pins_mail = {.kind = MAIL_PINS_ATTACH, .subject = client},
    };
    list_init(&client->lanes);
    list_init(&client->topic_refs);
}

static int sources_add(struct session *session)
{
    struct control_loop *loop = session->set->loop;
    session->socket_source.fn = socket_readable;
    session->process_source.fn = process_readable;
    int error = control_loop_add(loop, &session->socket_source, session->socket);
    if (error == 0 && session->process >= 0) {
        error = control_loop_add(loop, &session->process_source, session->process);
        if (error != 0) {
            control_loop_remove(loop, &session->socket_source);
        }
    }
    return error;
}

struct session *session_new(struct session_set *set, int connection, pid_t pid, uid_t uid,
                            struct fault *why)
{
    int error;
    cleanup_fd int process = process_open(connection, pid, &error);
    if (error != 0) {
        fault_set(why, error, "cannot watch process %d: %s", pid, strerror(-error));
        return NULL;
    }
    cleanup_free struct session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        fault_set(why, -ENOMEM, "the broker has no memory for another session");
        return NULL;
    }
    session->set = set;
    session->state = SESSION_GREETING;
    session->socket = connection;
    session->process = process;
    session->pins_share = -1;
    client_init(session, pid, uid);
    list_init(&session->lanes);
    error = sources_add(session);
    if (error != 0) {
        fault_set(why, error, "the broker cannot watch another connection: %s", strerror(-error));
        return NULL;
    }
    take_fd(&process);
    set->last_session_id++;
    session->client.session_id = set->last_session_id;
    list_push_back(&set->greeting, &session->sessions);
    set->greeting_count++;
    set->count++;
    return take_pointer(&session);
}

int session_send_error(int socket, uint64_t request_id, const struct fault *why)
{
    union control_message message;
    control_begin(&message, CONTROL_ERROR, sizeof message.error, request_id);
    message.header.error = why->error;
    const size_t length = strnlen(why->text, sizeof message.error.text - 1);
    memcpy(message.error.text, why->text, length);
    return control_send(socket, &message, NULL, 0);
}

/* What lies unread when a socket is closed becomes -ECONNRESET at its other end, ahead of answers
 * that were sent before. */
void connection_close(int socket)
{
    char byte;
    for (int i = 0; i < UNREAD_MESSAGES_MAX; i++) {
        if (recv(socket, &byte, sizeof byte, MSG_DONTWAIT) <= 0) {
            break;
        }
    }
    close(socket);
}

static void sources_close(struct session *session)
{
    control_loop_remove(session->set->loop, &session->socket_source);
    control_loop_remove(session->set->loop, &session->process_source);
    if (session->socket >= 0) {
        connection_close(take_fd(&session->socket));
    }
    if (session->process >= 0) {
        close(take_fd(&session->process));
    }
}

/* Does an engine know its client? */
static bool session_is_known(const struct session *session)
{
    return session->state == SESSION_OPEN || session->state == SESSION_CLOSING;
}

static void end_report(const struct session *session, int error, const char *reason)
{
    struct session_set *set = session->set;
    if (session_is_known(session) && error == -EPROTO) {
        set->hostile++;
    } else if (!session_is_known(session) && error != 0) {
        set->refused++;
    }
    if (error == 0) {
        log_info(set->log, "session.closed", "session=%" PRIu64 " pid=%d reason=%s",
                 session->client.session_id, session->client.pid, LOG_QUOTE(reason));
    } else {
        log_warning(set->log, "session.ended", "session=%" PRIu64 " pid=%d uid=%u reason=%s",
                    session->client.session_id, session->client.pid, session->client.uid,
                    LOG_QUOTE(reason));
    }
}

void session_end(struct session *session, int error, const char *reason)
{
    struct session_set *set = session->set;
    if (session->state == SESSION_CLOSING) {
        return;
    }
    end_report(session, error, reason);
    sources_close(session);
    if (!session_is_known(session)) {
        session_free(session);
        return;
    }
    struct namespace *space = session->space;
    session->state = SESSION_CLOSING;
    list_remove(&session->sessions);
    list_push_back(&set->closing, &session->sessions);
    space->sessions_open--;
    counter_set(&space->counters, COUNTER_SESSIONS, space->sessions_open);
    mailbox_post(space->engine->mailbox, &session->client.close_mail);
}

void session_resume(struct session *session, const struct fault *why)
{
    struct fault gone = {0};
    if (why != NULL) {
        session_send_error(session->socket, session->hello_id, why); /* if it still listens */
        session_end(session, why->error, why->text);
    } else if (request_welcome(session, &gone) != REQUEST_DONE) {
        session_end(session, gone.error, gone.text);
    }
}

static void session_lane_free(struct session *session, struct session_lane *owned)
{
    struct lane_record_shm *record = owned->lane->record;
    session->lane_count--;
    session->sq_bytes -= owned->lane->map.sq_bytes;
    list_remove(&owned->lanes);
    lane_free(owned->lane);
    lane_table_release(&session->space->lanes, record);
    free(owned);
}

void session_lane_closed(struct session *session, struct lane *lane)
{
    list_each(node, &session->lanes)
    {
        struct session_lane *owned = list_entry(node, struct session_lane, lanes);
        if (owned->lane != lane) {
            continue;
        }
        const uint64_t request_id = owned->close_request_id;
        const uint64_t lane_id = lane->lane_id;
        session_lane_free(session, owned);
        if (session->state == SESSION_OPEN) {
            struct fault why = {0};
            union control_message answer;
            control_begin(&answer, CONTROL_LANE_CLOSED, sizeof answer.lane, request_id);
            answer.lane.lane_id = lane_id;
            if (request_answer(session, &answer, NULL, 0, &why) != REQUEST_DONE) {
                session_end(session, why.error, why.text);
            }
        }
        return;
    }
    ensure(!"a lane of this session");
}

/* Not earlier: what a client pinned before could be evicted under it. */
void session_pins_attached(struct session *session)
{
    cleanup_fd const int share = take_fd(&session->pins_share);
    if (session->state != SESSION_OPEN) {
        return;
    }
    struct fault why = {0};
    union control_message answer;
    control_begin(&answer, CONTROL_PINS_OPENED, sizeof answer.header, session->pins_request_id);
    if (request_answer(session, &answer, &share, 1, &why) != REQUEST_DONE) {
        session_end(session, why.error, why.text);
    }
}

void session_free(struct session *session)
{
    struct session_set *set = session->set;
    sources_close(session);
    if (session->asked != NULL) {
        session->asked->asker = NULL;
    }
    list_each(node, &session->lanes)
    {
        session_lane_free(session, list_entry(node, struct session_lane, lanes));
    }
    if (session->client.pins_fd >= 0) {
        close(session->client.pins_fd);
        cleanup_fd_close(&session->pins_share);
        regions_remove_pins(&session->space->regions, session->client.session_id);
    }
    free(session->client.pin_notes);
    list_remove(&session->sessions);
    if (session->state == SESSION_GREETING) {
        set->greeting_count--;
    } else if (session->state == SESSION_OPEN) {
        session->space->sessions_open--;
    }
    if (session_is_known(session)) {
        session->space->sessions--;
    }
    set->count--;
    free(session);
}
