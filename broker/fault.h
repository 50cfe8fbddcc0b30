/*
 * Fault: why something could not be done, as an error number for the caller and words for a person.
 * Runs on:    any thread; one fault belongs to one caller.
 * Invariants: text is always terminated; error is 0 (nothing happened) or a negative errno.
 * Words:      what happened, to which file, topic or option, what was expected, what to do.
 * Not here:   writing it anywhere (log.h); results that a client sees (completions, control messages).
 *
 * A start of the broker passes one fault down; who fails says `return fault_set(fault, -errno, ...)`.
 * Who gets a negative result from a callee that took the fault forwards it unchanged.
 */
#ifndef TUSK_BROKER_FAULT_H
#define TUSK_BROKER_FAULT_H

enum { FAULT_TEXT_BYTES = 512 }; /* two paths of ordinary length and a sentence */

struct fault {
    int error;
    char text[FAULT_TEXT_BYTES];
};

/*
 * Records error (negative errno) and the words, over what was there, and returns error.
 * A text that does not fit ends in "...". fault may be NULL: then only the error is returned.
 */
int fault_set(struct fault *fault, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * The status from sysexits.h with which a program that failed to start should exit:
 *   0                                        EX_OK (0)
 *   -EACCES -EPERM -EROFS -ENOENT -ENOTDIR
 *   -ENOSPC -EDQUOT -ENAMETOOLONG            EX_CANTCREAT (73)   a directory or file cannot be made
 *   -EBUSY -EAGAIN -EADDRINUSE               EX_TEMPFAIL (75)    another broker is there
 *   -EBADMSG                                 EX_DATAERR (65)     not a store, or a damaged one
 *   -EPROTO -EINVAL                          EX_CONFIG (78)      a newer version's, or other options
 *   -EIO                                     EX_IOERR (74)
 *   -ENOSYS -EOPNOTSUPP                      EX_UNAVAILABLE (69) the kernel lacks it or forbids it
 *   anything else                            EX_OSERR (71)
 */
int fault_exit_status(int error);

#endif
