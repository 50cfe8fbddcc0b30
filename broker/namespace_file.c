/* Namespace file: see namespace_file.h. */
#include "broker/namespace_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/fault.h"
#include "shm/cleanup.h"
#include "shm/crash_point.h"

static const char file_name[] = "NAMESPACE";
static const char new_name[] = "NAMESPACE.new";
static const char title[] = "# What tuskd knows of this namespace. It checks the file: change the "
                            "options with tusk config --namespace.\n";

enum {
    /* Each byte of a key as %XX, and some lines. */
    FILE_BYTES_MAX = 3 * NAMESPACE_KEY_BYTES_MAX + 1024,
    SUM_BYTES = sizeof "crc = 00000000\n" - 1,
};

const char *const namespace_option_names[NAMESPACE_OPTIONS] = {
    [NAMESPACE_FSYNC] = "fsync",
    [NAMESPACE_CONSISTENCY] = "consistency",
    [NAMESPACE_RETENTION] = "retention",
};

int namespace_option_find(const char *name)
{
    for (int at = 0; at < NAMESPACE_OPTIONS; at++) {
        if (strcmp(namespace_option_names[at], name) == 0) {
            return at;
        }
    }
    return -1;
}

/* Text. */

struct text {
    char bytes[FILE_BYTES_MAX + 1];
    size_t used;
};

static bool is_plain(unsigned char byte)
{
    return byte > ' ' && byte != '%' && byte != 0x7f;
}

static void text_add_key(struct text *text, const struct namespace_facts *facts)
{
    text->used += (size_t)sprintf(text->bytes + text->used, "key = ");
    for (uint32_t at = 0; at < facts->key_bytes; at++) {
        const unsigned char byte = facts->key[at];
        text->used +=
            (size_t)sprintf(text->bytes + text->used, is_plain(byte) ? "%c" : "%%%02X", (int)byte);
    }
    text->bytes[text->used++] = '\n';
}

static void text_make(struct text *text, const struct namespace_facts *facts)
{
    text->used = (size_t)sprintf(text->bytes, "%s", title);
    text_add_key(text, facts);
    for (int at = 0; at < NAMESPACE_OPTIONS; at++) {
        if (facts->options[at][0] != '\0') {
            text->used += (size_t)sprintf(text->bytes + text->used, "%s = %s\n",
                                          namespace_option_names[at], facts->options[at]);
        }
    }
    text->used += (size_t)sprintf(text->bytes + text->used, "crc = %08" PRIx32 "\n",
                                  checksum_bytes(text->bytes, text->used));
}

static int digit(char character)
{
    static const char digits[] = "0123456789ABCDEF";
    const char *const found = character == '\0' ? NULL : strchr(digits, character);
    return found == NULL ? -1 : (int)(found - digits);
}

static int key_parse(const char *value, struct namespace_facts *facts)
{
    facts->key_bytes = 0;
    while (*value != '\0') {
        if (facts->key_bytes == sizeof facts->key) {
            return -EBADMSG;
        }
        int byte = (unsigned char)*value++;
        if (byte == '%') {
            const int high = digit(value[0]);
            const int low = high < 0 ? -1 : digit(value[1]);
            if (low < 0) {
                return -EBADMSG;
            }
            byte = high * 16 + low;
            value += 2;
        }
        facts->key[facts->key_bytes++] = (unsigned char)byte;
    }
    return facts->key_bytes > 0 && memchr(facts->key, 0, facts->key_bytes) == NULL ? 0 : -EBADMSG;
}

/* One line "name = value", its end cut off. */
static int line_parse(char *line, struct namespace_facts *facts)
{
    if (line[0] == '#') {
        return 0;
    }
    char *const sign = strstr(line, " = ");
    if (sign == NULL) {
        return -EBADMSG;
    }
    *sign = '\0';
    const char *const value = sign + strlen(" = ");
    if (strcmp(line, "key") == 0) {
        return key_parse(value, facts);
    }
    const int option = namespace_option_find(line);
    const size_t bytes = strlen(value);
    if (option < 0 || bytes == 0 || bytes >= NAMESPACE_OPTION_BYTES) {
        return -EBADMSG;
    }
    memcpy(facts->options[option], value, bytes + 1);
    return 0;
}

