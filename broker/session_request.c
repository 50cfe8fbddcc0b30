/* Session request: see session_request.h. */
#include "broker/session_request.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "broker/session_namespace.h"
#include "shm/cleanup.h"
#include "shm/directory.h"
#include "shm/ensure.h"

enum request_outcome request_answer(const struct session *session,
                                    const union control_message *answer, const int *fds,
                                    size_t fd_count, struct fault *why)
{
    const int error = control_send(session->socket, answer, fds, fd_count);
    switch (-error) {
    case 0:
        return REQUEST_DONE;
    case EPIPE:
        fault_set(why, 0, "the client closed its connection");
        break;
    case EAGAIN:
        fault_set(why, error, "the client does not take its answers");
        break;
    default:
        fault_set(why, error, "cannot answer the client: %s", strerror(-error));
        break;
    }
    return REQUEST_GONE;
}

void request_explain(const union control_message *message, struct fault *why)
{
    const struct control_header *header = &message->header;
    if (header->magic == CONTROL_MAGIC && header->version != CONTROL_VERSION) {
        fault_set(why, -EPROTO,
                  "the client speaks version %u of the control protocol, this broker (%s) speaks "
                  "version %u: use a client library of the broker's version",
                  header->version, TUSK_VERSION, CONTROL_VERSION);
    } else if (header->magic != CONTROL_MAGIC) {
        fault_set(why, -EPROTO,
                  "not a control message: it begins with %08" PRIx32 ", expected %08" PRIx32,
                  header->magic, CONTROL_MAGIC);
    } else {
        fault_set(why, -EPROTO,
                  "malformed control message: kind %u says that it has %" PRIu32
                  " bytes, which it has not, or which do not fit its kind",
                  header->kind, header->bytes);
    }
}

/* Field 22 of /proc/PID/stat, in clock ticks since the boot; 0 where it cannot be read. */
static uint64_t process_start_time(pid_t pid)
{
    char path[32];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    cleanup_fd const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (length <= 0) {
        return 0;
    }
    text[length] = '\0';
    /* The second field, in parentheses, is a name that may hold anything, parentheses as well. */
    const char *field = strrchr(text, ')');
    for (int number = 2; field != NULL && number < 22; number++) {
        field = strchr(field + 1, ' ');
    }
    return field != NULL ? strtoull(field + 1, NULL, 10) : 0;
}

static const struct directory_shm *directory_of(const struct session *session)
{
    return session->space->regions.directory.base;
}

static enum request_outcome hello_check(const struct control_hello *hello, struct fault *why)
{
    if (hello->digest != layout_digest()) {
        fault_set(why, -EPROTO,
                  "the client's memory layout is %016" PRIx64 ", that of this broker (%s) is "
                  "%016" PRIx64 ": use a client library of the broker's version",
                  hello->digest, TUSK_VERSION, layout_digest());
        return REQUEST_BROKEN;
    }
    const uint32_t bytes = hello->namespace_bytes;
    if (bytes > NAMESPACE_KEY_BYTES_MAX) {
        fault_set(why, -EINVAL, "the namespace key has %" PRIu32 " bytes, expected at most %d",
                  bytes, NAMESPACE_KEY_BYTES_MAX);
        return REQUEST_BROKEN;
    }
    if (memchr(hello->namespace_key, 0, bytes) != NULL) {
        fault_set(why, -EINVAL, "the namespace key contains a zero byte");
        return REQUEST_BROKEN;
    }
    return REQUEST_DONE;
}

enum request_outcome request_welcome(struct session *session, struct fault *why)
{
    struct session_set *set = session->set;
    struct namespace *space = session->space;
    const struct regions *regions = &space->regions;
    union control_message answer;
    control_begin(&answer, CONTROL_WELCOME, sizeof answer.welcome, session->hello_id);
    answer.welcome.epoch = directory_of(session)->header.epoch;
    answer.welcome.session_id = session->client.session_id;
    answer.welcome.directory_bytes = regions->directory.bytes;
    answer.welcome.arena_bytes = regions->arena.bytes;
    const int fds[] = {regions->directory_share, regions->arena_share};
    const enum request_outcome sent = request_answer(session, &answer, fds, 2, why);
    if (sent != REQUEST_DONE) {
        return sent;
    }
    session->start_time = process_start_time(session->client.pid);
    if (session->state == SESSION_GREETING) {
        set->greeting_count--;
    }
    session->state = SESSION_OPEN;
    session->client.store = space->store;
    list_remove(&session->sessions);
    list_push_back(&set->open, &session->sessions);
    space->sessions++;
    space->sessions_open++;
    counter_add(&space->counters, COUNTER_SESSIONS_OPENED, 1);
    counter_set(&space->counters, COUNTER_SESSIONS, space->sessions_open);
    mailbox_post(space->engine->mailbox, &session->client.attach_mail);
    log_info(set->log, "session.opened", "session=%" PRIu64 " pid=%d uid=%u namespace=%s",
             session->client.session_id, session->client.pid, session->client.uid,
             NAMESPACE_WORDS(space));
    return REQUEST_DONE;
}

