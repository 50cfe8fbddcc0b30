/*
 * Error: the library's errors in words.
 * Runs on:    any thread; static text.
 */
#include <errno.h>

#include <tusk/tusk.h>

const char *tusk_strerror(int error)
{
    switch (error) {
    case 0:
        return "success";
    case -EAGAIN:
        return "not now: lane, completion ring or topic is busy, try again later";
    case -ETIMEDOUT:
        return "not within the time allowed";
    case -EINTR:
        return "ended by tusk_wakeup";
    case -EINVAL:
        return "an argument, an option or a name is not possible";
    case -EMSGSIZE:
        return "entry or batch too large, or too many entries in a batch";
    case -ENOENT:
        return "no such topic or namespace";
    case -ENODATA:
        return "the position was trimmed: seek to the first entry that is kept";
    case -EBADMSG:
        return "damaged: a reader can seek past an entry; a store needs tusk-inspect";
    case -EILSEQ:
        return "the entry would have got another sequence number than expected";
    case -ESTALE:
        return "the topic was deleted, or the broker is gone: open or connect again";
    case -ENOSPC:
        return "disk or quota is full: nothing was written";
    case -EIO:
        return "writing to the store failed: no append is accepted until the broker is restarted";
    case -EACCES:
        return "not allowed";
    case -ENOTCONN:
        return "no broker answered within the time allowed";
    case -EPROTO:
        return "library and broker do not fit, or the protocol was broken";
    case -ENOMEM:
        return "no memory, no descriptor, or no further lane";
    case -EBUSY:
        return "the thread holds a reservation: commit or abandon it first";
    case -EOWNERDEAD:
        return "the handle was inherited through fork: connect again in the child";
    case -ECANCELED:
        return "given up: it was not appended";
    default:
        return "unknown error";
    }
}

const char *tusk_version(void)
{
    return TUSK_VERSION;
}
