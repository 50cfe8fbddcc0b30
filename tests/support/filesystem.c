/*
 * Filesystem: see filesystem.h.
 */
#include "tests/support/filesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"

enum { TRIES = 50 };

/* Makes a file system in the image; 0, or an exit status. */
static int image_format(const char *kind, const char *image)
{
    char program[32];
    (void)snprintf(program, sizeof program, "/sbin/mkfs.%s", kind);
    const pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(nothing, STDOUT_FILENO);
        (void)dup2(nothing, STDERR_FILENO);
        (void)execl(program, program, "-q", image, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* A loop device for the image, which goes when nobody has it open or mounted; -1: none. */
static int loop_attach(const char *image, char device[32])
{
    struct loop_config config = {.fd = (unsigned)open(image, O_RDWR | O_CLOEXEC),
                                 .info.lo_flags = LO_FLAGS_AUTOCLEAR};
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int loop = -1;
    for (int i = 0; i < TRIES && loop < 0 && control >= 0; i++) {
        const int number = ioctl(control, LOOP_CTL_GET_FREE);
        (void)snprintf(device, 32, "/dev/loop%d", number);
        loop = number < 0 ? -1 : open(device, O_RDWR | O_CLOEXEC);
        if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) != 0) {
            (void)close(loop); /* another process took it */
            loop = -1;
        }
    }
    (void)close(control);
    (void)close((int)config.fd);
    return loop;
}

static const char *image_mount(const char *path, const char *kind, uint64_t bytes)
{
    char dir[SCRATCH_PATH_BYTES];
    char image[SCRATCH_PATH_BYTES + 16];
    char device[32];
    scratch_on_disk(dir);
    (void)snprintf(image, sizeof image, "%s/image", dir);
    const int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    (void)close(fd);
    const int status = image_format(kind, image);
    if (status != 0) {
        return status == 127 ? "its mkfs is not installed" : "its mkfs failed";
    }
    const int loop = loop_attach(image, device);
    if (loop < 0) {
        return "there is no loop device";
    }
    const int mounted = mount(device, path, kind, 0, "");
    (void)close(loop);
    return mounted == 0 ? NULL : "the kernel cannot mount it";
}

const char *filesystem_mount(char path[SCRATCH_PATH_BYTES], const char *kind, uint64_t bytes)
{
    char options[64];
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return "only root may mount";
    }
    scratch_on_disk(path);
    if (strcmp(kind, "tmpfs") != 0) {
        return image_mount(path, kind, bytes);
    }
    (void)snprintf(options, sizeof options, "size=%llu", (unsigned long long)bytes);
    return mount(kind, path, kind, 0, options) == 0 ? NULL : "the kernel cannot mount it";
}

int filesystem_fill(const char *path, uint64_t bytes_left)
{
    struct statvfs space;
    const int fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    check(fd >= 0 && statvfs(path, &space) == 0);
    const uint64_t free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    check(free_bytes > bytes_left);
    check(fallocate(fd, 0, 0, (off_t)(free_bytes - bytes_left)) == 0);
    return fd;
}
