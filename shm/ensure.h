/*
 * Ensure: invariants that only a defect of our own code can break.
 * Always on, in the broker and in tests. Never applied to bytes that a client, a file or a socket
 * may have written: those are answered, not asserted. The client library uses it only where going
 * on would damage data; it has no other way to end its application.
 */
#ifndef TUSK_SHM_ENSURE_H
#define TUSK_SHM_ENSURE_H

/* Prints the place and the condition to stderr and aborts. */
_Noreturn void ensure_failed(const char *file, int line, const char *condition);

#define ensure(condition)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            ensure_failed(__FILE__, __LINE__, #condition);                                         \
        }                                                                                          \
    } while (0)

/* Costly checks, in builds with TUSK_AUDIT only. */
#ifdef TUSK_AUDIT
#define audit(condition) ensure(condition)
#else
#define audit(condition) ((void)sizeof(condition))
#endif

#endif
