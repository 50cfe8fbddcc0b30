/*
 * Read-from: see read_from.h.
 */
#include "clientlib/cli/read_from.h"

#include "clientlib/cli/options.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define FRACTION_DIGITS 9

/* ".25" as ns; an empty text is 0. */
static int fraction_parse(const char *text, uint64_t *ns)
{
    uint64_t digits = 0;
    int count = 0;

    *ns = 0;
    if (*text == '\0') {
        return 0;
    }
    if (*text++ != '.' || *text == '\0') {
        return -EINVAL;
    }
    for (; *text >= '0' && *text <= '9'; text++) {
        if (count < FRACTION_DIGITS) {
            digits = digits * 10 + (uint64_t)(*text - '0');
            count++;
        }
    }
    for (; count < FRACTION_DIGITS; count++) {
        digits *= 10;
    }
    *ns = digits;
    return *text == '\0' ? 0 : -EINVAL;
}

static int epoch_parse(const char *text, uint64_t *time_ns)
{
    char seconds_text[24];
    const size_t length = strcspn(text, ".");
    uint64_t seconds = 0;
    uint64_t fraction_ns = 0;

    if (length >= sizeof seconds_text) {
        return -EINVAL;
    }
    memcpy(seconds_text, text, length);
    seconds_text[length] = '\0';
    if (number_parse(seconds_text, 0, INT64_MAX / NS_PER_S, &seconds) < 0 ||
        fraction_parse(text + length, &fraction_ns) < 0) {
        return -EINVAL;
    }
    *time_ns = seconds * NS_PER_S + fraction_ns;
    return 0;
}

static int calendar_parse(const char *text, uint64_t *time_ns)
{
    static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
                                          "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"};

    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct tm parts = {.tm_isdst = -1};
        const char *rest = strptime(text, formats[i], &parts);
        const int utc = rest && *rest == 'Z' && rest[1] == '\0';
        if (!rest || (*rest != '\0' && !utc)) {
            continue;
        }
        const time_t seconds = utc ? timegm(&parts) : mktime(&parts);
        if (seconds < 0) {
            return -EINVAL;
        }
        *time_ns = (uint64_t)seconds * NS_PER_S;
        return 0;
    }
    return -EINVAL;
}

int read_from_parse(const char *text, struct read_from *from)
{
    if (strcmp(text, "earliest") == 0) {
        *from = (struct read_from){.from = TUSK_FROM_EARLIEST};
        return 0;
    }
    if (strcmp(text, "latest") == 0) {
        *from = (struct read_from){.from = TUSK_FROM_LATEST};
        return 0;
    }
    from->from = TUSK_FROM_SEQ;
    if (number_parse(text, 0, TUSK_ANY_SEQ - 1, &from->value) == 0) {
        return 0;
    }
    from->from = TUSK_FROM_TIME;
    return *text == '@' ? epoch_parse(text + 1, &from->value) : calendar_parse(text, &from->value);
}
