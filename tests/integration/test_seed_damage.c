/*
 * Seed damage: faults 12 and 15 of the reference implementation: a damaged entry is an answer at
 * its own place, neither silence nor the end of the topic, and headers are covered as well.
 * How:        bytes in a stopped broker's segment files are changed, found by their payload.
 * Not here:   every bit of every file (a later tier).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/payload.h"
#include "tests/support/session.h"

enum { COUNT = 600, SIZE = 2000, VICTIM = 300, FRAME_HEADER_BYTES = 32 };

TestSuite(seed_damage);

/* What flip_in_file() looks for and does; nftw() has no argument of its own. */
static struct {
    unsigned char payload[SIZE];
    off_t offset; /* from the payload's first byte */
    unsigned char mask;
    int found;
} flip;

static int flip_in_file(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)walk;
    if (kind != FTW_F || info->st_size < SIZE) {
        return 0;
    }
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    check(fd >= 0);
    const size_t bytes = (size_t)info->st_size;
    unsigned char *file = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check(file != MAP_FAILED);
    unsigned char *at = memmem(file, bytes, flip.payload, SIZE);
    if (at != NULL) {
        at[flip.offset] ^= flip.mask;
        flip.found++;
    }
    check(msync(file, bytes, MS_SYNC) == 0);
    check(munmap(file, bytes) == 0);
    (void)close(fd);
    return 0;
}

/* Change one byte of the store, that far from the beginning of the victim's payload. */
static void damage(off_t offset, unsigned char mask)
{
    payload_fill(flip.payload, SIZE, 1, VICTIM);
    flip.offset = offset;
    flip.mask = mask;
    flip.found = 0;
    check(nftw(broker->data, flip_in_file, 16, FTW_PHYS) == 0);
    check_is(flip.found, 1);
}

static void fill_and_stop(void)
{
    broker = tuskd_start("");
    tusk = attach(broker);
    append_numbered(topic_of(tusk, "t"), 1, 0, COUNT, SIZE);
    tusk_disconnect(tusk);
    tuskd_stop(broker);
}

/* Everything but the victim is right; the victim is -EBADMSG, again and again, until a seek. */
static void expect_victim_alone_is_bad(void)
{
    struct tusk_entry entry;
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_is(info_of(topic).next_seq, COUNT);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < VICTIM; n++) {
        entry = reader_take(reader);
        expect_numbered(&entry, 1, n, SIZE);
    }
    for (int i = 0; i < 3; i++) {
        check_is(tusk_reader_next(reader, &entry, TEST_LONG_MS), -EBADMSG);
    }
    check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, VICTIM + 1));
    for (uint32_t n = VICTIM + 1; n < COUNT; n++) {
        entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, SIZE);
    }
    expect_end(reader);
    tusk_reader_close(reader);
    check_is(append_text(topic, "goes on"), COUNT);
}

Test(seed_damage, seed_fault_12_a_damaged_entry_is_named_and_the_others_stay_readable)
{
    fill_and_stop();
    damage(SIZE / 2, 0x10);
    tuskd_restart(broker, "");
    tusk = attach(broker);
    expect_victim_alone_is_bad();
    session_end();
}

Test(seed_damage, seed_fault_12_a_damaged_entry_does_not_look_like_the_end_to_the_cursor)
{
    struct tusk_entry entry;
    fill_and_stop();
    damage(0, 0x01);
    tuskd_restart(broker, "");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint32_t n = 0; n < VICTIM; n++) {
        check_is(tusk_read_next(topic, true, &entry), 1);
        check_is(entry.seq, n);
    }
    check_is(tusk_read_next(topic, false, &entry), -EBADMSG);
    check_is(tusk_read_next(topic, true, &entry), -EBADMSG);
    session_end();
}

Test(seed_damage, seed_fault_15_damage_in_a_header_is_found)
{
    /* one byte of each member of the frame's header, counted from its beginning */
    static const off_t places[] = {0, 4, 8, 16, 24, 26, 28};
    fill_and_stop();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct tusk_entry entry;
        damage(places[i] - FRAME_HEADER_BYTES, 0x04);
        tuskd_restart(broker, "");
        tusk = attach(broker);
        struct tusk_topic *topic = topic_of(tusk, "t");
        check_is(info_of(topic).next_seq, COUNT);
        struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, VICTIM);
        const int result = tusk_reader_next(reader, &entry, TEST_LONG_MS);
        check_say(result == -EBADMSG, "header byte %d damaged: tusk_reader_next is %d",
                  (int)places[i], result);
        tusk_reader_close(reader);
        session_end();
        damage(places[i] - FRAME_HEADER_BYTES, 0x04);
    }
}