static enum request_outcome serve_hello(struct session *session,
                                        const union control_message *message, struct fault *why)
{
    struct session_set *set = session->set;
    const struct control_hello *hello = &message->hello;
    const enum request_outcome outcome = hello_check(hello, why);
    if (outcome != REQUEST_DONE) {
        return outcome;
    }
    const bool given = hello->namespace_bytes > 0;
    const char *const key = given ? hello->namespace_key : NAMESPACE_DEFAULT;
    const uint32_t bytes = given ? hello->namespace_bytes : (uint32_t)strlen(NAMESPACE_DEFAULT);
    const int found = namespace_set_find(set->namespaces, key, bytes, &session->space, why);
    if (found < 0) {
        session->space = NULL;
        return REQUEST_BROKEN;
    }
    session->hello_id = message->header.id;
    if (found == NAMESPACE_READY) {
        return request_welcome(session, why);
    }
    set->greeting_count--;
    session->state = SESSION_WAITING;
    list_remove(&session->sessions);
    list_push_back(&session->space->waiting, &session->sessions);
    return REQUEST_DONE;
}

static enum request_outcome lane_limits_check(const struct session *session, uint64_t sq_bytes,
                                              struct fault *why)
{
    if (!is_power_of_two(sq_bytes) || sq_bytes < SQ_BYTES_MIN || sq_bytes > SQ_BYTES_MAX) {
        fault_set(why, -EINVAL,
                  "a lane of %" PRIu64 " bytes was asked for, expected a power of two from %" PRIu64
                  " to %" PRIu64,
                  sq_bytes, SQ_BYTES_MIN, SQ_BYTES_MAX);
        return REQUEST_REFUSED;
    }
    if (session->lane_count >= SESSION_LANES_MAX) {
        fault_set(why, -ENOSPC, "this session has %" PRIu32 " lanes, which is as many as one may",
                  session->lane_count);
        return REQUEST_REFUSED;
    }
    if (sq_bytes > SESSION_SQ_BYTES_MAX - session->sq_bytes) {
        fault_set(why, -ENOSPC,
                  "this session's lanes take %" PRIu64 " bytes, and with another %" PRIu64
                  " they would be over the limit of %" PRIu64,
                  session->sq_bytes, sq_bytes, SESSION_SQ_BYTES_MAX);
        return REQUEST_REFUSED;
    }
    return REQUEST_DONE;
}

static struct lane_record_shm *record_take(struct session *session)
{
    struct session_set *set = session->set;
    struct lane_owner owner = {
        .lane_id = set->last_lane_id + 1,
        .session_id = session->client.session_id,
        .pid = (uint64_t)session->client.pid,
        .start_time = session->start_time,
    };
    ensure(getrandom(&owner.token, sizeof owner.token, 0) == sizeof owner.token);
    struct lane_record_shm *record = lane_table_take(&session->space->lanes, &owner);
    if (record != NULL) {
        set->last_lane_id = owner.lane_id;
    }
    return record;
}

/* Makes the lane and hands it to the client; the engine does not know of it yet. */
static enum request_outcome lane_grant(struct session *session,
                                       const union control_message *message,
                                       struct lane_record_shm *record, struct lane **granted,
                                       struct fault *why)
{
    const uint64_t lane_id = session->set->last_lane_id;
    struct lane *lane;
    int fds[2];
    const int error = lane_new(&lane, &session->client, lane_id, message->lane.sq_bytes, record,
                               &fds[0], &fds[1]);
    if (error != 0) {
        fault_set(why, error, "the broker cannot make another lane: %s", strerror(-error));
        return REQUEST_REFUSED;
    }
    /* The client is not there yet: no order needed. */
    atom_store_relaxed(&lane->map.shm->epoch, directory_of(session)->header.epoch);

    union control_message answer;
    control_begin(&answer, CONTROL_LANE_OPENED, sizeof answer.lane, message->header.id);
    answer.lane.lane_id = lane_id;
    answer.lane.sq_bytes = message->lane.sq_bytes;
    const enum request_outcome outcome = request_answer(session, &answer, fds, 2, why);
    close(fds[0]);
    close(fds[1]);
    if (outcome == REQUEST_DONE) {
        *granted = lane;
    } else {
        lane_free(lane);
    }
    return outcome;
}

