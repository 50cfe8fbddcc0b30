/* Fault: see fault.h for the contract. */
#include "broker/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

int fault_set(struct fault *fault, int error, const char *format, ...)
{
    if (fault == NULL) {
        return error;
    }
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        fault->text[0] = '\0';
    } else if ((size_t)length >= sizeof fault->text) {
        static const char cut[] = "...";
        memcpy(fault->text + sizeof fault->text - sizeof cut, cut, sizeof cut);
    }
    fault->error = error;
    return error;
}

int fault_exit_status(int error)
{
    switch (-error) {
    case 0:
        return EX_OK;
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case ENOSPC:
    case EDQUOT:
    case ENAMETOOLONG:
        return EX_CANTCREAT;
    case EBUSY:
    case EAGAIN:
    case EADDRINUSE:
        return EX_TEMPFAIL;
    case EBADMSG:
        return EX_DATAERR;
    case EPROTO:
    case EINVAL:
        return EX_CONFIG;
    case EIO:
        return EX_IOERR;
    case ENOSYS:
    case EOPNOTSUPP:
        return EX_UNAVAILABLE;
    default:
        return EX_OSERR;
    }
}
