/* Namespace name: see namespace_name.h. */
#include "broker/namespace_name.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* FNV-1a; the attempts differ from the first byte on. */
static uint64_t key_hash(const unsigned char *key, size_t bytes, unsigned attempt)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) + attempt;
    for (size_t at = 0; at < bytes; at++) {
        hash = (hash ^ key[at]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Bytes of the UTF-8 character at the beginning of the text; 1 for a byte that begins none. */
static size_t character_bytes(const unsigned char *text, size_t bytes)
{
    static const struct {
        unsigned char mask;
        unsigned char lead;
        uint32_t least; /* what needs so many bytes */
    } forms[] = {{0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t form = 0; form < sizeof forms / sizeof forms[0]; form++) {
        const size_t length = form + 2;
        if ((text[0] & forms[form].mask) != forms[form].lead || length > bytes) {
            continue;
        }
        uint32_t point = text[0] & (unsigned char)~forms[form].mask;
        for (size_t at = 1; at < length; at++) {
            if ((text[at] & 0xc0) != 0x80) {
                return 1;
            }
            point = point << 6 | (text[at] & 0x3f);
        }
        const bool surrogate = point >= 0xd800 && point <= 0xdfff;
        return point < forms[form].least || point > 0x10ffff || surrogate ? 1 : length;
    }
    return 1;
}

static bool is_kept(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.';
}

/* The key, sanitised, as far as it fits; false: it does not, or nothing but '_' is left. */
static bool sanitise(const unsigned char *key, size_t bytes, struct namespace_name *name)
{
    size_t used = 0;
    bool any = false;
    for (size_t at = 0; at < bytes; at += character_bytes(key + at, bytes - at)) {
        if (used == NAMESPACE_NAME_PLAIN_BYTES_MAX) {
            return false;
        }
        name->text[used] = (char)(is_kept(key[at]) ? key[at] : '_');
        any = any || name->text[used] != '_';
        used++;
    }
    name->text[used] = '\0';
    return any && strcmp(name->text, ".") != 0 && strcmp(name->text, "..") != 0;
}

struct namespace_name namespace_name(const void *key, size_t bytes, unsigned attempt)
{
    struct namespace_name name = {{0}};
    if (!sanitise(key, bytes, &name)) {
        snprintf(name.text, sizeof name.text, "ns_%016" PRIx64, key_hash(key, bytes, 0));
    }
    if (attempt > 0) {
        const size_t used = strlen(name.text);
        snprintf(name.text + used, sizeof name.text - used, "-%016" PRIx64,
                 key_hash(key, bytes, attempt));
    }
    return name;
}