static enum request_outcome serve_lane_open(struct session *session,
                                            const union control_message *message, struct fault *why)
{
    struct lane_table *lanes = &session->space->lanes;
    enum request_outcome outcome = lane_limits_check(session, message->lane.sq_bytes, why);
    if (outcome != REQUEST_DONE) {
        return outcome;
    }
    cleanup_free struct session_lane *owned = calloc(1, sizeof *owned);
    if (owned == NULL) {
        fault_set(why, -ENOMEM, "the broker has no memory for another lane");
        return REQUEST_REFUSED;
    }
    struct lane_record_shm *record = record_take(session);
    if (record == NULL) {
        fault_set(why, -ENOSPC,
                  "all %" PRIu64 " lanes of the namespace are in use: close some, or raise --lanes",
                  lanes->ledger->lanes_max);
        return REQUEST_REFUSED;
    }
    outcome = lane_grant(session, message, record, &owned->lane, why);
    if (outcome != REQUEST_DONE) {
        lane_table_release(lanes, record);
        return outcome;
    }
    session->lane_count++;
    session->sq_bytes += message->lane.sq_bytes;
    list_push_back(&session->lanes, &owned->lanes);
    mailbox_post(session->space->engine->mailbox, &owned->lane->attach_mail);
    take_pointer(&owned);
    return REQUEST_DONE;
}

static enum request_outcome serve_lane_close(struct session *session,
                                             const union control_message *message,
                                             struct fault *why)
{
    list_each(node, &session->lanes)
    {
        struct session_lane *owned = list_entry(node, struct session_lane, lanes);
        if (owned->lane->lane_id == message->lane.lane_id && !owned->closing) {
            owned->closing = true;
            owned->close_request_id = message->header.id;
            mailbox_post(session->space->engine->mailbox, &owned->lane->close_mail);
            return REQUEST_DONE;
        }
    }
    fault_set(why, -EPROTO, "lane %" PRIu64 " is not an open lane of this session",
              message->lane.lane_id);
    return REQUEST_BROKEN;
}

static enum request_outcome serve_pins_open(struct session *session,
                                            const union control_message *message, struct fault *why)
{
    struct regions *regions = &session->space->regions;
    const uint64_t session_id = session->client.session_id;
    if (session->client.pins_fd >= 0) {
        fault_set(why, -EPROTO, "this session has its pins file already");
        return REQUEST_BROKEN;
    }
    cleanup_fd int fd = regions_make_pins(regions, session_id);
    if (fd < 0) {
        fault_set(why, fd, "the broker cannot make a pins file: %s", strerror(-fd));
        return REQUEST_REFUSED;
    }
    /* An open file of its own, so that no flag that the client sets on it is the broker's too. */
    cleanup_fd int share = regions_share_pins(regions, session_id);
    if (share < 0) {
        regions_remove_pins(regions, session_id);
        fault_set(why, share, "the broker cannot open a pins file: %s", strerror(-share));
        return REQUEST_REFUSED;
    }
    session->client.pins_fd = take_fd(&fd);
    session->pins_share = take_fd(&share);
    session->pins_request_id = message->header.id;
    mailbox_post(session->space->engine->mailbox,
                 &session->client.pins_mail); /* session_pins_attached() answers */
    return REQUEST_DONE;
}

enum request_outcome request_serve(struct session *session, const union control_message *message,
                                   struct fault *why)
{
    const enum control_kind kind = (enum control_kind)message->header.kind;
    ensure(session->state != SESSION_CLOSING);
    if (session->state != SESSION_WAITING &&
        (kind == CONTROL_HELLO) == (session->state == SESSION_GREETING)) {
        switch (kind) {
        case CONTROL_HELLO:
            return serve_hello(session, message, why);
        case CONTROL_LANE_OPEN:
            return serve_lane_open(session, message, why);
        case CONTROL_LANE_CLOSE:
            return serve_lane_close(session, message, why);
        case CONTROL_PINS_OPEN:
            return serve_pins_open(session, message, why);
        case CONTROL_OPTION_SET:
            return request_option_set(session, message, why);
        case CONTROL_OPTION_GET:
            return request_option_get(session, message, why);
        case CONTROL_NAMESPACE_NEXT:
            return request_namespace_next(session, message, why);
        case CONTROL_NAMESPACE_DELETE:
            return request_namespace_delete(session, message, why);
        case CONTROL_NOTHING:
        case CONTROL_WELCOME:
        case CONTROL_LANE_OPENED:
        case CONTROL_LANE_CLOSED:
        case CONTROL_PINS_OPENED:
        case CONTROL_ERROR:
        case CONTROL_OPTION:
        case CONTROL_NAMESPACE:
        case CONTROL_DONE:
        default:
            break;
        }
    }
    fault_set(why, -EPROTO, "a message of kind %d is not expected %s HELLO", kind,
              session->state == SESSION_OPEN ? "after" : "before");
    return REQUEST_BROKEN;
}
