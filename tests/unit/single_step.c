/* Single step: see single_step.h. */
#include "tests/unit/single_step.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/atom.h"
#include "shm/layout.h"
#include "tests/support/scratch.h"

/* A child that takes more is not going to end. */
enum { INSTRUCTIONS_MAX = 1000 * 1000 };

static void images_add(struct images *images, const void *memory, size_t bytes)
{
    if (images->count > 0 && memcmp(images->image[images->count - 1], memory, bytes) == 0) {
        return;
    }
    if (images->count == images->room) {
        images->room = images->room == 0 ? 64 : images->room * 2;
        images->image = realloc(images->image, images->room * sizeof(void *));
        cr_assert_not_null(images->image);
    }
    void *copy = aligned_alloc(BLOCK_BYTES, align_up(bytes, BLOCK_BYTES));
    cr_assert_not_null(copy);
    memcpy(copy, memory, bytes);
    images->image[images->count++] = copy;
}

static void child_run(void *memory, void (*step)(void *memory, void *context), void *context,
                      struct atom *ended)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0) {
        _exit(1);
    }
    step(memory, context);
    atom_store_release(ended, 1);
    _exit(1); /* is killed before it gets here */
}

void images_record(struct images *images, void *memory, size_t bytes,
                   void (*step)(void *memory, void *context), void *context)
{
    int status;
    struct atom *ended = shared_memory(sizeof *ended);
    *images = (struct images){0};
    images_add(images, memory, bytes);
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        child_run(memory, step, context, ended);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSTOPPED(status), "a process here cannot be traced by its parent");
    cr_assert_eq(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL), 0);
    for (int i = 0; atom_load_acquire(ended) == 0; i++) {
        cr_assert_lt(i, INSTRUCTIONS_MAX);
        cr_assert_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSTOPPED(status), "the child died at instruction %d", i);
        images_add(images, memory, bytes);
    }
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
}

void images_free(struct images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        free(images->image[i]);
    }
    free(images->image);
    *images = (struct images){0};
}
