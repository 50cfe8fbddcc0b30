/*
 * Layout: the arithmetic that guards offsets never wraps, and the table of shared structs is
 * complete: it has every member that the headers declare, and the fields of each struct follow each
 * other without a hole that is not padding between writers.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/lane.h"
#include "shm/layout.h"
#include "shm/ledger.h"

Test(shm_layout, inside_never_wraps)
{
    cr_assert(layout_inside(0, 0, 0));
    cr_assert(layout_inside(0, 10, 10));
    cr_assert(layout_inside(10, 0, 10));
    cr_assert(layout_inside(4, 6, 10));
    cr_assert_not(layout_inside(5, 6, 10));
    cr_assert_not(layout_inside(11, 0, 10));
    cr_assert_not(layout_inside(UINT64_MAX, 1, 10));
    cr_assert_not(layout_inside(UINT64_MAX, 2, UINT64_MAX));
    cr_assert_not(layout_inside(1, UINT64_MAX, 10));
    cr_assert_not(layout_inside(UINT64_MAX - 3, 8, 10));
    cr_assert(layout_inside(UINT64_MAX, 0, UINT64_MAX));
}

Test(shm_layout, alignment)
{
    for (uint64_t value = 0; value < 300; value++) {
        for (uint64_t alignment = 1; alignment <= 128; alignment *= 2) {
            const uint64_t up = align_up(value, alignment);
            const uint64_t down = align_down(value, alignment);
            cr_assert(up % alignment == 0 && up >= value && up - value < alignment);
            cr_assert(down % alignment == 0 && down <= value && value - down < alignment);
        }
    }
    cr_assert_eq(align_up(UINT64_C(1) << 40 | 1, 4096), (UINT64_C(1) << 40) + 4096);
}

Test(shm_layout, powers_of_two)
{
    uint64_t powers = 0;
    for (uint64_t value = 0; value <= 1024; value++) {
        powers += is_power_of_two(value);
    }
    cr_assert_eq(powers, 11);
    cr_assert(is_power_of_two(UINT64_C(1) << 63));
    cr_assert_not(is_power_of_two(UINT64_MAX));
}

static bool is_field_of(const struct layout_item *field, const struct layout_item *shape)
{
    const size_t length = strlen(shape->name);
    return strncmp(field->name, shape->name, length) == 0 && field->name[length] == '.';
}

/* The fields behind `shape`, which must tile it; returns how many. */
static size_t fields_tile(const struct layout_item *shape, size_t left)
{
    size_t count = 0;
    uint64_t end = 0;
    for (; count < left && is_field_of(shape + 1 + count, shape); count++) {
        const struct layout_item *field = shape + 1 + count;
        cr_assert(field->value == end || field->value == align_up(end, WRITER_STRIDE),
                  "%s begins at %lu, what precedes it ends at %lu", field->name, field->value, end);
        end = field->value + field->bytes;
    }
    cr_assert_gt(count, 0, "%s has no fields", shape->name);
    cr_assert(shape->bytes == end || shape->bytes == align_up(end, WRITER_STRIDE),
              "%s has %lu bytes, its fields end at %lu", shape->name, shape->bytes, end);
    return count;
}

Test(shm_layout, every_field_is_listed)
{
    size_t count;
    const struct layout_item *items = layout_items(&count);
    size_t i = 0;
    while (items[i].bytes == 0) {
        i++;
    }
    cr_assert_gt(i, 0);
    size_t shapes = 0;
    while (i < count) {
        i += 1 + fields_tile(&items[i], count - i - 1);
        shapes++;
    }
    cr_assert_eq(shapes, 21);
}

