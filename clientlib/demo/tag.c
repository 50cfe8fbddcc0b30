/* Tag: see tag.h. */
#include "clientlib/demo/tag.h"

static size_t number_write(char *text, uint64_t number)
{
    char reversed[20];
    size_t digits = 0;
    do {
        reversed[digits++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    for (size_t i = 0; i < digits; i++) {
        text[i] = reversed[digits - 1 - i];
    }
    return digits;
}

size_t tag_write(char text[TAG_BYTES_MAX], uint64_t producer, uint64_t number)
{
    size_t bytes = number_write(text, producer % 1000);
    text[bytes++] = ':';
    bytes += number_write(text + bytes, number);
    text[bytes++] = ' ';
    return bytes;
}

/* Digits up to `end`, which is stepped over; returns the bytes used, 0 if there is no number. */
static size_t number_parse(const char *text, size_t bytes, char end, uint64_t *number)
{
    size_t i = 0;
    *number = 0;
    while (i < bytes && i < 19 && text[i] >= '0' && text[i] <= '9') {
        *number = *number * 10 + (uint64_t)(text[i] - '0');
        i++;
    }
    return i > 0 && i < bytes && text[i] == end ? i + 1 : 0;
}

bool tag_parse(const char *text, size_t bytes, struct tag *tag)
{
    const size_t first = number_parse(text, bytes, ':', &tag->producer);
    if (first == 0) {
        return false;
    }
    const size_t second = number_parse(text + first, bytes - first, ' ', &tag->number);
    tag->bytes = first + second;
    return second != 0;
}
