/*
 * Output: see output.h. stdio with a large buffer and no locks; the tool has one thread.
 */
#include "clientlib/cli/output.h"

#include "clientlib/cli/fail.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define OUTPUT_BUFFER_BYTES (64 * 1024)

static char output_buffer[OUTPUT_BUFFER_BYTES];
static int output_error; /* errno of the first write that failed since the last flush */

void output_init(void)
{
    setvbuf(stdout, output_buffer, _IOFBF, sizeof output_buffer);
}

enum output_outcome output_flush(void)
{
    if (fflush(stdout) != 0 && output_error == 0) {
        output_error = errno;
    }
    if (output_error == 0 && !ferror(stdout)) {
        return OUTPUT_FINE;
    }
    const int error = output_error;
    output_error = 0;
    clearerr(stdout);
    if (error == EPIPE) {
        return OUTPUT_CLOSED;
    }
    fail_system(0, error, "writing to stdout");
    return OUTPUT_FAILED;
}

void output_bytes(const void *data, size_t size)
{
    if (fwrite_unlocked(data, 1, size, stdout) != size && output_error == 0) {
        output_error = errno;
    }
}

void output_text(const char *text)
{
    output_bytes(text, strlen(text));
}

/* The bytes of the UTF-8 character at data, 0 if there is none that is well-formed. */
static size_t utf8_length(const unsigned char *data, size_t size)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char first = data[0];
    const size_t length = first < 0x80             ? 1
                          : (first & 0xe0) == 0xc0 ? 2
                          : (first & 0xf0) == 0xe0 ? 3
                          : (first & 0xf8) == 0xf0 ? 4
                                                   : 0;

    if (length == 0 || length > size) {
        return 0;
    }
    uint32_t code = length == 1 ? first : first & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((data[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (data[i] & 0x3fU);
    }
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < least[length] || code > 0x10ffff || surrogate ? 0 : length;
}

bool output_is_utf8(const void *bytes, size_t size)
{
    const unsigned char *data = bytes;

    while (size > 0) {
        const size_t length = utf8_length(data, size);
        if (length == 0) {
            return false;
        }
        data += length;
        size -= length;
    }
    return true;
}

static void json_string(const unsigned char *data, size_t size)
{
    size_t plain = 0; /* from here on nothing needs an escape */

    for (size_t i = 0; i < size; i++) {
        char escape[8];
        if (data[i] == '"' || data[i] == '\\') {
            snprintf(escape, sizeof escape, "\\%c", data[i]);
        } else if (data[i] == '\n') {
            snprintf(escape, sizeof escape, "\\n");
        } else if (data[i] < 0x20 || data[i] == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", data[i]);
        } else {
            continue;
        }
        output_bytes(data + plain, i - plain);
        output_text(escape);
        plain = i + 1;
    }
    output_bytes(data + plain, size - plain);
}

static void base64(const unsigned char *data, size_t size)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    const unsigned padding = 64; /* of the alphabet */

    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t bits = (uint32_t)data[i] << 16 |
                              (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                              (left > 2 ? data[i + 2] : 0);
        char four[4];
        for (unsigned c = 0; c < sizeof four; c++) {
            four[c] = alphabet[c > left ? padding : bits >> (18 - 6 * c) & 63];
        }
        output_bytes(four, sizeof four);
    }
}

void output_json_member(const char *name, const void *data, size_t size)
{
    const bool text = output_is_utf8(data, size);

    output_text("\"");
    output_text(name);
    output_text(text ? "\":\"" : "_base64\":\"");
    if (text) {
        json_string(data, size);
    } else {
        base64(data, size);
    }
    output_text("\"");
}

static bool name_byte_plain(unsigned char byte)
{
    return byte > 0x20 && byte != 0x7f && byte != '\\';
}

void output_name(const char *name)
{
    const bool utf8 = output_is_utf8(name, strlen(name));

    for (const char *c = name; *c; c++) {
        const unsigned char byte = (unsigned char)*c;
        char escape[8];
        if (name_byte_plain(byte) && (utf8 || byte < 0x80)) {
            output_bytes(c, 1);
        } else {
            snprintf(escape, sizeof escape, "\\x%02x", byte);
            output_text(escape);
        }
    }
}

size_t output_name_columns(const char *name)
{
    const bool utf8 = output_is_utf8(name, strlen(name));
    size_t columns = 0;

    for (const char *c = name; *c; c++) {
        const unsigned char byte = (unsigned char)*c;
        if (!name_byte_plain(byte) || (!utf8 && byte >= 0x80)) {
            columns += strlen("\\xNN");
        } else if ((byte & 0xc0) != 0x80) {
            columns++;
        }
    }
    return columns;
}
