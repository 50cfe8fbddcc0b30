/*
 * Many topics: created, written and read again, after a kill of the broker and after a stop.
 * How:        5,000 topics in one broker; soak_topics.c has twenty times as many.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/support/crowd.h"
#include "tests/support/session.h"

#define OPTIONS "--arena 32M --topics 8192 --fsync 50ms"
enum { TOPICS = 5000 };

Test(crowd, five_thousand_topics_come_back_after_a_kill_and_after_a_stop)
{
    broker = tuskd_start(OPTIONS);
    tusk = attach(broker);
    crowd_append(tusk, TOPICS, 0);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    crowd_append(tusk, TOPICS / 2, 1);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    tusk_disconnect(tusk);
    tuskd_kill(broker);

    uint64_t before_ms = now_ms();
    tuskd_restart(broker, OPTIONS);
    tusk = attach(broker);
    const uint64_t after_kill_ms = now_ms() - before_ms;
    wait_until(counter_of(tusk, "topics") == TOPICS, 5000);
    crowd_check(tusk, TOPICS / 2, 1, 2);
    tusk_disconnect(tusk);
    tuskd_stop(broker);

    before_ms = now_ms();
    tuskd_restart(broker, OPTIONS);
    tusk = attach(broker);
    const uint64_t after_stop_ms = now_ms() - before_ms;
    for (uint32_t i = TOPICS / 2; i < TOPICS; i += TOPICS / 4) {
        char name[32];
        snprintf(name, sizeof name, "crowd-%07u", i);
        check_is(info_of(topic_of(tusk, name)).next_seq, 1);
    }
    crowd_append(tusk, TOPICS, 2);
    crowd_check(tusk, TOPICS / 2, 1, 3);
    cr_log_info("%d topics: %llu ms to start after a kill, %llu ms after a stop", TOPICS,
                (unsigned long long)after_kill_ms, (unsigned long long)after_stop_ms);
    session_end();
}
