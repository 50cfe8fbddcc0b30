/*
 * Proves that a lock is one broker's at a time, whatever becomes of the file and of forked children.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/lock_file.h"
#include "tests/support/deadline.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"

enum { WAIT_MS = 10000, CHILD_SECONDS = 60 /* no child outlives a test that fails for longer */ };

static char path[SCRATCH_PATH_BYTES + 16];

static void lock_begin(void)
{
    char scratch[SCRATCH_PATH_BYTES];
    scratch_on_tmpfs(scratch);
    snprintf(path, sizeof path, "%s/lock", scratch);
}

TestSuite(lock_file, .init = lock_begin, .timeout = 600);

static bool is_named(int fd)
{
    struct stat held;
    struct stat named;
    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino;
}

static void *open_waiting(void *argument)
{
    *(int *)argument = lock_file_open(path);
    return NULL;
}

Test(lock_file, second_one_is_told_that_it_is_busy)
{
    const int first = lock_file_open(path);
    cr_assert_geq(first, 0);
    cr_expect_eq(lock_file_open(path), -EBUSY);
    lock_file_remove(path, first);
    cr_expect_neq(access(path, F_OK), 0);
    const int next = lock_file_open(path);
    cr_expect_geq(next, 0);
    lock_file_remove(path, next);
}

/* Who waited for a file that its owner then removed must not believe that it owns the name. */
Test(lock_file, who_waited_gets_the_file_of_that_name)
{
    int waiting = -1;
    pthread_t thread;
    const int first = lock_file_open(path);
    const uint64_t fds = process_count(getpid()).fds;
    cr_assert_eq(pthread_create(&thread, NULL, open_waiting, &waiting), 0);
    wait_until(process_count(getpid()).fds == fds + 1, WAIT_MS);
    lock_file_remove(path, first);
    pthread_join(thread, NULL);
    cr_assert_geq(waiting, 0);
    cr_expect(is_named(waiting));
    cr_expect_eq(lock_file_open(path), -EBUSY);
    lock_file_remove(path, waiting);
}

Test(lock_file, release_is_one_although_a_forked_child_has_it_too)
{
    const int first = lock_file_open(path);
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        alarm(CHILD_SECONDS);
        pause();
    }
    lock_file_release(first);
    const int next = lock_file_open(path);
    cr_expect_geq(next, 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    lock_file_remove(path, next);
}

Test(lock_file, link_in_its_place_is_not_followed)
{
    cr_assert_eq(symlink("/dev/null", path), 0);
    cr_expect_eq(lock_file_open(path), -ELOOP);
}