static int text_parse(struct text *text, struct namespace_facts *facts)
{
    char sum[SUM_BYTES + 1];
    *facts = (struct namespace_facts){0};
    if (text->used < SUM_BYTES || memchr(text->bytes, 0, text->used) != NULL) {
        return -EBADMSG;
    }
    const size_t covered = text->used - SUM_BYTES;
    snprintf(sum, sizeof sum, "crc = %08" PRIx32 "\n", checksum_bytes(text->bytes, covered));
    if (memcmp(text->bytes + covered, sum, SUM_BYTES) != 0) {
        return -EBADMSG;
    }
    text->bytes[covered] = '\0';
    char *rest;
    for (char *line = strtok_r(text->bytes, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        const int result = line_parse(line, facts);
        if (result != 0) {
            return result;
        }
    }
    return facts->key_bytes > 0 ? 0 : -EBADMSG;
}

/* Files. */

static int refuse(struct fault *fault, int result, const char *path, const char *what)
{
    return fault_set(fault, result, "%s/%s %s: %s", path, file_name, what, strerror(-result));
}

static int text_read(struct io *io, struct io_file *file, struct text *text)
{
    uint64_t bytes;
    int result = io_file_size(io, file, &bytes);
    if (result == 0 && bytes > FILE_BYTES_MAX) {
        result = -EBADMSG;
    }
    if (result == 0 && bytes > 0) {
        result = io_read_now(io, file, text->bytes, bytes, 0);
    }
    if (result == 0) {
        text->used = (size_t)bytes;
        text->bytes[bytes] = '\0';
    }
    return result;
}

int namespace_file_read(struct io *io, struct io_file *dir, const char *path,
                        struct namespace_facts *facts, struct fault *fault)
{
    struct io_file *file;
    cleanup_free struct text *text = malloc(sizeof *text);
    if (text == NULL) {
        return fault_set(fault, -ENOMEM, "no memory to read %s/%s", path, file_name);
    }
    int result = io_file_open(io, dir, file_name, 0, &file);
    if (result == -ENOENT) {
        return result;
    }
    if (result != 0) {
        return refuse(fault, result, path, "cannot be opened");
    }
    result = text_read(io, file, text);
    io_file_close(io, file);
    if (result == 0) {
        result = text_parse(text, facts);
    }
    if (result == -EBADMSG || result == -ENODATA) {
        return fault_set(fault, -EBADMSG,
                         "%s/%s is damaged, or was changed by hand, so nobody knows whose store "
                         "this is: bring the file back, or move the directory away",
                         path, file_name);
    }
    return result == 0 ? 0 : refuse(fault, result, path, "cannot be read");
}

static int text_write(struct io *io, struct io_file *dir, const struct text *text)
{
    struct io_file *file;
    int result = io_unlink(io, dir, new_name);
    if (result != 0 && result != -ENOENT) {
        return result;
    }
    result = io_file_open(io, dir, new_name, IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &file);
    if (result != 0) {
        return result;
    }
    crash_point("namespace.file_made");
    result = io_write_now(io, file, text->bytes, text->used, 0);
    if (result == 0) {
        crash_point("namespace.file_written");
        result = io_sync_now(io, file);
    }
    io_file_close(io, file);
    if (result == 0) {
        result = io_rename(io, dir, new_name, file_name);
    }
    if (result == 0) {
        crash_point("namespace.file_named");
        result = io_sync_now(io, dir);
    }
    return result;
}

int namespace_file_write(struct io *io, struct io_file *dir, const char *path,
                         const struct namespace_facts *facts, struct fault *fault)
{
    cleanup_free struct text *text = malloc(sizeof *text);
    if (text == NULL) {
        return fault_set(fault, -ENOMEM, "no memory to write %s/%s", path, file_name);
    }
    text_make(text, facts);
    const int result = text_write(io, dir, text);
    return result == 0 ? 0 : refuse(fault, result, path, "cannot be written");
}
