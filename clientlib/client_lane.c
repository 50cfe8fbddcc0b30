/* Client lane: see client_lane.h. */
#include "clientlib/client_lane.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clientlib/cancel.h"
#include "clientlib/cursor.h"
#include "clientlib/lane_op.h"
#include "clientlib/tail_wait.h"
#include "shm/cleanup.h"

/* The lanes of one thread: serials of handles, which tell whether the pointers are still good. */
struct thread_lanes {
    uint32_t count;
    uint32_t room;
    struct client_lane_cache *lanes;
};

_Thread_local struct client_lane_cache client_lane_cache
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

static pthread_key_t thread_key;
static pthread_once_t thread_key_once = PTHREAD_ONCE_INIT;
static int thread_key_error;

/* Gives a lane back whose thread exits. With the handle's lock held. */
static void lane_leave(struct client_lane *lane)
{
    LIST_REMOVE(lane, siblings);
    tail_wait_detach_all(lane);
    topic_cursors_leave(lane);
    client_session_lane_close(&lane->tusk->session, lane->lane_id);
    client_lane_free(lane);
}

static void thread_exits(void *value)
{
    CANCEL_OFF;
    struct thread_lanes *thread = value;
    client_lane_cache = (struct client_lane_cache){0};
    for (uint32_t i = 0; i < thread->count; i++) {
        struct tusk *tusk = handle_lock_serial(thread->lanes[i].serial);
        if (tusk != NULL) {
            lane_leave(thread->lanes[i].lane);
            pthread_mutex_unlock(&tusk->lock);
        }
    }
    free(thread->lanes);
    free(thread);
}

static void thread_key_init(void)
{
    thread_key_error = pthread_key_create(&thread_key, thread_exits);
}

/* A library that is unloaded must leave no destructor behind. */
__attribute__((destructor)) static void thread_key_deinit(void)
{
    pthread_once(&thread_key_once, thread_key_init);
    if (thread_key_error == 0) {
        pthread_key_delete(thread_key);
    }
}

/* This thread's list, with room for one more lane; NULL: no memory. */
static struct thread_lanes *thread_lanes_get(void)
{
    pthread_once(&thread_key_once, thread_key_init);
    if (thread_key_error != 0) {
        return NULL;
    }
    struct thread_lanes *thread = pthread_getspecific(thread_key);
    if (thread == NULL) {
        thread = calloc(1, sizeof *thread);
        if (thread == NULL || pthread_setspecific(thread_key, thread) != 0) {
            free(thread);
            return NULL;
        }
    }
    if (thread->count == thread->room) {
        const uint32_t room = thread->room == 0 ? 4 : thread->room * 2;
        struct client_lane_cache *lanes = realloc(thread->lanes, room * sizeof *lanes);
        if (lanes == NULL) {
            return NULL;
        }
        thread->lanes = lanes;
        thread->room = room;
    }
    return thread;
}

/* Forgets lanes of handles that are gone, so that a thread that connects often doesn't grow. */
static void thread_lanes_prune(struct thread_lanes *thread)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < thread->count; i++) {
        struct tusk *tusk = handle_lock_serial(thread->lanes[i].serial);
        if (tusk != NULL) {
            pthread_mutex_unlock(&tusk->lock);
            thread->lanes[kept++] = thread->lanes[i];
        }
    }
    thread->count = kept;
}

enum {
    TABLE_ASYNCS_BYTES = CQ_SLOTS * sizeof(struct lane_async),
    TABLE_OPS_BYTES = LANE_OPS_MAX * sizeof(struct lane_op),
};

/* Mapped rather than taken from the heap: most of it is never touched, and it goes with the
 * lane. */
static int tables_new(struct client_lane *lane)
{
    unsigned char *base = mmap(NULL, TABLE_ASYNCS_BYTES + TABLE_OPS_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return -ENOMEM;
    }
    lane->asyncs = (struct lane_async *)(void *)base;
    lane->ops = (struct lane_op *)(void *)(base + TABLE_ASYNCS_BYTES);
    return 0;
}

static void tables_free(struct client_lane *lane)
{
    if (lane->asyncs != NULL) {
        munmap(lane->asyncs, TABLE_ASYNCS_BYTES + TABLE_OPS_BYTES);
    }
}

static int lane_attach(struct client_lane *lane, struct tusk *tusk, int fds[2])
{
    int error = lane_open(&lane->map, fds[0]);
    if (error != 0) {
        return error;
    }
    if (madvise(lane->map.shm, lane->map.mapped_bytes, MADV_DONTFORK) != 0) {
        lane_close(&lane->map);
        return -ENOMEM;
    }
    lane->fd = take_fd(&fds[0]);
    lane->socket = take_fd(&fds[1]);
    lane->client_fences = tusk->client_fences || tusk->idle == TUSK_IDLE_BLOCK;
    atom_store_relaxed(&lane->map.shm->fences, lane->client_fences); /* [L1] shows it */
    return 0;
}

