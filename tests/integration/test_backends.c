/*
 * Backends: io_uring, pwrite and mmap, through the page cache and past it, are one store with one
 * meaning; where io_uring is forbidden the broker says so once and works all the same.
 * How:        real brokers; io_uring is forbidden by seccomp filters, as containers do; how files are
 *             open is read from /proc.
 * Not here:   the same suites on another backend ("make test" runs them), file systems
 *             (test_filesystems.c).
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/support/payload.h"
#include "tests/support/session.h"

enum { SIZE = 900 };

TestSuite(backends);

/* What every broker of these tests has: small files, so that there are several. */
#define OPTIONS " --segment 1M --chunk 64K --arena 8M "

static void restart(const char *options, bool killed)
{
    tusk_disconnect(tusk);
    if (killed) {
        tuskd_kill(broker);
    } else {
        tuskd_stop(broker);
    }
    tuskd_restart(broker, options);
    tusk = attach(broker);
}

/* All of the topic: count entries of producer 1. */
static void expect_all(const char *name, uint32_t count)
{
    struct tusk_topic *topic = topic_of(tusk, name);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < count; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, SIZE);
    }
    expect_end(reader);
    tusk_reader_close(reader);
    tusk_topic_close(topic);
}

static unsigned lines_with(const char *text, const char *part)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

Test(backends, seed_row_14_every_backend_goes_on_with_the_others_store)
{
    enum { EACH = 1500 };
    static const char *const options[] = {
        "--backend uring" OPTIONS,
        "--backend pwrite" OPTIONS,
        "--backend mmap" OPTIONS,
        "--backend uring --direct off" OPTIONS,
        "--backend mmap --direct off" OPTIONS,
        "--backend pwrite --direct off" OPTIONS,
        "--backend auto" OPTIONS,
    };
    enum { COUNT = sizeof options / sizeof *options };
    broker = tuskd_start(options[0]);
    tusk = attach(broker);
    for (uint32_t round = 0; round < 2 * COUNT; round++) {
        struct tusk_topic *topic = topic_of(tusk, "t");
        append_numbered(topic, 1, round * EACH, EACH, SIZE);
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        expect_all("t", (round + 1) * EACH);
        restart(options[(round + 1) % COUNT], round % 2 == 0);
        expect_all("t", (round + 1) * EACH);
    }
    session_end();
}

/* Entries become durable by themselves, and stay. */
static void expect_durable_service(const char *options)
{
    enum { COUNT = 2000 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, COUNT, SIZE);
    wait_until(info_of(topic).durable_seq == COUNT, 10000);
    restart(options, true);
    expect_all("t", COUNT);
    append_numbered(topic_of(tusk, "t"), 1, COUNT, COUNT, SIZE);
    restart(options, false);
    expect_all("t", 2 * COUNT);
}

static void start_without(long call, int error, const char *options)
{
    broker = tuskd_new();
    broker->forbidden_call = call;
    broker->forbidden_error = error;
    tuskd_restart(broker, options);
    tusk = attach(broker);
}

static void expect_pwrite_without_uring(long call, int error)
{
    start_without(call, error, "--backend auto --fsync 10ms" OPTIONS);
    const char *log = tuskd_log(broker);
    check_is(lines_with(log, "engine.io"), 1);
    check_contains(log, "warning engine.io backend=pwrite");
    check_contains(log, strerror(error));
    expect_durable_service("--backend auto --fsync 10ms" OPTIONS);
    session_end();
}

Test(backends, seed_fault_20_without_io_uring_by_eperm_syncing_goes_on)
{
    expect_pwrite_without_uring(SYS_io_uring_setup, EPERM);
}

Test(backends, seed_fault_20_without_io_uring_by_enosys_syncing_goes_on)
{
    expect_pwrite_without_uring(SYS_io_uring_setup, ENOSYS);
}

Test(backends, a_ring_that_may_be_made_but_not_used_is_none)
{
    expect_pwrite_without_uring(SYS_io_uring_enter, EPERM);
}

Test(backends, a_ring_without_registration_is_none)
{
    expect_pwrite_without_uring(SYS_io_uring_register, ENOSYS);
}

Test(backends, auto_takes_io_uring_where_it_works)
{
    broker = tuskd_start("--backend auto" OPTIONS);
    check_contains(tuskd_log(broker), "info engine.io backend=uring direct=auto");
    check_is(lines_with(tuskd_log(broker), "engine.io"), 1);
    tuskd_stop(broker);
}

Test(backends, io_uring_that_was_asked_for_and_is_forbidden_is_a_refusal)
{
    static const int errors[] = {EPERM, ENOSYS};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        const char *text = NULL;
        broker = tuskd_new();
        broker->forbidden_call = SYS_io_uring_setup;
        broker->forbidden_error = errors[i];
        check_is(tuskd_refusal(broker, "--backend uring" OPTIONS, &text), EX_UNAVAILABLE);
        check_contains(text, "io_uring");
        check_contains(text, strerror(errors[i]));
        check_contains(text, "seccomp");
    }
}

Test(backends, a_kernel_without_durable_writes_gets_writes_and_syncs)
{
    start_without(SYS_pwritev2, EOPNOTSUPP, "--backend pwrite --fsync each" OPTIONS);
    expect_durable_service("--backend pwrite --fsync each" OPTIONS);
    session_end();
}

