/*
 * Fail: see fail.h. One message is one write to stderr, so that messages of several processes on
 * one terminal stay whole.
 */
#include "clientlib/cli/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <tusk/tusk.h>

#define FAIL_MESSAGE_BYTES 2048

static const char *fail_verb_current = "";

void fail_verb(const char *verb)
{
    fail_verb_current = verb;
}

static void fail_print(const char *reason, const char *format, va_list arguments)
{
    char message[FAIL_MESSAGE_BYTES];

    vsnprintf(message, sizeof message, format, arguments);
    fprintf(stderr, "tusk%s%s: %s%s%s\n", *fail_verb_current ? " " : "", fail_verb_current, message,
            *reason ? ": " : "", reason);
}

int fail(int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fail_print("", format, arguments);
    va_end(arguments);
    return status;
}

int fail_system(int status, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fail_print(strerror(error), format, arguments);
    va_end(arguments);
    return status;
}

int fail_status(int error)
{
    switch (-error) {
    case ENOTCONN:
    case EOWNERDEAD:
        return EX_UNAVAILABLE;
    case EACCES:
    case EPERM:
        return EX_NOPERM;
    case EINVAL:
        return EX_USAGE;
    case ENOENT:
        return EX_NOINPUT;
    case EMSGSIZE:
    case EILSEQ:
    case ENODATA:
    case EBADMSG:
        return EX_DATAERR;
    case EIO:
    case ENOSPC:
        return EX_IOERR;
    case EAGAIN:
    case EBUSY:
    case EINTR:
    case ESTALE:
    case ETIMEDOUT:
        return EX_TEMPFAIL;
    case EPROTO:
        return EX_PROTOCOL;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return EX_OSERR;
    default:
        return EX_SOFTWARE;
    }
}

int fail_tusk(int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fail_print(tusk_strerror(error), format, arguments);
    va_end(arguments);
    return fail_status(error);
}
