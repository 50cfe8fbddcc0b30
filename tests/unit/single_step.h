/*
 * Single step: what memory looks like after every instruction that changes it, as a SIGKILL at that
 * moment would leave it.
 * Runs on:    the test's process, which traces a child (ptrace); the memory is shared by the two.
 * Invariants: images[0] is the memory before, images[count - 1] after everything; neighbours differ;
 *             images are aligned to pages, as shared memory is.
 */
#ifndef TUSK_TESTS_UNIT_SINGLE_STEP_H
#define TUSK_TESTS_UNIT_SINGLE_STEP_H

#include <stddef.h>

struct images {
    void **image;
    size_t count;
    size_t room;
};

/* Runs step(memory, context) in a child, one instruction at a time. The memory is shared_memory(). */
void images_record(struct images *images, void *memory, size_t bytes,
                   void (*step)(void *memory, void *context), void *context);

void images_free(struct images *images);

#endif