static bool is_listed(const char *type, const char *member, size_t length)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%.*s", type, (int)length, member);
    size_t count;
    const struct layout_item *items = layout_items(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(items[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The members that a line of a struct declares: "type name;" or "type name[...];". */
static unsigned members_listed(const char *type, const char *line)
{
    static const char *const letters = "abcdefghijklmnopqrstuvwxyz_0123456789";
    unsigned members = 0;
    const char *comment = strstr(line, "/*");
    for (const char *end = strchr(line, ';'); end != NULL; end = strchr(end + 1, ';')) {
        if (comment != NULL && comment < end) {
            break;
        }
        const char *bracket = memchr(line, '[', (size_t)(end - line));
        const char *last = bracket != NULL ? bracket : end;
        const char *first = last;
        while (first > line && strchr(letters, first[-1]) != NULL) {
            first--;
        }
        cr_assert(is_listed(type, first, (size_t)(last - first)), "%s.%.*s is not listed in %s",
                  type, (int)(last - first), first, "shm/layout.c");
        members++;
    }
    return members;
}

/* Counts the members of the listed structs in one header; each must be listed. */
static unsigned header_members(const char *path)
{
    char line[256];
    char type[64] = "";
    unsigned members = 0;
    size_t count;
    const struct layout_item *items = layout_items(&count);
    FILE *file = fopen(path, "re");
    cr_assert_not_null(file, "cannot read %s", path);
    while (fgets(line, sizeof line, file) != NULL) {
        char name[64];
        if (sscanf(line, "struct %63[a-z_] {", name) == 1 && strstr(line, "{\n") != NULL) {
            for (size_t i = 0; i < count; i++) {
                if (strcmp(items[i].name, name) == 0) {
                    memcpy(type, name, sizeof type);
                }
            }
        } else if (line[0] == '}') {
            type[0] = '\0';
        } else if (type[0] != '\0') {
            members += members_listed(type, line);
        }
    }
    fclose(file);
    return members;
}

/* Padding before the next writer's words can hide a member from every_field_is_listed. */
Test(shm_layout, every_member_in_the_headers_is_listed)
{
    static const char *const headers[] = {"frame", "submission", "lane",   "directory",
                                          "pins",  "ledger",     "control"};
    const char *root = getenv("TUSK_SOURCE_DIR");
    cr_assert_not_null(root, "TUSK_SOURCE_DIR names the root of the source; ctest sets it");
    unsigned members = 0;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/shm/%s.h", root, headers[i]);
        members += header_members(path);
    }
    size_t count;
    const struct layout_item *items = layout_items(&count);
    for (size_t i = 0; i < count; i++) {
        members -= strchr(items[i].name, '.') != NULL ? 1 : 0;
    }
    cr_assert_eq(members, 0, "the headers have members that were not found in them");
}

Test(shm_layout, digest_covers_the_items)
{
    size_t count;
    const struct layout_item *items = layout_items(&count);
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < count; i++) {
        const uint64_t words[] = {items[i].value, items[i].bytes};
        const unsigned char *bytes = (const unsigned char *)words;
        for (size_t at = 0; at < sizeof words; at++) {
            digest = (digest ^ bytes[at]) * UINT64_C(0x100000001b3);
        }
    }
    cr_assert_eq(layout_digest(), digest);
}

/* Which 128 bytes a word lies in: no two writers share any. */
#define STRIDE_OF(type, member) (offsetof(struct type, member) / WRITER_STRIDE)

Test(shm_layout, writers_keep_apart)
{
    const uint64_t client[] = {STRIDE_OF(lane_shm, sq_tail), STRIDE_OF(lane_shm, cq_head),
                               STRIDE_OF(lane_shm, waiting), STRIDE_OF(lane_shm, fences)};
    const uint64_t engine[] = {STRIDE_OF(lane_shm, cq_tail), STRIDE_OF(lane_shm, sq_head),
                               STRIDE_OF(lane_shm, parked), STRIDE_OF(lane_shm, revoked),
                               STRIDE_OF(lane_shm, epoch)};
    for (size_t i = 0; i < sizeof client / sizeof client[0]; i++) {
        cr_assert_neq(client[i], STRIDE_OF(lane_shm, header));
        for (size_t j = 0; j < sizeof engine / sizeof engine[0]; j++) {
            cr_assert_neq(client[i], engine[j]);
        }
    }
    cr_assert_eq(offsetof(struct lane_record_shm, intent_valid) / 64,
                 offsetof(struct lane_record_shm, intent_kind) / 64, "an intent is one cache line");
}
