/*
 * Cleanup: scope-bound owners, so that every early return gives back what it had.
 * `cleanup_fd` closes a descriptor that is >= 0, `cleanup_free` frees a pointer; take_fd and
 * take_pointer move ownership out.
 */
#ifndef TUSK_SHM_CLEANUP_H
#define TUSK_SHM_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd_close(const int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

static inline void cleanup_pointer_free(void *pointer)
{
    free(*(void **)pointer);
}

#define cleanup_fd __attribute__((cleanup(cleanup_fd_close)))
#define cleanup_free __attribute__((cleanup(cleanup_pointer_free)))

static inline int take_fd(int *fd)
{
    const int taken = *fd;
    *fd = -1;
    return taken;
}

#define take_pointer(pointer)                                                                      \
    ({                                                                                             \
        __typeof__(*(pointer)) taken_ = *(pointer);                                                \
        *(pointer) = NULL;                                                                         \
        taken_;                                                                                    \
    })

#endif
