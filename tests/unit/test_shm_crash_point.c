/*
 * Crash points: a process dies by SIGKILL at the n-th passage of the point that TUSK_CRASH_AT
 * names, and at no other; builds without crash points contain none.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/crash_point.h"

#ifdef TUSK_CRASH_POINTS
enum { COMPILED_IN = 1 };
#else
enum { COMPILED_IN = 0 };
#endif

/* How many rounds a process gets through before it dies; 10 is all of them. */
static int rounds_survived(const char *crash_at)
{
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        setenv("TUSK_CRASH_AT", crash_at, 1);
        for (int i = 0; i < 10; i++) {
            crash_point("test.other");
            crash_point("test.point");
            if (write(pipes[1], "x", 1) != 1) {
                _exit(1);
            }
        }
        _exit(0);
    }
    close(pipes[1]);
    char bytes[16];
    int rounds = 0;
    for (ssize_t got; (got = read(pipes[0], bytes, sizeof bytes)) > 0;) {
        rounds += (int)got;
    }
    close(pipes[0]);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    if (rounds < 10) {
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    } else {
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return rounds;
}

static void dies_after(const char *crash_at, int rounds)
{
    cr_assert_eq(rounds_survived(crash_at), COMPILED_IN ? rounds : 10, "TUSK_CRASH_AT=%s",
                 crash_at);
}

Test(shm_crash_point, kills_at_the_passage_that_is_named)
{
    dies_after("test.point", 0);
    dies_after("test.point:1", 0);
    dies_after("test.point:4", 3);
    dies_after("test.point:10", 9);
    dies_after("test.other:2", 1);
}

Test(shm_crash_point, passes_everything_else)
{
    const char *others[] = {"",      "test",          "test.poin",    "test.pointed",
                            "point", "test.point:11", "test.point:0", "test.point,1"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        cr_assert_eq(rounds_survived(others[i]), 10, "TUSK_CRASH_AT=%s", others[i]);
    }
}
