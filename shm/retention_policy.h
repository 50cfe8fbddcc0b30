/*
 * Retention policy: what a topic may give up, as people write it and as the broker applies it.
 * Each term is a leave to trim: `consumed` what the group has passed, `bytes=SIZE` what is beyond that
 * much log, `age=TIME` what is older. Of several terms the one that trims first counts. `none` stands
 * alone and gives nothing up.
 * Runs on:    any thread; pure functions.
 * Invariants: retention_policy_parse() reads what retention_policy_format() writes.
 * Trust:      texts come from operators, clients and disks; every text is answered, none is assumed to
 *             be good.
 * Not here:   trimming (broker/retention.h).
 */
#ifndef TUSK_SHM_RETENTION_POLICY_H
#define TUSK_SHM_RETENTION_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/* What retention_policy_parse() accepts, for errors. */
#define RETENTION_POLICY_FORMS                                                                     \
    "none, or consumed, bytes=SIZE (as 10GiB) and age=TIME (as 7d), joined by commas"

enum {
    RETENTION_TEXT_BYTES = 96, /* the longest text that format writes, its end included */
};

/* All zero: `none`. */
struct retention_policy {
    bool consumed;
    uint64_t bytes_max; /* of log; 0: any */
    uint64_t age_ns;    /* 0: any */
};

struct retention_text {
    char text[RETENTION_TEXT_BYTES];
};

/* 0, or -EINVAL and nothing is stored. */
int retention_policy_parse(const char *text, struct retention_policy *policy);

/* Returns text->text. */
const char *retention_policy_format(struct retention_text *text,
                                    const struct retention_policy *policy);

#endif
