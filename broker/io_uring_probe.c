/* io_uring's probe: see io_uring_probe.h. */
#include "broker/io_uring_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shm/cleanup.h"

/* A filter may allow to make a ring and forbid to enter it. Asked of a ring of its own, in which
 * nothing else will be found. */
int io_uring_try(void)
{
    static const int needed[] = {IORING_OP_READ,        IORING_OP_WRITE,       IORING_OP_READ_FIXED,
                                 IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,       IORING_OP_FALLOCATE,
                                 IORING_OP_POLL_ADD,    IORING_OP_ASYNC_CANCEL};
    /* The last came with 5.13, as did polls that go on after their first event. */
    const unsigned features = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS;
    struct io_uring ring;
    struct io_uring_params params = {0};
    int result = io_uring_queue_init_params(4, &ring, &params);
    if (result < 0) {
        return result;
    }
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
    result = probe == NULL || (params.features & features) != features ? -ENOSYS : 0;
    for (size_t i = 0; i < sizeof needed / sizeof *needed && result == 0; i++) {
        result = io_uring_opcode_supported(probe, needed[i]) ? 0 : -ENOSYS;
    }
    io_uring_free_probe(probe);
    if (result == 0) {
        io_uring_prep_nop(io_uring_get_sqe(&ring));
        const int entered = io_uring_submit_and_wait(&ring, 1);
        result = entered < 0 ? entered : 0;
    }
    io_uring_queue_exit(&ring);
    return result;
}

/* The number in the file, or -1. */
static int sysctl_read(const char *path)
{
    char text[16] = "";
    cleanup_fd const int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, text, sizeof text - 1) > 0 && text[0] >= '0' && text[0] <= '9'
               ? text[0] - '0'
               : -1;
}

void io_uring_refusal(int error, const char *sysctl_path, char *text, size_t bytes)
{
    const int disabled = sysctl_read(sysctl_path);
    if (error == -EPERM && disabled > 0) {
        snprintf(text, bytes, "%s is %d, which forbids io_uring%s", sysctl_path, disabled,
                 disabled == 1 ? " to processes without CAP_SYS_ADMIN outside of io_uring_group"
                               : "");
        return;
    }
    switch (error) {
    case -EPERM:
    case -EACCES:
        snprintf(text, bytes, "io_uring is forbidden (%s), as by a container's seccomp profile",
                 strerror(-error));
        break;
    case -ENOSYS:
    case -EINVAL:
        snprintf(text, bytes,
                 "the kernel has no io_uring of version 5.13 or later, or a container's seccomp "
                 "profile hides it (%s)",
                 strerror(-error));
        break;
    case -ENOMEM:
        snprintf(text, bytes, "there is no memory for an io_uring, or RLIMIT_MEMLOCK allows none");
        break;
    default:
        snprintf(text, bytes, "io_uring cannot be used (%s)", strerror(-error));
    }
}
