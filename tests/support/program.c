/*
 * Program: see program.h.
 * Runs on:    the test's main thread.
 * Not here:   see program.h.
 */
#include "tests/support/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/deadline.h"

enum { WORDS_MAX = 64, STEP_BYTES = 65536 };

static const char *program_path(const char *variable)
{
    const char *path = getenv(variable);
    check_say(path != NULL && access(path, X_OK) == 0,
              "$%s is to be the path of the built program, not \"%s\"", variable,
              path != NULL ? path : "");
    return path;
}

const char *program_tuskd(void)
{
    return program_path("TUSKD");
}

const char *program_cli(void)
{
    return program_path("TUSK_CLI");
}

const char *program_inspect(void)
{
    return program_path("TUSK_INSPECT");
}

const char *program_ending(int wait_status)
{
    static char text[96];
    if (WIFSIGNALED(wait_status)) {
        (void)snprintf(text, sizeof text, "was killed by signal %d (%s)", WTERMSIG(wait_status),
                       strsignal(WTERMSIG(wait_status)));
    } else {
        (void)snprintf(text, sizeof text, "exited with status %d", WEXITSTATUS(wait_status));
    }
    return text;
}

/* execv() takes strings that it doesn't change as if it did. */
void program_replace(const char *const arguments[])
{
    char *copy[WORDS_MAX];
    size_t count = 0;
    while (arguments[count] != NULL && count + 1 < WORDS_MAX) {
        copy[count] = strdup(arguments[count]);
        count++;
    }
    copy[count] = NULL;
    (void)execv(copy[0], copy);
}

static void program_exec(struct tuskd *tuskd, const char *const arguments[], const int ends[3],
                         pid_t parent)
{
    for (int i = 0; i < 3; i++) {
        (void)dup2(ends[i], i);
    }
    (void)close_range(3, ~0U, 0);
    if (tuskd != NULL) {
        (void)setenv("TUSK_SOCKET", tuskd->socket, 1);
    } else {
        (void)unsetenv("TUSK_SOCKET");
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    program_replace(arguments);
    _exit(127);
}

struct program program_start(struct tuskd *tuskd, const char *const arguments[])
{
    int in[2];
    int out[2];
    int err[2];
    check(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        program_exec(tuskd, arguments, (const int[3]){in[0], out[1], err[1]}, parent);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    (void)close(err[1]);
    (void)signal(SIGPIPE, SIG_IGN);
    return (struct program){.pid = pid, .in = in[1], .out = out[0], .err = err[0]};
}

void program_write(struct program *program, const void *data, size_t bytes)
{
    const char *next = data;
    while (bytes > 0) {
        const ssize_t count = write(program->in, next, bytes);
        check_say(count > 0, "the program does not read its stdin: %m");
        next += count;
        bytes -= (size_t)count;
    }
}

void program_line(struct program *program, char *line, size_t line_bytes)
{
    size_t used = 0;
    deadline_doing("a line of the program's output");
    for (;;) {
        char byte;
        check_say(read(program->out, &byte, 1) == 1, "the program's output ended");
        if (byte == '\n') {
            break;
        }
        check(used + 1 < line_bytes);
        line[used++] = byte;
    }
    line[used] = 0;
    deadline_doing(NULL);
}

/* Read what there is; returns false at end of file. */
static bool drain(int fd, char **text, size_t *bytes)
{
    char *larger = realloc(*text, *bytes + STEP_BYTES + 1);
    check(larger != NULL);
    *text = larger;
    const ssize_t count = read(fd, larger + *bytes, STEP_BYTES);
    *bytes += count > 0 ? (size_t)count : 0;
    larger[*bytes] = 0;
    return count > 0;
}

static void program_feed(struct program *program, const char **input, size_t *bytes)
{
    const ssize_t count = *bytes == 0 ? 0 : write(program->in, *input, *bytes);
    if (count > 0) {
        *input += count;
        *bytes -= (size_t)count;
    }
    if (*bytes == 0 || (count < 0 && errno != EAGAIN)) {
        (void)close(program->in);
        program->in = -1;
    }
}

struct program_result program_finish(struct program *program, const void *input, size_t bytes)
{
    struct program_result result = {0};
    const char *rest = input;
    bool out_open = true;
    bool err_open = true;
    (void)fcntl(program->in, F_SETFL, O_NONBLOCK);
    deadline_doing("the program to end");
    while (out_open || err_open) {
        struct pollfd fds[3] = {
            {.fd = program->in, .events = POLLOUT},
            {.fd = out_open ? program->out : -1, .events = POLLIN},
            {.fd = err_open ? program->err : -1, .events = POLLIN},
        };
        check(poll(fds, 3, -1) > 0 || errno == EINTR);
        if (fds[0].revents != 0) {
            program_feed(program, &rest, &bytes);
        }
        if (fds[1].revents != 0) {
            out_open = drain(program->out, &result.out, &result.out_bytes);
        }
        if (fds[2].revents != 0) {
            err_open = drain(program->err, &result.err, &result.err_bytes);
        }
    }
    if (program->in >= 0) {
        (void)close(program->in);
    }
    (void)close(program->out);
    (void)close(program->err);
    int status = 0;
    check(waitpid(program->pid, &status, 0) == program->pid);
    deadline_doing(NULL);
    result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    check_say(strstr(result.err, "Sanitizer") == NULL &&
                  strstr(result.err, "runtime error:") == NULL,
              "a sanitizer has found something: %s", result.err);
    return result;
}

struct program_result program_run(struct tuskd *tuskd, const char *const arguments[],
                                  const void *input, size_t bytes)
{
    struct program program = program_start(tuskd, arguments);
    return program_finish(&program, input, bytes);
}

struct program_result cli(struct tuskd *tuskd, const char *words, const void *input, size_t bytes)
{
    char text[1024];
    const char *arguments[WORDS_MAX] = {program_cli()};
    size_t count = 1;
    char *rest = NULL;
    (void)snprintf(text, sizeof text, "%s", words);
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        check(count + 1 < WORDS_MAX);
        arguments[count++] = word;
    }
    return program_run(tuskd, arguments, input, bytes);
}

void program_free(struct program_result *result)
{
    free(result->out);
    free(result->err);
    *result = (struct program_result){0};
}
