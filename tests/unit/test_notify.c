/*
 * Proves that the supervisor gets exactly the state it is told, over a path and over an abstract
 * name, and that a missing, misnamed or stuck supervisor is an answer and not a wait.
 * How: the test is the supervisor.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/notify.h"

static char directory[] = "/tmp/test_notify.XXXXXX";
static char path[64];

static void directory_make(void)
{
    unsetenv("NOTIFY_SOCKET");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/notify", directory);
}

static void directory_remove(void)
{
    unlink(path);
    rmdir(directory);
}

TestSuite(notify, .init = directory_make, .fini = directory_remove, .timeout = 600);

/* A datagram socket under that name, in which '@' stands for the zero of an abstract one. */
static int supervisor_open(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t bytes = strlen(name);
    memcpy(address.sun_path, name, bytes);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes)),
                 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void expect_message(int fd, const char *message)
{
    char text[256] = "";
    const ssize_t bytes = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    cr_expect_eq(bytes, (ssize_t)strlen(message));
    cr_expect_str_eq(text, message);
}

Test(notify, nobody_listens_is_fine)
{
    cr_expect_eq(notify_send("READY=1"), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    cr_expect_eq(notify_send("READY=1"), 0);
}

Test(notify, socket_with_a_path_gets_one_datagram_per_call)
{
    const int fd = supervisor_open(path);
    cr_expect_eq(notify_send("READY=1\nSTATUS=serving"), 0);
    cr_expect_eq(notify_send("STOPPING=1"), 0);
    expect_message(fd, "READY=1\nSTATUS=serving");
    expect_message(fd, "STOPPING=1");
    close(fd);
}

Test(notify, socket_with_an_abstract_name_gets_it)
{
    char name[64];
    snprintf(name, sizeof name, "@test_notify.%d", (int)getpid());
    const int fd = supervisor_open(name);
    cr_expect_eq(notify_send("READY=1"), 0);
    expect_message(fd, "READY=1");
    close(fd);
}

Test(notify, longest_name_of_each_kind_fits)
{
    char name[sizeof((struct sockaddr_un *)NULL)->sun_path] = "@";
    memset(name + 1, 'n', sizeof name - 2);
    snprintf(name + sizeof name - 12, 12, "%011d", (int)getpid());
    const int fd = supervisor_open(name);
    cr_expect_eq(notify_send("READY=1"), 0);
    expect_message(fd, "READY=1");
    close(fd);
}

Test(notify, bad_names_are_refused)
{
    char name[200];
    memset(name, 'n', sizeof name);
    name[0] = '/';
    name[sizeof name - 1] = '\0';
    const char *const bad[] = {"relative", "@", "/", name, "vsock:2:1234"};
    for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
        setenv("NOTIFY_SOCKET", bad[at], 1);
        cr_expect_eq(notify_send("READY=1"), -EINVAL, "%s", bad[at]);
    }
}

Test(notify, missing_supervisor_is_an_answer)
{
    setenv("NOTIFY_SOCKET", path, 1);
    cr_expect_eq(notify_send("READY=1"), -ENOENT);
}

Test(notify, stuck_supervisor_costs_no_time)
{
    const int fd = supervisor_open(path);
    int result = 0;
    for (int sent = 0; sent < 100000 && result == 0; sent++) {
        result = notify_send("READY=1");
    }
    cr_expect_eq(result, -EAGAIN);
    close(fd);
}