/* The flags of the broker's open segment files: how many are open, and how many with O_DIRECT. */
static void count_segment_files(unsigned *open_files, unsigned *direct_files)
{
    char path[64];
    char target[256];
    *open_files = 0;
    *direct_files = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)broker->pid);
    DIR *fds = opendir(path);
    check(fds != NULL);
    for (struct dirent *entry = readdir(fds); entry != NULL; entry = readdir(fds)) {
        const ssize_t length = readlinkat(dirfd(fds), entry->d_name, target, sizeof target - 1);
        if (length < 4 || memcmp(target + length - 4, ".seg", 4) != 0) {
            continue;
        }
        unsigned flags = 0;
        (void)snprintf(path, sizeof path, "/proc/%d/fdinfo/%.10s", (int)broker->pid, entry->d_name);
        FILE *info = fopen(path, "re");
        check(info != NULL && fscanf(info, "pos: %*d flags: %o", &flags) == 1);
        (void)fclose(info);
        (*open_files)++;
        *direct_files += (flags & O_DIRECT) != 0;
    }
    (void)closedir(fds);
}

Test(backends, all_files_are_direct_or_none_is)
{
    static const struct {
        const char *options;
        bool direct;
    } cases[] = {
        {"--backend uring --direct on" OPTIONS, true},
        {"--backend pwrite --direct on" OPTIONS, true},
        {"--backend uring --direct off" OPTIONS, false},
        {"--backend pwrite --direct off" OPTIONS, false},
        {"--backend mmap" OPTIONS, false},
    };
    broker = tuskd_new();
    if (tuskd_try(broker, "--direct on" OPTIONS) == 0) {
        cr_skip_test("the file system of the tests does not grant O_DIRECT");
    }
    tuskd_stop(broker);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned open_files;
        unsigned direct_files;
        tuskd_restart(broker, cases[i].options);
        tusk = attach(broker);
        append_numbered(topic_of(tusk, "t"), 1, 0, 3000, SIZE); /* several segments */
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        count_segment_files(&open_files, &direct_files);
        check(open_files >= 3);
        check_is(direct_files, cases[i].direct ? open_files : 0);
        tusk_disconnect(tusk);
        tuskd_stop(broker);
    }
}

static unsigned mapped_segments(void)
{
    char path[64];
    char line[512];
    unsigned count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)broker->pid);
    FILE *maps = fopen(path, "re");
    check(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        count += strstr(line, ".seg\n") != NULL;
    }
    (void)fclose(maps);
    return count;
}

Test(backends, mmap_maps_segments_and_the_others_do_not)
{
    static const char *const backends[] = {"uring", "pwrite", "mmap"};
    for (size_t i = 0; i < 3; i++) {
        char options[128];
        (void)snprintf(options, sizeof options, "--backend %s" OPTIONS, backends[i]);
        broker = tuskd_start(options);
        tusk = attach(broker);
        append_numbered(topic_of(tusk, "t"), 1, 0, 3000, SIZE);
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        check_say(i == 2 ? mapped_segments() >= 3 : mapped_segments() == 0,
                  "%s: %u segments are mapped", backends[i], mapped_segments());
        session_end();
    }
}

/* A file may not be written behind so many bytes any more, or again everywhere. */
static void limit_files(rlim_t bytes)
{
    const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    check_ok(prlimit(broker->pid, RLIMIT_FSIZE, &limit, NULL));
}

/* Writes that begin to fail under a running broker, as on a disk that breaks: no acknowledgement for
 * what is not there, reads go on, and the next broker has all that was durable. */
static void expect_fence(const char *options)
{
    enum { BEFORE = 1000, MORE = 5000 };
    broker = tuskd_start(options);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, BEFORE, SIZE);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    limit_files(65536);
    unsigned char data[SIZE];
    uint32_t acked = BEFORE;
    int result = 0;
    while (result == 0 && acked < BEFORE + MORE) {
        payload_fill(data, SIZE, 1, acked);
        result = tusk_append(topic, data, SIZE, NULL);
        acked += result == 0;
    }
    check(result == -EIO || result == -ENOSPC); /* fenced, or first of all refused a segment */
    const int flushed = tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS);
    const uint64_t durable = info_of(topic).durable_seq;
    check(durable >= BEFORE && durable <= acked);
    check_is(flushed, durable == acked ? 0 : -EIO);
    expect_all("t", acked);
    check_contains(tuskd_log(broker), "store.fenced");
    restart(options, true);
    const uint64_t kept = info_of(topic_of(tusk, "t")).next_seq;
    check(kept >= durable && kept <= acked);
    expect_all("t", (uint32_t)kept);
    append_numbered(topic_of(tusk, "t"), 1, (uint32_t)kept, BEFORE, SIZE);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    session_end();
}

Test(backends, writes_that_begin_to_fail_fence_the_store)
{
    expect_fence("--backend uring --fsync 5ms" OPTIONS);
    expect_fence("--backend uring --direct off --fsync 5ms" OPTIONS);
    expect_fence("--backend pwrite --fsync 5ms" OPTIONS);
    expect_fence("--backend pwrite --direct off --fsync 5ms" OPTIONS);
}

/* What is allocated can be written through a mapping; what is not is refused. */
Test(backends, mapped_segments_are_written_where_files_may_not_grow)
{
    static const char options[] = "--backend mmap --fsync 5ms" OPTIONS;
    broker = tuskd_start(options);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 100, SIZE);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    limit_files(65536);
    unsigned char data[SIZE];
    uint32_t acked = 100;
    int result = 0;
    while (result == 0 && acked < 10000) {
        payload_fill(data, SIZE, 1, acked);
        result = tusk_append(topic, data, SIZE, NULL);
        acked += result == 0;
    }
    check_is(result, -ENOSPC);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    limit_files(RLIM_INFINITY);
    payload_fill(data, SIZE, 1, acked);
    wait_until(tusk_append(topic, data, SIZE, NULL) == 0, 10000);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    restart(options, true);
    expect_all("t", acked + 1);
    session_end();
}
