/*
 * Diary: see diary.h.
 * Runs on:    see diary.h.
 * Not here:   see diary.h.
 */
#include "tests/support/diary.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/check.h"

enum { DIARY_HEAD_BYTES = 64, INTENTS = 0, READINGS = 1, DURABLE_BELOW = 2, DIARIES_MAX = 128 };

static struct diary diaries[DIARIES_MAX]; /* of this process, for its life */
static size_t diaries_count;

struct diary *diary_new(const char *dir, uint32_t producer, uint32_t capacity)
{
    char path[256];
    check(diaries_count < DIARIES_MAX);
    struct diary *diary = &diaries[diaries_count++];
    (void)snprintf(path, sizeof path, "%s/diary-%u", dir, producer);
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check_say(fd >= 0, "cannot make %s: %m", path);
    const size_t appends_bytes = (size_t)capacity * sizeof *diary->appends;
    const size_t bytes = DIARY_HEAD_BYTES + appends_bytes + (size_t)capacity * sizeof *diary->read;
    check(ftruncate(fd, (off_t)bytes) == 0);
    unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check(memory != MAP_FAILED);
    (void)close(fd);
    diary->producer = producer;
    diary->capacity = capacity;
    diary->shared = (void *)memory;
    diary->appends = (void *)(memory + DIARY_HEAD_BYTES);
    diary->read = (void *)(memory + DIARY_HEAD_BYTES + appends_bytes);
    return diary;
}

static void publish(struct diary *diary, int which, uint32_t value)
{
    __atomic_store_n(&diary->shared[which], value, __ATOMIC_RELEASE); /* [D1] release */
}

static uint32_t look(const struct diary *diary, int which)
{
    return __atomic_load_n(&diary->shared[which], __ATOMIC_ACQUIRE); /* [D1] acquire */
}

static void state_set(struct diary *diary, uint32_t n, enum diary_state state)
{
    __atomic_store_n(&diary->appends[n].state, (uint32_t)state, __ATOMIC_RELEASE);
}

uint32_t diary_intend(struct diary *diary, size_t size)
{
    const uint32_t n = look(diary, INTENTS);
    check(n < diary->capacity);
    diary->appends[n].size = (uint32_t)size;
    state_set(diary, n, DIARY_INTENDED);
    publish(diary, INTENTS, n + 1);
    return n;
}

void diary_committed(struct diary *diary, uint32_t n, uint64_t seq)
{
    diary->appends[n].seq = seq;
    state_set(diary, n, DIARY_COMMITTED);
}

void diary_durable_below(struct diary *diary, uint32_t n)
{
    for (uint32_t i = look(diary, DURABLE_BELOW); i < n; i++) {
        if (diary->appends[i].state == DIARY_COMMITTED) {
            state_set(diary, i, DIARY_DURABLE);
        }
    }
    publish(diary, DURABLE_BELOW, n);
}

void diary_was_given(struct diary *diary, uint64_t seq, struct payload_id id)
{
    const uint32_t count = look(diary, READINGS);
    check(count < diary->capacity);
    diary->read[count] = (struct diary_reading){.seq = seq, .id = id};
    publish(diary, READINGS, count + 1);
}

uint32_t diary_intents(const struct diary *diary)
{
    return look(diary, INTENTS);
}

uint32_t diary_readings(const struct diary *diary)
{
    return look(diary, READINGS);
}
