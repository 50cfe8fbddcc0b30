/* Helpers: see io_helpers.h. */
#include "broker/io_helpers.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/thread.h"
#include "shm/ensure.h"

static void list_clear(struct op_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_append(struct op_list *list, struct io_op *op)
{
    op->next = NULL;
    *list->end = op;
    list->end = &op->next;
}

/* Moves all of `from` behind `to`. */
static void list_splice(struct op_list *to, struct op_list *from)
{
    if (from->first != NULL) {
        *to->end = from->first;
        to->end = from->end;
        list_clear(from);
    }
}

static struct io_op *list_take(struct op_list *list)
{
    struct io_op *op = list->first;
    if (op != NULL) {
        list->first = op->next;
        if (list->first == NULL) {
            list->end = &list->first;
        }
    }
    return op;
}

static void bell_ring(const struct helpers *helpers)
{
    const uint64_t one = 1;
    ensure(write(helpers->bell, &one, sizeof one) == sizeof one);
}

/* The next operation, under the lock; NULL: stop. */
static struct io_op *work_await(struct helpers *helpers)
{
    struct io_op *op;
    while ((op = list_take(&helpers->queued)) == NULL && !helpers->stopping) {
        helpers->idle++;
        pthread_cond_wait(&helpers->work, &helpers->lock);
        helpers->idle--;
    }
    return op;
}

static void *helper_main(void *context)
{
    struct helpers *helpers = context;
    struct io_op *op;
    pthread_mutex_lock(&helpers->lock);
    while ((op = work_await(helpers)) != NULL) {
        pthread_mutex_unlock(&helpers->lock);
        op->result = helpers->perform(helpers->io, op);
        pthread_mutex_lock(&helpers->lock);
        list_append(&helpers->done, op);
        atom_store_relaxed(&helpers->done_any, 1); /* a hint */
        if (helpers->sleeping) {
            helpers->sleeping = false;
            bell_ring(helpers);
        }
    }
    pthread_mutex_unlock(&helpers->lock);
    return NULL;
}

int helpers_open(struct helpers *helpers, struct io *io, helpers_perform_fn perform)
{
    *helpers = (struct helpers){.io = io, .perform = perform};
    list_clear(&helpers->submitted);
    list_clear(&helpers->queued);
    list_clear(&helpers->done);
    ensure(pthread_mutex_init(&helpers->lock, NULL) == 0); /* cannot fail with the defaults */
    ensure(pthread_cond_init(&helpers->work, NULL) == 0);
    helpers->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int result = helpers->bell < 0 ? -errno : 0;
    while (result == 0 && helpers->threads_count < HELPERS) {
        result = thread_start(&helpers->threads[helpers->threads_count], "tusk-io", helper_main,
                              helpers);
        helpers->threads_count += result == 0;
    }
    return result;
}

void helpers_close(struct helpers *helpers)
{
    pthread_mutex_lock(&helpers->lock);
    helpers->stopping = true;
    pthread_cond_broadcast(&helpers->work);
    pthread_mutex_unlock(&helpers->lock);
    for (unsigned i = 0; i < helpers->threads_count; i++) {
        pthread_join(helpers->threads[i], NULL);
    }
    if (helpers->bell >= 0) {
        close(helpers->bell);
    }
    pthread_cond_destroy(&helpers->work);
    pthread_mutex_destroy(&helpers->lock);
}

void helpers_submit(struct helpers *helpers, struct io_op *op)
{
    list_append(&helpers->submitted, op);
    helpers->submitted_count++;
}

void helpers_kick(struct helpers *helpers)
{
    if (helpers->submitted_count == 0) {
        return;
    }
    pthread_mutex_lock(&helpers->lock);
    list_splice(&helpers->queued, &helpers->submitted);
    const unsigned wanted =
        helpers->submitted_count < helpers->idle ? helpers->submitted_count : helpers->idle;
    pthread_mutex_unlock(&helpers->lock);
    for (unsigned i = 0; i < wanted; i++) {
        pthread_cond_signal(&helpers->work);
    }
    helpers->submitted_count = 0;
}

unsigned helpers_take(struct helpers *helpers)
{
    if (atom_load_relaxed(&helpers->done_any) == 0) { /* stale: the next look finds it */
        return 0;
    }
    pthread_mutex_lock(&helpers->lock);
    struct io_op *op = helpers->done.first;
    list_clear(&helpers->done);
    atom_store_relaxed(&helpers->done_any, 0); /* under the lock, as its other writers */
    pthread_mutex_unlock(&helpers->lock);
    unsigned taken = 0;
    while (op != NULL) {
        struct io_op *next = op->next; /* op is its caller's again, from done() on */
        helpers->io->in_flight--;
        op->done(op, op->result);
        op = next;
        taken++;
    }
    return taken;
}

bool helpers_sleep(struct helpers *helpers)
{
    pthread_mutex_lock(&helpers->lock);
    helpers->sleeping = helpers->done.first == NULL;
    const bool may = helpers->sleeping;
    pthread_mutex_unlock(&helpers->lock);
    return may;
}

void helpers_awake(struct helpers *helpers, bool rung)
{
    uint64_t rings;
    pthread_mutex_lock(&helpers->lock);
    helpers->sleeping = false;
    pthread_mutex_unlock(&helpers->lock);
    if (rung) {
        ensure(read(helpers->bell, &rings, sizeof rings) == sizeof rings || errno == EAGAIN);
    }
}
