/*
 * Retention policies as text: what is accepted, what it means, that what is written is read back, and
 * that everything else is refused and stores nothing.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "shm/quantity.h"
#include "shm/retention_policy.h"

#define MIB (UINT64_C(1) << 20)
#define DAY (UINT64_C(86400000) * NS_PER_MS)

static void check_reads(const char *text, struct retention_policy expected, const char *canonical)
{
    struct retention_policy policy = {.consumed = true, .bytes_max = 1, .age_ns = 1};
    struct retention_policy again;
    struct retention_text written;
    cr_expect_eq(retention_policy_parse(text, &policy), 0, "'%s' is refused", text);
    cr_expect_eq(policy.consumed, expected.consumed, "'%s'", text);
    cr_expect_eq(policy.bytes_max, expected.bytes_max, "'%s'", text);
    cr_expect_eq(policy.age_ns, expected.age_ns, "'%s'", text);
    cr_expect_str_eq(retention_policy_format(&written, &policy), canonical);
    cr_expect_eq(retention_policy_parse(written.text, &again), 0);
    cr_expect(again.consumed == policy.consumed && again.bytes_max == policy.bytes_max &&
              again.age_ns == policy.age_ns);
}

Test(retention_policy, means_what_it_says)
{
    check_reads("none", (struct retention_policy){0}, "none");
    check_reads("consumed", (struct retention_policy){.consumed = true}, "consumed");
    check_reads("bytes=10GiB", (struct retention_policy){.bytes_max = 10240 * MIB}, "bytes=10GiB");
    check_reads("age=7d", (struct retention_policy){.age_ns = 7 * DAY}, "age=7d");
    check_reads("age=36h", (struct retention_policy){.age_ns = 3 * DAY / 2}, "age=36h");
    check_reads("bytes=1536K,age=500ms",
                (struct retention_policy){.bytes_max = 3 * MIB / 2, .age_ns = DAY / 172800},
                "bytes=1536KiB,age=500ms");
    check_reads(" age=24h , CONSUMED,bytes=1048576 ",
                (struct retention_policy){.consumed = true, .bytes_max = MIB, .age_ns = DAY},
                "consumed,bytes=1MiB,age=1d");
    check_reads("consumed,bytes=9223372036854775807,age=9223372036854ms",
                (struct retention_policy){.consumed = true,
                                          .bytes_max = INT64_MAX,
                                          .age_ns = UINT64_C(9223372036854) * NS_PER_MS},
                "consumed,bytes=9223372036854775807B,age=9223372036854ms");
}

Test(retention_policy, refuses_everything_else)
{
    static const char *const texts[] = {
        "",
        " ",
        ",",
        "consumed,",
        ",consumed",
        "consumed,consumed",
        "none,consumed",
        "bytes=1M,none",
        "bytes",
        "bytes=",
        "bytes=0",
        "bytes=-1",
        "bytes=1X",
        "bytes=1M2",
        "bytes = 1M",
        "bytes:1M",
        "bytes=1M,bytes=2M",
        "age",
        "age=0",
        "age=7", /* not 7 ms by mistake */
        "age=7w",
        "age=d",
        "age=1.5d",
        "age=1d,age=2d",
        "bytes=9223372036854775808",
        "bytes=18446744073709551616",
        "age=300000000d",
        "older=7d",
        "consumed;age=1d",
        "none none",
        "bytes=0000000000000000000000000000000000000000000000000000000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct retention_policy policy = {.bytes_max = 42};
        cr_expect_eq(retention_policy_parse(texts[i], &policy), -EINVAL, "'%s' is accepted",
                     texts[i]);
        cr_expect(policy.bytes_max == 42 && !policy.consumed && policy.age_ns == 0, "'%s' stores",
                  texts[i]);
    }
}
