/* Retention policy: see retention_policy.h. */
#include "shm/retention_policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "shm/quantity.h"

enum { TERM_BYTES = 48 };

/* A value between 1 and INT64_MAX, so that sums with positions and times do not wrap. */
static int bound_take(uint64_t *bound, const char *text,
                      int (*parse)(const char *text, uint64_t *value))
{
    uint64_t value;
    if (parse(text, &value) != 0 || value == 0 || value > INT64_MAX || *bound != 0) {
        return -EINVAL;
    }
    *bound = value;
    return 0;
}

/* With its unit: who forgets it must not lose all that is older than so many milliseconds. */
static int age_parse(const char *text, uint64_t *ns)
{
    return text[strspn(text, "0123456789")] == '\0' ? -EINVAL : quantity_duration_parse(text, ns);
}

static int term_take(const char *term, struct retention_policy *policy)
{
    if (strcasecmp(term, "consumed") == 0) {
        const bool twice = policy->consumed;
        policy->consumed = true;
        return twice ? -EINVAL : 0;
    }
    if (strncasecmp(term, "bytes=", 6) == 0) {
        return bound_take(&policy->bytes_max, term + 6, quantity_size_parse);
    }
    if (strncasecmp(term, "age=", 4) == 0) {
        return bound_take(&policy->age_ns, term + 4, age_parse);
    }
    return -EINVAL;
}

int retention_policy_parse(const char *text, struct retention_policy *policy)
{
    struct retention_policy parsed = {0};
    if (strcasecmp(text, "none") == 0) {
        *policy = parsed;
        return 0;
    }
    for (;;) {
        char term[TERM_BYTES];
        text += strspn(text, " \t");
        const size_t size = strcspn(text, ",");
        size_t used = size;
        while (used > 0 && (text[used - 1] == ' ' || text[used - 1] == '\t')) {
            used--;
        }
        if (used >= sizeof term) {
            return -EINVAL;
        }
        memcpy(term, text, used);
        term[used] = '\0';
        if (term_take(term, &parsed) != 0) {
            return -EINVAL;
        }
        if (text[size] == '\0') {
            *policy = parsed;
            return 0;
        }
        text += size + 1;
    }
}

const char *retention_policy_format(struct retention_text *text,
                                    const struct retention_policy *policy)
{
    struct quantity_text bytes = {{0}};
    struct quantity_text age = {{0}};
    const char *const comma[] = {"", ","};
    const bool with_bytes = policy->bytes_max != 0;
    const bool with_age = policy->age_ns != 0;
    if (with_bytes) {
        quantity_size_format(&bytes, policy->bytes_max);
    }
    if (with_age) {
        quantity_duration_format(&age, policy->age_ns);
    }
    snprintf(text->text, sizeof text->text, "%s%s%s%s%s%s%s", policy->consumed ? "consumed" : "",
             comma[policy->consumed && with_bytes], with_bytes ? "bytes=" : "", bytes.text,
             comma[(policy->consumed || with_bytes) && with_age], with_age ? "age=" : "", age.text);
    if (text->text[0] == '\0') {
        memcpy(text->text, "none", sizeof "none");
    }
    return text->text;
}