static int lane_new(struct tusk *tusk, struct client_lane **lane)
{
    cleanup_free struct client_lane *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    made->tusk = tusk;
    made->epoll_fd = -1;
    made->self_fd = -1;
    /* A wakeup before a thread's first wait counts for the thread that connected. */
    if (!tusk->one_lane && pthread_equal(pthread_self(), tusk->connector) == 0) {
        made->wakeups_seen = atomic_load(&tusk->wakeups);
    }
    int fds[2] = {-1, -1};
    int error = client_session_lane_open(&tusk->session, tusk->sq_bytes, &made->lane_id, fds);
    if (error == -EPIPE || error == -ETIMEDOUT) {
        return handle_kill(tusk);
    }
    if (error != 0) {
        return resource_error(error);
    }
    error = tables_new(made);
    if (error == 0) {
        error = lane_attach(made, tusk, fds);
    }
    cleanup_fd_close(&fds[0]);
    cleanup_fd_close(&fds[1]);
    if (error != 0) {
        tables_free(made);
        client_session_lane_close(&tusk->session, made->lane_id);
        return error;
    }
    *lane = take_pointer(&made);
    return 0;
}

static int single_lane_find(struct tusk *tusk, struct client_lane **lane)
{
    pthread_mutex_lock(&tusk->lock);
    struct client_lane *found = tusk->single_lane;
    int error = 0;
    if (found == NULL) {
        error = lane_new(tusk, &found);
        if (error == 0) {
            tusk->single_lane = found;
            LIST_INSERT_HEAD(&tusk->lanes, found, siblings);
        }
    }
    pthread_mutex_unlock(&tusk->lock);
    *lane = found;
    return error;
}

/* This thread's lane of the handle, or NULL. */
static struct client_lane *thread_lane_look(const struct thread_lanes *thread, uint64_t serial)
{
    for (uint32_t i = 0; i < thread->count; i++) {
        if (thread->lanes[i].serial == serial) {
            return thread->lanes[i].lane;
        }
    }
    return NULL;
}

static int thread_lane_find(struct tusk *tusk, struct client_lane **lane)
{
    struct thread_lanes *thread = thread_lanes_get();
    if (thread == NULL) {
        return -ENOMEM;
    }
    *lane = thread_lane_look(thread, tusk->serial);
    if (*lane != NULL) {
        return 0;
    }
    thread_lanes_prune(thread);
    const int error = lane_new(tusk, lane);
    if (error != 0) {
        return error;
    }
    pthread_mutex_lock(&tusk->lock);
    LIST_INSERT_HEAD(&tusk->lanes, *lane, siblings);
    pthread_mutex_unlock(&tusk->lock);
    thread->lanes[thread->count++] =
        (struct client_lane_cache){.serial = tusk->serial, .lane = *lane};
    return 0;
}

int client_lane_find(struct tusk *tusk, struct client_lane **lane)
{
    CANCEL_OFF;
    struct client_lane *found = NULL;
    const int error =
        tusk->one_lane ? single_lane_find(tusk, &found) : thread_lane_find(tusk, &found);
    if (error != 0) {
        return error;
    }
    client_lane_cache = (struct client_lane_cache){.serial = tusk->serial, .lane = found};
    *lane = found;
    return 0;
}

struct client_lane *client_lane_peek(struct tusk *tusk)
{
    if (handle_check(tusk) != 0) {
        return NULL;
    }
    if (client_lane_cache.serial == tusk->serial) {
        return client_lane_cache.lane;
    }
    if (tusk->one_lane) {
        pthread_mutex_lock(&tusk->lock);
        struct client_lane *lane = tusk->single_lane;
        pthread_mutex_unlock(&tusk->lock);
        return lane;
    }
    pthread_once(&thread_key_once, thread_key_init);
    const struct thread_lanes *thread =
        thread_key_error == 0 ? pthread_getspecific(thread_key) : NULL;
    return thread != NULL ? thread_lane_look(thread, tusk->serial) : NULL;
}

void client_lane_free(struct client_lane *lane)
{
    if (!handle_forked(lane->tusk)) {
        lane_close(&lane->map);
    }
    cleanup_fd_close(&lane->fd);
    cleanup_fd_close(&lane->socket);
    cleanup_fd_close(&lane->epoll_fd);
    cleanup_fd_close(&lane->self_fd);
    tables_free(lane);
    free(lane->refusals);
    free(lane);
}
