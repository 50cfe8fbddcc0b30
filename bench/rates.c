/*
 * Rates: see rates.h.
 */
#include "bench/rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PER_SECOND_MAX 1e9
#define PERCENT_MAX 1000.0

/* One rate, from *text on; *text is behind it afterwards. Whether it is one. */
static bool rate_take(struct rate *rate, const char **text)
{
    const char *begin = *text;
    char *end = NULL;

    if (*begin < '0' || *begin > '9') {
        return false;
    }
    const double number = strtod(begin, &end);
    *rate = (struct rate){0};
    switch (*end) {
    case '%':
        rate->percent = number;
        end++;
        break;
    case 'K':
        rate->per_second = number * 1e3;
        end++;
        break;
    case 'M':
        rate->per_second = number * 1e6;
        end++;
        break;
    default:
        rate->per_second = number;
        break;
    }
    *text = end;
    snprintf(rate->name, sizeof rate->name, "%.*s", (int)(end - begin), begin);
    return end - begin < RATE_NAME_BYTES &&
           ((rate->percent > 0 && rate->percent <= PERCENT_MAX) ||
            (rate->per_second >= 1 && rate->per_second <= PER_SECOND_MAX));
}

bool rates_parse(struct rates *rates, const char *text)
{
    rates->count = 0;
    for (;;) {
        if (rates->count == RATES_MAX || !rate_take(&rates->all[rates->count], &text)) {
            return false;
        }
        rates->count++;
        if (*text == '\0') {
            return true;
        }
        if (*text++ != ',') {
            return false;
        }
    }
}

double rate_per_second(const struct rate *rate, double saturation_per_second)
{
    return rate->percent > 0 ? rate->percent / 100 * saturation_per_second : rate->per_second;
}
