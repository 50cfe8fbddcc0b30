/* Lock file: see lock_file.h. */
#include "broker/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shm/cleanup.h"

enum {
    /* The kernel takes milliseconds to take a killed broker apart, more with large mappings on a
     * busy machine. */
    LOCK_WAIT_MS = 2000,
    LOCK_RETRY_MS = 10,
};

int lock_file_take(int fd)
{
    const struct timespec pause = {.tv_nsec = LOCK_RETRY_MS * 1000000L};
    for (int waited_ms = 0;; waited_ms += LOCK_RETRY_MS) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            return 0;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return -errno;
        }
        if (waited_ms >= LOCK_WAIT_MS) {
            return -EBUSY;
        }
        nanosleep(&pause, NULL);
    }
}

/* Is the file that was locked still the one of that name? Its last owner may have removed it. */
static bool file_is_named(int fd, const char *path)
{
    struct stat held;
    struct stat named;
    return fstat(fd, &held) == 0 && lstat(path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

int lock_file_open(const char *path)
{
    for (;;) {
        cleanup_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            return -errno;
        }
        const int error = lock_file_take(fd);
        if (error != 0) {
            return error;
        }
        if (file_is_named(fd, path)) {
            return take_fd(&fd);
        }
    }
}

void lock_file_release(int fd)
{
    flock(fd, LOCK_UN);
    close(fd);
}

void lock_file_remove(const char *path, int fd)
{
    unlink(path); /* while it is locked; best effort, a file left behind is in nobody's way */
    lock_file_release(fd);
}
