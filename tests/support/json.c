/* JSON: see json.h. */
#include "tests/support/json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

enum { LEVELS_MAX = 64 };

struct reader {
    const char *at;
    const char *end;
    int levels;
};

static bool value(struct reader *reader);

static void space(struct reader *reader)
{
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) != NULL) {
        reader->at++;
    }
}

static bool take(struct reader *reader, char wanted)
{
    const bool there = reader->at < reader->end && *reader->at == wanted;
    reader->at += there;
    return there;
}

static bool word(struct reader *reader, const char *wanted)
{
    while (*wanted != '\0') {
        if (!take(reader, *wanted++)) {
            return false;
        }
    }
    return true;
}

static bool escape(struct reader *reader)
{
    if (take(reader, 'u')) {
        for (int i = 0; i < 4; i++) {
            if (reader->at >= reader->end || !isxdigit((unsigned char)*reader->at++)) {
                return false;
            }
        }
        return true;
    }
    return reader->at < reader->end && strchr("\"\\/bfnrt", *reader->at++) != NULL;
}

static bool string(struct reader *reader)
{
    if (!take(reader, '"')) {
        return false;
    }
    while (reader->at < reader->end && *reader->at != '"') {
        const unsigned char byte = (unsigned char)*reader->at++;
        if (byte < 0x20 || (byte == '\\' && !escape(reader))) {
            return false;
        }
    }
    return take(reader, '"');
}

static bool digits(struct reader *reader)
{
    const char *first = reader->at;
    while (reader->at < reader->end && isdigit((unsigned char)*reader->at)) {
        reader->at++;
    }
    return reader->at > first;
}

static bool number(struct reader *reader)
{
    (void)take(reader, '-');
    const bool zero = reader->at < reader->end && *reader->at == '0';
    const char *first = reader->at;
    if (!digits(reader) || (zero && reader->at > first + 1)) {
        return false;
    }
    if (take(reader, '.') && !digits(reader)) {
        return false;
    }
    if (take(reader, 'e') || take(reader, 'E')) {
        if (!take(reader, '-')) {
            (void)take(reader, '+');
        }
        return digits(reader);
    }
    return true;
}

static bool items(struct reader *reader, char close, bool named)
{
    space(reader);
    if (take(reader, close)) {
        return true;
    }
    do {
        space(reader);
        if (named) {
            if (!string(reader)) {
                return false;
            }
            space(reader);
            if (!take(reader, ':')) {
                return false;
            }
        }
        if (!value(reader)) {
            return false;
        }
        space(reader);
    } while (take(reader, ','));
    return take(reader, close);
}

static bool value(struct reader *reader)
{
    bool fine = false;
    space(reader);
    if (reader->at >= reader->end || ++reader->levels > LEVELS_MAX) {
        return false;
    }
    switch (*reader->at) {
    case '{':
        reader->at++;
        fine = items(reader, '}', true);
        break;
    case '[':
        reader->at++;
        fine = items(reader, ']', false);
        break;
    case '"':
        fine = string(reader);
        break;
    case 't':
        fine = word(reader, "true");
        break;
    case 'f':
        fine = word(reader, "false");
        break;
    case 'n':
        fine = word(reader, "null");
        break;
    default:
        fine = number(reader);
        break;
    }
    reader->levels--;
    return fine;
}

bool json_valid(const char *text, size_t bytes)
{
    struct reader reader = {.at = text, .end = text + bytes};
    if (!value(&reader)) {
        return false;
    }
    space(&reader);
    return reader.at == reader.end;
}

const char *json_member(const char *object, const char *name)
{
    struct reader reader = {.at = object, .end = object + strcspn(object, "\n")};
    const size_t length = strlen(name);
    space(&reader);
    if (!take(&reader, '{')) {
        return NULL;
    }
    for (;;) {
        space(&reader);
        const char *first = reader.at + 1;
        if (!string(&reader)) {
            return NULL;
        }
        const bool found =
            (size_t)(reader.at - 1 - first) == length && memcmp(first, name, length) == 0;
        space(&reader);
        if (!take(&reader, ':')) {
            return NULL;
        }
        space(&reader);
        if (found) {
            return reader.at;
        }
        if (!value(&reader)) {
            return NULL;
        }
        space(&reader);
        if (!take(&reader, ',')) {
            return NULL;
        }
    }
}

uint64_t json_member_number(const char *object, const char *name)
{
    const char *member = json_member(object, name);
    check_say(member != NULL && isdigit((unsigned char)*member), "no number \"%s\" in %s", name,
              object);
    return strtoull(member, NULL, 10);
}

const char *json_member_text(const char *object, const char *name, char *buffer, size_t bytes)
{
    const char *member = json_member(object, name);
    check_say(member != NULL && *member == '"', "no text \"%s\" in %s", name, object);
    const size_t length = strcspn(member + 1, "\"\\");
    check(length < bytes);
    memcpy(buffer, member + 1, length);
    buffer[length] = '\0';
    return buffer;
}
