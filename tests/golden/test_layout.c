/*
 * Layout against layout.txt: a change of what programs share or store is a decision, not an
 * accident. The file has one line for each constant, struct and field, and the digest. Run with
 * TUSK_GOLDEN_WRITE=1 in the environment, this program writes the file anew.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/layout.h"

enum { TEXT_BYTES = 64 * 1024 };

static char expected[TEXT_BYTES];
static char actual[TEXT_BYTES];

static void golden_path(char path[4096])
{
    const char *root = getenv("TUSK_SOURCE_DIR");
    cr_assert_not_null(root, "TUSK_SOURCE_DIR names the root of the source; ctest sets it");
    snprintf(path, 4096, "%s/tests/golden/layout.txt", root);
}

static void layout_print(FILE *out)
{
    size_t count;
    const struct layout_item *items = layout_items(&count);
    fprintf(out, "digest %016lx\n", layout_digest());
    for (size_t i = 0; i < count; i++) {
        const struct layout_item *item = &items[i];
        if (item->bytes == 0) {
            fprintf(out, "constant %s = %lu\n", item->name, item->value);
        } else if (strchr(item->name, '.') == NULL) {
            fprintf(out, "struct %s: %lu bytes\n", item->name, item->bytes);
        } else {
            fprintf(out, "    %s: %lu bytes at %lu\n", item->name, item->bytes, item->value);
        }
    }
}

static bool text_has_line(const char *text, const char *line, size_t length)
{
    for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
        if (strncmp(at, line, length) == 0 && at[length] == '\n') {
            return true;
        }
    }
    return false;
}

/* Prints the lines of `text` that `other` does not have; returns how many. */
static int lines_missing(const char *text, const char *other, char sign)
{
    int missing = 0;
    for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
        const size_t length = strcspn(at, "\n");
        if (!text_has_line(other, at, length)) {
            fprintf(stderr, "%c %.*s\n", sign, (int)length, at);
            missing++;
        }
    }
    return missing;
}

static void text_read(const char *path)
{
    FILE *file = fopen(path, "re");
    cr_assert_not_null(file, "cannot read %s", path);
    const size_t length = fread(expected, 1, sizeof expected - 1, file);
    fclose(file);
    cr_assert(length > 0 && expected[length - 1] == '\n', "%s does not end with a line", path);
}

Test(golden_layout, is_as_recorded)
{
    char path[4096];
    golden_path(path);
    if (getenv("TUSK_GOLDEN_WRITE") != NULL) {
        FILE *file = fopen(path, "we");
        cr_assert_not_null(file, "cannot write %s", path);
        layout_print(file);
        cr_assert_eq(fclose(file), 0, "cannot write %s", path);
    }
    text_read(path);
    FILE *memory = fmemopen(actual, sizeof actual, "w");
    cr_assert_not_null(memory);
    layout_print(memory);
    cr_assert_eq(fclose(memory), 0);
    const int gone = lines_missing(expected, actual, '-');
    const int new = lines_missing(actual, expected, '+');
    cr_assert(
        gone == 0 && new == 0 && strcmp(expected, actual) == 0,
        "the layout of shared memory is not the one of %s (-: recorded, +: compiled). If that "
        "is meant, raise LAYOUT_VERSION (shm/layout.h) where meanings change too, and "
        "regenerate: TUSK_GOLDEN_WRITE=1 ctest --test-dir BUILD -R test_golden_layout",
        path);
}
