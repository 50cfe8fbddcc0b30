/*
 * Support: what the other tests rely on to fail: payloads, diaries, clients, deadlines, scratch
 * directories, programs.
 * How:        each helper is made to find what it is there to find.
 * Not here:   the oracle and the broker's life, which need a broker (integration, crash).
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/deadline.h"
#include "tests/support/diary.h"
#include "tests/support/process.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

TestSuite(support);

Test(support, a_payload_is_verified_byte_by_byte)
{
    unsigned char data[100];
    struct payload_id id;
    for (size_t size = PAYLOAD_BYTES_MIN; size <= sizeof data; size++) {
        payload_fill(data, size, 7, 42);
        check(payload_verify(data, size, &id));
        check_is(id.producer, 7);
        check_is(id.n, 42);
        check(!payload_verify(data, size - 1, &id));
        for (size_t at = 0; at < size; at++) {
            data[at] ^= 1;
            const bool accepted = payload_verify(data, size, &id);
            /* a change of the identity itself shows only where bytes follow from it */
            check(!accepted || (at < sizeof id && size == PAYLOAD_BYTES_MIN));
            data[at] ^= 1;
        }
    }
}

static void write_and_die(size_t index, void *arg)
{
    struct diary *diary = arg;
    (void)index;
    for (uint32_t i = 0; i < 10; i++) {
        diary_committed(diary, diary_intend(diary, 100), i * 3);
    }
    diary_durable_below(diary, 5);
    (void)diary_intend(diary, 200);
    (void)raise(SIGKILL);
}

Test(support, a_diary_survives_the_death_of_its_client)
{
    char dir[SCRATCH_PATH_BYTES];
    scratch_on_tmpfs(dir);
    struct diary *diary = diary_new(dir, 3, 100);
    const pid_t pid = fork();
    if (pid == 0) {
        write_and_die(0, diary);
    }
    int status = 0;
    check(waitpid(pid, &status, 0) == pid);
    check_is(diary_intents(diary), 11);
    check_is(diary->appends[4].state, DIARY_DURABLE);
    check_is(diary->appends[5].state, DIARY_COMMITTED);
    check_is(diary->appends[9].seq, 27);
    check_is(diary->appends[10].state, DIARY_INTENDED);
}

static void succeed(size_t index, void *arg)
{
    (void)shared_add(arg, index + 1);
}

Test(support, clients_run_and_share_memory)
{
    uint64_t *sum = shared_memory(sizeof *sum);
    clients_run(10, succeed, sum);
    check_is(*sum, 55);
}

static void fail_one(size_t index, void *arg)
{
    (void)arg;
    check_is(index, 0);
}

/* Ends with the check's own status: the failure is wanted here. */
static void expect_failure(void (*run)(void), const char *part)
{
    int ends[2];
    char text[4096];
    check_ok(pipe(ends));
    const pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        check_report_to(NULL);
        run();
        _exit(0);
    }
    (void)close(ends[1]);
    size_t used = 0;
    ssize_t bytes = 1;
    while (bytes > 0 && used + 1 < sizeof text) {
        bytes = read(ends[0], text + used, sizeof text - 1 - used);
        used += bytes > 0 ? (size_t)bytes : 0;
    }
    text[used] = 0;
    int status = 0;
    check(waitpid(pid, &status, 0) == pid);
    check(status != 0);
    check_contains(text, part);
}

static void print_and_exit(const char *message)
{
    (void)dprintf(STDERR_FILENO, "%s\n", message);
    _exit(1);
}

static void run_failing_clients(void)
{
    check_report_to(print_and_exit);
    clients_run(3, fail_one, NULL);
}

Test(support, a_failed_check_of_a_client_is_told_in_its_words)
{
    expect_failure(run_failing_clients, ", expected 0");
}

static void hang(void)
{
    deadline_set(1);
    deadline_doing("something that never comes");
    for (;;) {
        (void)pause();
    }
}

Test(support, a_deadline_that_passes_says_what_was_waited_for)
{
    expect_failure(hang, "waiting for: something that never comes");
}

static void wait_in_vain(void)
{
    check_report_to(print_and_exit);
    wait_until(1 > 2, 50);
}

Test(support, a_condition_that_stays_false_fails)
{
    expect_failure(wait_in_vain, " ms: 1 > 2");
}

static void make_scratch_and_die(size_t index, void *arg)
{
    (void)index;
    scratch_on_disk(arg);
    char path[SCRATCH_PATH_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/file", (char *)arg);
    scratch_write(path, "x", 1);
    (void)raise(SIGKILL);
}

Test(support, scratch_directories_go_with_the_process_even_when_it_is_killed)
{
    char *dir = shared_memory(SCRATCH_PATH_BYTES);
    const pid_t pid = fork();
    if (pid == 0) {
        make_scratch_and_die(0, dir);
    }
    int status = 0;
    check(waitpid(pid, &status, 0) == pid);
    check(dir[0] == '/');
    wait_until(access(dir, F_OK) != 0, 5000);
}

Test(support, a_programs_output_and_status_are_collected)
{
    const char *const arguments[] = {"/bin/sh", "-c", "cat; echo err >&2; exit 3", NULL};
    enum { BYTES = 300000 };
    char *input = malloc(BYTES);
    memset(input, 'i', BYTES);
    struct program_result result = program_run(NULL, arguments, input, BYTES);
    check_is(result.status, 3);
    check_bytes(result.out, result.out_bytes, input, BYTES);
    check_bytes(result.err, result.err_bytes, "err\n", 4);
    program_free(&result);
    free(input);
}

Test(support, what_a_process_holds_is_counted)
{
    const struct process_counts before = process_count(getpid());
    const int fd = dup(STDERR_FILENO);
    check_is(process_count(getpid()).fds, before.fds + 1);
    (void)close(fd);
    check_is(process_count(getpid()).fds, before.fds);
    (void)shared_memory(1);
    check_is(process_count(getpid()).mappings, before.mappings + 1);
    check(before.threads >= 1 && before.mapped_bytes > 4096);
}

/* As root and, in another user's process, in a namespace of its own. */
static void mount_small(size_t index, void *arg)
{
    char path[SCRATCH_PATH_BYTES];
    (void)arg;
    if (index == 1 && getuid() == 0) {
        check_ok(setgid(65534));
        check_ok(setuid(65534));
        check_ok(prctl(PR_SET_DUMPABLE, 1)); /* its /proc files are its own again */
        check_ok(setenv("TMPDIR", "/var/tmp", 1));
    }
    if (!scratch_mount(path, 1U << 20)) {
        return; /* a kernel that allows neither: the tests that need it are skipped */
    }
    char *data = calloc(1, 1U << 19);
    char name[SCRATCH_PATH_BYTES + 16];
    (void)snprintf(name, sizeof name, "%s/file", path);
    scratch_write(name, data, 1U << 19);
    check(scratch_disk_bytes(path) >= 1U << 19);
    free(data);
}

Test(support, a_small_file_system_is_mounted_where_that_is_allowed)
{
    clients_run(2, mount_small, NULL);
}
