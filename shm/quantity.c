/* Quantity: see quantity.h for the contract. */
#include "shm/quantity.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* The formatters use the first unit that divides the value, so the names to print come first. */
static const struct unit size_units[] = {
    {"TiB", UINT64_C(1) << 40},
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"B", 1},
    {"T", UINT64_C(1) << 40},
    {"G", UINT64_C(1) << 30},
    {"M", UINT64_C(1) << 20},
    {"K", UINT64_C(1) << 10},
    {NULL, 1},
};
static const struct unit duration_units[] = {
    {"d", UINT64_C(24) * 3600 * 1000 * NS_PER_MS},
    {"h", UINT64_C(3600) * 1000 * NS_PER_MS},
    {"min", 60 * 1000 * NS_PER_MS},
    {"s", 1000 * NS_PER_MS},
    {"ms", NS_PER_MS},
    {NULL, NS_PER_MS},
};

/* Reads digits and leaves *end behind them. */
static int digits_parse(const char *text, const char **end, uint64_t *value)
{
    uint64_t sum = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*at - '0'), &sum)) {
            return -ERANGE;
        }
    }
    *end = at;
    *value = sum;
    return at == text ? -EINVAL : 0;
}

/* units ends with the entry for "no unit". */
static int quantity_parse(const char *text, const struct unit *units, uint64_t *value)
{
    uint64_t number;
    const char *name;
    const int result = digits_parse(text, &name, &number);
    if (result < 0) {
        return result;
    }
    while (*name == ' ' || *name == '\t') {
        name++;
    }
    while (units->name != NULL && strcasecmp(units->name, name) != 0) {
        units++;
    }
    if (units->name == NULL && *name != '\0') {
        return -EINVAL;
    }
    return __builtin_mul_overflow(number, units->factor, value) ? -ERANGE : 0;
}

static const char *quantity_format(struct quantity_text *quantity, uint64_t value,
                                   const struct unit *units, const char *smallest)
{
    while (strcasecmp(units->name, smallest) != 0 && (value == 0 || value % units->factor != 0)) {
        units++;
    }
    snprintf(quantity->text, sizeof quantity->text, "%llu%s",
             (unsigned long long)(value / units->factor), units->name);
    return quantity->text;
}

int quantity_integer_parse(const char *text, uint64_t *value)
{
    const char *end;
    const int result = digits_parse(text, &end, value);
    return result < 0 ? result : *end == '\0' ? 0 : -EINVAL;
}

int quantity_size_parse(const char *text, uint64_t *bytes)
{
    return quantity_parse(text, size_units, bytes);
}

int quantity_duration_parse(const char *text, uint64_t *ns)
{
    return quantity_parse(text, duration_units, ns);
}

const char *quantity_size_format(struct quantity_text *quantity, uint64_t bytes)
{
    return quantity_format(quantity, bytes, size_units, "B");
}

const char *quantity_duration_format(struct quantity_text *quantity, uint64_t ns)
{
    return quantity_format(quantity, ns, duration_units, "ms");
}
