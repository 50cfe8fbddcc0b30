/* Handle: see handle.h. */
#include "clientlib/handle.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD_BYTES = 4096 };

static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER; /* of the two below */
static LIST_HEAD(, tusk) live_handles = LIST_HEAD_INITIALIZER(live_handles);
static uint64_t last_serial;

/* A child must not inherit the lock from a thread that it doesn't have. */
static void live_fork_begin(void)
{
    pthread_mutex_lock(&live_lock);
}

static void live_fork_end(void)
{
    pthread_mutex_unlock(&live_lock);
}

static void live_init(void)
{
    pthread_atfork(live_fork_begin, live_fork_end, live_fork_end);
}

static struct handle_guard *guard_new(void)
{
    void *page =
        mmap(NULL, GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return NULL;
    }
    if (madvise(page, GUARD_BYTES, MADV_WIPEONFORK) != 0) {
        munmap(page, GUARD_BYTES);
        return NULL;
    }
    return page;
}

int handle_new(struct tusk **tusk)
{
    struct tusk *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    made->guard = guard_new();
    made->wakeup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->guard == NULL || made->wakeup_fd < 0) {
        if (made->guard != NULL) {
            munmap(made->guard, GUARD_BYTES);
        }
        free(made);
        return -ENOMEM;
    }
    atom_store_relaxed(&made->guard->state, HANDLE_ALIVE); /* nobody else has it yet */
    client_session_init(&made->session);
    arena_init(&made->arena);
    pthread_mutex_init(&made->lock, NULL);
    made->connector = pthread_self();
    *tusk = made;
    return 0;
}

void handle_free(struct tusk *tusk)
{
    arena_deinit(&tusk->arena, handle_forked(tusk));
    mapping_close(&tusk->directory_mapping);
    client_session_deinit(&tusk->session);
    close(tusk->wakeup_fd);
    munmap(tusk->guard, GUARD_BYTES);
    pthread_mutex_destroy(&tusk->lock);
    free(tusk);
}

void handle_show(struct tusk *tusk)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, live_init);
    pthread_mutex_lock(&live_lock);
    tusk->serial = ++last_serial;
    LIST_INSERT_HEAD(&live_handles, tusk, live);
    pthread_mutex_unlock(&live_lock);
}

void handle_hide(struct tusk *tusk)
{
    pthread_mutex_lock(&live_lock);
    LIST_REMOVE(tusk, live);
    pthread_mutex_unlock(&live_lock);
    if (!handle_forked(tusk)) { /* in a child the lock may be that of a thread it hasn't got */
        /* Whoever found it before has it locked; no one can from here on. */
        pthread_mutex_lock(&tusk->lock);
        pthread_mutex_unlock(&tusk->lock);
    }
}

struct tusk *handle_lock_serial(uint64_t serial)
{
    struct tusk *found;
    pthread_mutex_lock(&live_lock);
    LIST_FOREACH(found, &live_handles, live)
    {
        if (found->serial == serial && !handle_forked(found)) {
            pthread_mutex_lock(&found->lock);
            break;
        }
    }
    pthread_mutex_unlock(&live_lock);
    return found;
}

int handle_kill(struct tusk *tusk)
{
    atom_store_relaxed(&tusk->guard->state, HANDLE_DEAD); /* alone: it guards no other data */
    return -ESTALE;
}

int handle_state_error(uint64_t state)
{
    return state == HANDLE_FORKED ? -EOWNERDEAD : -ESTALE;
}
