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
            return result;
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
    while (appender->completed + appender->failed < appender->submitted) {
        const int result = progress_wait(appender);
        if (result < 0) {
            return result;
        }
    }
    if (appender->failed_error != 0) {
        return appender->failed_error;
    }
    return tusk_flush(appender->tusk, level, appender->timeout_ms);
}
