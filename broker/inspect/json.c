/* JSON: see json.h. */
#include "broker/inspect/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "broker/utf8.h"

static bool is_utf8(const unsigned char *data, size_t size)
{
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

static void string_print(const unsigned char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '"' || data[i] == '\\') {
            printf("\\%c", data[i]);
        } else if (data[i] < 0x20 || data[i] == 0x7f) {
            printf("\\u%04x", data[i]);
        } else {
            putchar_unlocked(data[i]);
        }
    }
}

static void base64_print(const unsigned char *data, size_t size)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    const unsigned padding = 64; /* of the alphabet */
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t bits = (uint32_t)data[i] << 16 |
                              (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                              (left > 2 ? data[i + 2] : 0);
        for (unsigned c = 0; c < 4; c++) {
            putchar_unlocked(alphabet[c > left ? padding : bits >> (18 - 6 * c) & 63]);
        }
    }
}

void json_begin(const char *type)
{
    printf("{\"type\":\"%s\"", type);
}

void json_bytes(const char *name, const void *bytes, size_t size)
{
    const bool text = is_utf8(bytes, size);
    printf(",\"%s%s\":\"", name, text ? "" : "_base64");
    if (text) {
        string_print(bytes, size);
    } else {
        base64_print(bytes, size);
    }
    putchar_unlocked('"');
}

void json_text(const char *name, const char *text)
{
    json_bytes(name, text, strlen(text));
}

void json_number(const char *name, uint64_t number)
{
    printf(",\"%s\":%" PRIu64, name, number);
}

void json_bool(const char *name, bool value)
{
    printf(",\"%s\":%s", name, value ? "true" : "false");
}

void json_end(void)
{
    printf("}\n");
}
