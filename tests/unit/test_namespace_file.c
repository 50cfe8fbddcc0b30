/*
 * Proves that NAMESPACE holds what was written, whatever the key; that every change of a byte, and every
 * cut, is found; and that a power loss at any operation of a write leaves the old facts or the new.
 * How: a memory disk that fails or loses power at each operation in turn.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/io_memory.h"
#include "broker/memory_disk.h"
#include "broker/namespace_file.h"

TestSuite(namespace_file);

static struct memory_disk *disk;
static struct io *io;
static struct io_file *dir;
static struct fault fault;

static void begin(void)
{
    disk = memory_disk_new(7);
    io = io_memory_open(disk);
    cr_assert_eq(io_dir_make(io, NULL, "/n"), 0);
    cr_assert_eq(io_dir_open(io, NULL, "/n", &dir), 0);
}

static struct namespace_facts facts_of(const char *key, uint32_t bytes, const char *fsync)
{
    struct namespace_facts facts = {.key_bytes = bytes};
    memcpy(facts.key, key, bytes);
    strcpy(facts.options[0], fsync);
    return facts;
}

static bool same(const struct namespace_facts *a, const struct namespace_facts *b)
{
    return a->key_bytes == b->key_bytes && memcmp(a->key, b->key, a->key_bytes) == 0 &&
           memcmp(a->options, b->options, sizeof a->options) == 0;
}

static int read_back(struct namespace_facts *facts)
{
    return namespace_file_read(io, dir, "/n", facts, &fault);
}

Test(namespace_file, any_key_and_any_options_come_back)
{
    char every[NAMESPACE_KEY_BYTES_MAX];
    begin();
    struct namespace_facts found;
    cr_expect_eq(read_back(&found), -ENOENT);
    for (size_t i = 0; i < sizeof every; i++) {
        every[i] = (char)(1 + i % 255);
    }
    for (uint32_t bytes = 1; bytes <= sizeof every; bytes += 31) {
        struct namespace_facts facts = facts_of(every, bytes, bytes % 2 == 0 ? "" : "200 ms");
        strcpy(facts.options[2], bytes % 3 == 0 ? "consumed,bytes=10GiB" : "");
        cr_assert_eq(namespace_file_write(io, dir, "/n", &facts, &fault), 0);
        cr_assert_eq(read_back(&found), 0, "%s", fault.text);
        cr_expect(same(&facts, &found));
    }
}

static size_t content_read(char **content)
{
    struct io_file *file;
    uint64_t bytes;
    cr_assert_eq(io_file_open(io, dir, "NAMESPACE", 0, &file), 0);
    cr_assert_eq(io_file_size(io, file, &bytes), 0);
    *content = malloc(bytes);
    cr_assert_eq(io_read_now(io, file, *content, bytes, 0), 0);
    io_file_close(io, file);
    return bytes;
}

static void content_write(const char *content, size_t bytes)
{
    struct io_file *file;
    cr_assert_eq(io_unlink(io, dir, "NAMESPACE"), 0);
    cr_assert_eq(io_file_open(io, dir, "NAMESPACE", IO_OPEN_CREATE, &file), 0);
    if (bytes > 0) {
        cr_assert_eq(io_write_now(io, file, content, bytes, 0), 0);
    }
    io_file_close(io, file);
}

Test(namespace_file, every_flipped_bit_and_every_cut_is_found)
{
    char *content;
    struct namespace_facts found;
    begin();
    const struct namespace_facts facts = facts_of("orders/eu", 9, "each");
    cr_assert_eq(namespace_file_write(io, dir, "/n", &facts, &fault), 0);
    const size_t bytes = content_read(&content);
    for (size_t at = 0; at < bytes; at++) {
        content[at] = (char)(content[at] ^ (1 << at % 8));
        content_write(content, bytes);
        cr_expect_eq(read_back(&found), -EBADMSG, "byte %zu", at);
        cr_expect_not_null(strstr(fault.text, "/n/NAMESPACE"));
        content[at] = (char)(content[at] ^ (1 << at % 8));
        content_write(content, at);
        cr_expect_eq(read_back(&found), -EBADMSG, "cut at %zu", at);
    }
    content_write(content, bytes);
    cr_expect_eq(read_back(&found), 0);
    free(content);
}

/* What a person, or another program, may have put there. */
Test(namespace_file, other_texts_are_refused)
{
    static const char *const texts[] = {"\n\n\n\n\n", "crc = 00000000\n",
                                        "key = a\nkey = b\ncrc = 00000000\n"};
    struct namespace_facts found;
    begin();
    const struct namespace_facts facts = facts_of("k", 1, "");
    cr_assert_eq(namespace_file_write(io, dir, "/n", &facts, &fault), 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        content_write(texts[i], strlen(texts[i]));
        cr_expect_eq(read_back(&found), -EBADMSG);
    }
    char *huge = calloc(1, 1 << 20);
    content_write(huge, 1 << 20);
    cr_expect_eq(read_back(&found), -EBADMSG);
    free(huge);
}

static void end(void)
{
    io_file_close(io, dir);
    io_close(io);
    memory_disk_free(disk);
}

Test(namespace_file, a_write_that_fails_leaves_the_old_facts_or_the_new)
{
    const struct namespace_facts old = facts_of("k", 1, "each");
    const struct namespace_facts new = facts_of("k", 1, "none");
    int result = -1;
    for (uint64_t n = 0; result != 0; n++) {
        struct namespace_facts found;
        begin();
        cr_assert_eq(namespace_file_write(io, dir, "/n", &old, &fault), 0);
        memory_disk_fail(disk, n, -EIO, false);
        result = namespace_file_write(io, dir, "/n", &new, &fault);
        disk->fail_at = 0;
        cr_assert_eq(read_back(&found), 0, "failing operation %llu: %s", (unsigned long long)n,
                     fault.text);
        cr_expect(same(&found, &new) || (result != 0 && same(&found, &old)));
        /* What a failed one has left is not in the way of the next. */
        cr_assert_eq(namespace_file_write(io, dir, "/n", &new, &fault), 0);
        cr_assert_eq(read_back(&found), 0);
        cr_expect(same(&found, &new));
        end();
        cr_assert_lt(n, 100);
    }
}

Test(namespace_file, power_lost_at_any_operation_leaves_the_old_facts_or_the_new)
{
    const struct namespace_facts old = facts_of("k", 1, "each");
    const struct namespace_facts new = facts_of("k", 1, "none");
    for (uint64_t round = 0; round < 400; round++) {
        struct namespace_facts found;
        begin();
        cr_assert_eq(io_sync_now(io, dir), 0);
        struct io_file *root;
        cr_assert_eq(io_dir_open(io, NULL, "/", &root), 0);
        cr_assert_eq(io_sync_now(io, root), 0);
        io_file_close(io, root);
        cr_assert_eq(namespace_file_write(io, dir, "/n", &old, &fault), 0);
        memory_disk_fail(disk, round % 20, -EIO, true);
        const int result = namespace_file_write(io, dir, "/n", &new, &fault);
        disk->fail_at = 0;
        io_file_close(io, dir);
        io_close(io);
        disk->random += round * 977;
        memory_disk_power_off(disk, LOSE_RANDOM);
        io = io_memory_open(disk);
        cr_assert_eq(io_dir_open(io, NULL, "/n", &dir), 0);
        cr_assert_eq(read_back(&found), 0, "round %llu: %s", (unsigned long long)round, fault.text);
        cr_expect(same(&found, &new) || (result != 0 && same(&found, &old)));
        end();
    }
}
