/*
 * Appender: see appender.h. user_data is the entry's number + 1, so each completion tells which
 * entry it ends, and 0 (no completion) is never used.
 */
#include "clientlib/cli/appender.h"

#include <errno.h>

#define REAP_MAX 256   /* completions per call */
#define REAP_EVERY 128 /* submissions between two looks, so that the completion ring stays short */

/* Take what has ended: how many, or a negative error of the call. */
static int completions_take(struct appender *appender)
{
    struct tusk_completion completions[REAP_MAX];
    const int count = tusk_reap(appender->tusk, completions, REAP_MAX);

    for (int i = 0; i < count; i++) {
        if (completions[i].error == 0) {
            appender->completed++;
            continue;
        }
        appender->failed++;
        if (appender->failed_error == 0) {
            appender->failed_error = completions[i].error;
            appender->failed_number = completions[i].user_data - 1;
        }
    }
    return count;
}

/* Take completions, sleeping until there is one, or room for a submission. */
static int progress_wait(struct appender *appender)
{
    const int count = completions_take(appender);
    if (count != 0) {
        return count;
    }
    const int result = tusk_wait(appender->tusk, appender->timeout_ms);
    return result == 0 ? -ETIMEDOUT : result;
}

static int call_fail(struct appender *appender, int error)
{
    appender->call_error = error;
    return error;
}

/* Sleep until all that was submitted has ended, or one call fails. */
static int submitted_await(struct appender *appender)
{
    while (appender->completed + appender->failed < appender->submitted) {
        const int result = progress_wait(appender);
        if (result < 0) {
            return result;
        }
    }
    return appender->failed_error;
}

int appender_add_now(struct appender *appender, uint64_t expected_seq, const void *data,
                     size_t size)
{
    struct tusk_topic *const topic = appender->topic;
    int result = expected_seq == TUSK_ANY_SEQ ? tusk_append(topic, data, size, NULL)
                                              : tusk_append_at(topic, expected_seq, data, size);

    if (result == -ETIMEDOUT &&
        tusk_flush(appender->tusk, TUSK_COMMITTED, appender->timeout_ms) == -ECANCELED) {
        result = -ECANCELED;
    }
    if (result < 0) {
        return call_fail(appender, result);
    }
    appender->submitted++;
    appender->completed++;
    appender->bytes += size;
    return 0;
}

/* An entry too large for half a lane, behind all others: where one of them fails it is not appended. */
static int large_append(struct appender *appender, const void *data, size_t size)
{
    const int result = submitted_await(appender);

    if (result < 0) {
        return appender->failed_error != 0 ? result : call_fail(appender, result);
    }
    return appender_add_now(appender, TUSK_ANY_SEQ, data, size);
}

int appender_add(struct appender *appender, const void *data, size_t size)
{
    if (appender->submitted % REAP_EVERY == 0) {
        const int result = completions_take(appender);
        if (result < 0) {
            return call_fail(appender, result);
        }
    }
    while (appender->failed_error == 0) {
        const int result = tusk_submit(appender->topic, data, size, appender->submitted + 1);
        if (result == 0) {
            appender->submitted++;
            appender->bytes += size;
            return 0;
        }
        if (result == -EMSGSIZE) {
            return large_append(appender, data, size);
        }
        if (result != -EAGAIN) {
            return call_fail(appender, result);
        }
        const int waited = progress_wait(appender);
        if (waited < 0) {
            return call_fail(appender, waited);
        }
    }
    return appender->failed_error;
}

int appender_finish(struct appender *appender, enum tusk_level level)
{
    if (appender->call_error != 0) {
        return appender->call_error;
    }
    const int result = submitted_await(appender);
    if (result < 0) {
        return result;
    }
    return tusk_flush(appender->tusk, level, appender->timeout_ms);
}
