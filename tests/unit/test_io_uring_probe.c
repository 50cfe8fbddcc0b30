/*
 * io_uring's probe: each way in which io_uring is refused is named, so that an operator knows where
 * to look: the sysctl, a seccomp profile, the kernel's age, memory.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/io_uring_probe.h"

static char sysctl_path[] = "/tmp/tusk-test-sysctl-XXXXXX";
static char text[IO_URING_REFUSAL_BYTES];

static void set_up(void)
{
    const int fd = mkstemp(sysctl_path);
    cr_assert_geq(fd, 0);
    close(fd);
}

static void tear_down(void)
{
    cr_assert_eq(unlink(sysctl_path), 0);
}

TestSuite(io_uring_probe, .init = set_up, .fini = tear_down);

static const char *refusal(int error, const char *sysctl)
{
    FILE *file = fopen(sysctl_path, "w");
    cr_assert_not_null(file);
    fputs(sysctl, file);
    cr_assert_eq(fclose(file), 0);
    io_uring_refusal(error, sysctl_path, text, sizeof text);
    return text;
}

Test(io_uring_probe, the_sysctl_is_named_when_it_forbids)
{
    cr_expect_not_null(strstr(refusal(-EPERM, "2\n"), sysctl_path));
    cr_expect_not_null(strstr(text, "is 2, which forbids io_uring"));
    cr_expect_not_null(strstr(refusal(-EPERM, "1\n"), "is 1, which forbids io_uring to processes"));
    cr_expect_not_null(strstr(text, "io_uring_group"));
}

Test(io_uring_probe, a_filter_is_named_when_the_sysctl_allows)
{
    cr_expect_not_null(strstr(refusal(-EPERM, "0\n"), "seccomp"));
    cr_expect_null(strstr(text, sysctl_path));
    cr_expect_not_null(strstr(refusal(-EPERM, ""), "seccomp"));
    cr_expect_not_null(strstr(refusal(-ENOSYS, "2\n"), "seccomp"));
    cr_expect_not_null(strstr(text, "5.13"));
    io_uring_refusal(-EPERM, "/nonexistent/sysctl", text, sizeof text);
    cr_expect_not_null(strstr(text, "seccomp"));
}

Test(io_uring_probe, other_errors_are_what_they_are)
{
    cr_expect_not_null(strstr(refusal(-ENOMEM, "0\n"), "RLIMIT_MEMLOCK"));
    cr_expect_not_null(strstr(refusal(-EMFILE, "0\n"), strerror(EMFILE)));
}
