/* Namespace name: see namespace_name.h. */
#include "broker/namespace_name.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "broker/utf8.h"

/* FNV-1a; the attempts differ from the first byte on. */
static uint64_t key_hash(const unsigned char *key, size_t bytes, unsigned attempt)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) + attempt;
    for (size_t at = 0; at < bytes; at++) {
        hash = (hash ^ key[at]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Bytes of the character at the beginning of the text; 1 for a byte that begins none. */
static size_t character_bytes(const unsigned char *text, size_t bytes)
{
    const size_t length = utf8_length(text, bytes);
    return length == 0 ? 1 : length;
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
