/*
 * File systems: ext4, xfs, btrfs and tmpfs each keep what a broker promises, with every backend,
 * through the page cache and past it: also when they are full, and when they have space again.
 * How:        a new file system per test, on a loop device; real brokers, killed and started again.
 * Not here:   power loss (test_store_power.c has a model of a disk).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/filesystem.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

enum { SIZE = 20000, MIB = 1024 * 1024, FREE_BYTES = 16 * MIB, ATTEMPTS = 3000 };

#define OPTIONS " --segment 1M --chunk 64K --arena 8M"

TestSuite(filesystems, .timeout = 600);

static const struct {
    const char *backend;
    bool direct;
} variants[] = {
    {"uring", true}, {"uring", false}, {"pwrite", true}, {"pwrite", false}, {"mmap", false},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

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

/* The topic holds the entries [0, count) of a producer and no others. */
static void expect_all(const char *name, uint32_t producer, uint32_t count)
{
    struct tusk_topic *topic = topic_of(tusk, name);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < count; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, producer, n, SIZE);
    }
    expect_end(reader);
    tusk_reader_close(reader);
    tusk_topic_close(topic);
}

/* Appends until the disk is full; returns how many were acknowledged. */
static uint32_t append_until_full(struct tusk_topic *topic, uint32_t producer)
{
    unsigned char *data = malloc(SIZE);
    uint32_t acked = 0;
    int result = 0;
    while (acked < ATTEMPTS && result == 0) {
        payload_fill(data, SIZE, producer, acked);
        result = tusk_append(topic, data, SIZE, NULL);
        acked += result == 0;
    }
    check_is(result, -ENOSPC);
    free(data);
    return acked;
}

/* A kill, a full disk, and space that comes back, on a store of its own. */
static void exercise(const char *mount, const char *options, int number)
{
    enum { FIRST = 200, MORE = 100 };
    broker = tuskd_new();
    (void)snprintf(broker->data, sizeof broker->data, "%s/data%d", mount, number);
    tuskd_restart(broker, options);
    tusk = attach(broker);
    append_numbered(topic_of(tusk, "first"), 1, 0, FIRST, SIZE);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    restart(options, true);
    expect_all("first", 1, FIRST);

    const int ballast = filesystem_fill(mount, FREE_BYTES);
    const uint32_t acked = append_until_full(topic_of(tusk, "filling"), 2);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    expect_all("filling", 2, acked);
    restart(options, true);
    expect_all("first", 1, FIRST);
    expect_all("filling", 2, acked);

    struct tusk_topic *more = topic_of(tusk, "more");
    check_ok(tusk_topic_delete(tusk, "filling")); /* of the store's own space */
    wait_until(tusk_append(more, "", 0, NULL) == 0, 5000);
    tusk_topic_close(more);
    check_ok(tusk_topic_delete(tusk, "more"));
    append_numbered(topic_of(tusk, "more"), 3, 0, MORE, SIZE);
    const uint32_t again = append_until_full(topic_of(tusk, "filling"), 4);
    (void)close(ballast); /* of the disk's */
    struct tusk_topic *filling = topic_of(tusk, "filling");
    unsigned char *data = malloc(SIZE);
    payload_fill(data, SIZE, 4, again);
    wait_until(tusk_append(filling, data, SIZE, NULL) == 0, 10000);
    free(data);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    restart(options, false);
    expect_all("first", 1, FIRST);
    expect_all("more", 3, MORE);
    expect_all("filling", 4, again + 1);
    tusk_disconnect(tusk);
    tuskd_kill(broker);
}

/* direct: what --direct is where a variant bypasses the page cache. */
static void exercise_all(const char *kind, uint64_t bytes, const char *direct)
{
    char mount[SCRATCH_PATH_BYTES];
    const char *why = filesystem_mount(mount, kind, bytes);
    if (why != NULL) {
        cr_skip_test("%s: %s", kind, why);
    }
    for (int i = 0; i < VARIANTS; i++) {
        char options[256];
        (void)snprintf(options, sizeof options, "--backend %s --direct %s%s", variants[i].backend,
                       variants[i].direct ? direct : "off", OPTIONS);
        exercise(mount, options, i);
    }
}

Test(filesystems, ext4)
{
    exercise_all("ext4", 256U * MIB, "on");
}

Test(filesystems, xfs)
{
    exercise_all("xfs", 384U * MIB, "on");
}

Test(filesystems, btrfs)
{
    exercise_all("btrfs", 384U * MIB, "on");
}

/* Kernels before 6.6 have no O_DIRECT there. */
Test(filesystems, tmpfs)
{
    exercise_all("tmpfs", 256U * MIB, "auto");
}
