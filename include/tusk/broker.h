/*
 * libtuskbroker: run a Tusk broker on threads of this process. Other processes attach to it through
 * its socket as to any broker, and so does this one, with libtusk (tusk.h).
 *
 * Results   0 or a negative errno value. With error_text set, what went wrong is there in words.
 *
 * Process   The broker starts threads of its own, with all signals blocked. It changes neither
 *           signal handlers nor limits of the process: raise RLIMIT_NOFILE for many clients, and
 *           ignore SIGXFSZ if there may be a limit on file sizes. It logs to stderr. Environment
 *           variables of tuskd (TUSK_*) are not looked at; the defaults of paths are tuskd's.
 *
 * Signals   None is raised by clients, whatever they do: sends to a client that died raise no
 *           SIGPIPE, and clients cannot cut or leave unallocated the memory that the broker reads, so
 *           there is no SIGBUS to handle. A stderr that is a closed pipe is the exception: what
 *           tusk_broker_start() logs on the caller's thread may raise SIGPIPE there.
 *
 * Several   Any number of brokers run in one process, each with its own data directory, socket and
 *           run directory; they share nothing. Starting and stopping leaves nothing behind: threads,
 *           descriptors, mappings, memory and files of the run directory are given back, also by a
 *           start that is refused.
 *
 * Store     A store directory belongs to one broker at a time, whatever process it is in.
 *
 * fork      A child has no broker; it must neither use nor stop its parent's.
 */
#ifndef TUSK_BROKER_H
#define TUSK_BROKER_H

#include <tusk/tusk.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tusk_broker;

/*
 * NULL and 0 mean the default of tuskd's option of that name; texts are what that option accepts
 * (tuskd --help). Made with TUSK_BROKER_OPTIONS_INIT; nothing of it is used after the start.
 */
struct tusk_broker_options {
    size_t size;
    const char *data_dir;     /* --data */
    const char *socket_path;  /* --socket */
    const char *socket_group; /* --socket-group */
    const char *run_dir;      /* --run-dir: on a tmpfs */
    const char *fsync;        /* "each", "200 ms", "none" */
    const char *consistency;  /* "strict" or a number */
    const char *retention;    /* as tuskd --retention; default "consumed" */
    char *error_text;         /* where to say what went wrong, always terminated; or NULL */
    size_t error_text_bytes;  /* of error_text; 512 hold every message */
    uint64_t arena_bytes;
    uint64_t chunk_bytes;
    uint64_t segment_bytes;
    uint32_t socket_mode; /* 0660 */
    uint32_t engines;
    uint32_t topics_max;
    uint32_t lanes_max;
    uint32_t idle;              /* enum tusk_idle */
    uint32_t quiet;             /* 1: log warnings and errors only */
    const char *backend;        /* "auto", "uring", "pwrite", "mmap" */
    const char *direct;         /* "auto", "on", "off" */
    const char *pin_timeout;    /* as tuskd --pin-timeout; default "10s" */
    const char *stream_timeout; /* as tuskd --stream-timeout; default "10s" */
};

#define TUSK_BROKER_OPTIONS_INIT TUSK_INIT_(struct tusk_broker_options)

/*
 * Start a broker: recover the store, then serve. options may be NULL.
 * Cost:    returns when clients can connect; recovery reads what the store holds of topics.
 * Returns: 0 and *broker; -EINVAL an option; -EBUSY another broker has the store (it is given five
 *          seconds to let go); -EADDRINUSE another one listens on the socket; -EACCES, -ENOENT,
 *          -ENOSPC a directory or file cannot be made; -EBADMSG not a store, or a damaged one;
 *          -EPROTO a store of a newer version or of other options; -ENOSYS the kernel lacks or
 *          forbids the backend that was asked for; -EOPNOTSUPP the file system cannot do what
 *          direct asks for; -ENOMEM; other errors of the system.
 */
TUSK_API int tusk_broker_start(struct tusk_broker **broker,
                               const struct tusk_broker_options *options);

/*
 * Stop it: take what clients have published, make it durable, end all sessions and threads, free
 * everything. NULL does nothing. Clients need not have disconnected: their calls answer -ESTALE from
 * now on.
 * Threads: any one thread, not only the one that started it; once.
 * Returns: 0, or the error that fenced the store or failed its last flush: then what was not DURABLE
 *          before may be lost.
 */
TUSK_API int tusk_broker_stop(struct tusk_broker *broker);

#ifdef __cplusplus
}
#endif

#endif
