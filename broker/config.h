/*
 * Config: what one broker was told, resolved and checked: absolute paths, bytes, nanoseconds.
 * Runs on:    filled once on the thread that starts the broker, read-only afterwards, on any thread.
 * Invariants: after config_resolve() succeeded every path is absolute, every number within the bounds
 *             below, chunk_bytes divides segment_bytes and arena_bytes, run_dir lies on tmpfs.
 * Trust:      option texts come from the operator; options.h has checked each one by itself.
 * Not here:   option names and texts (options.h); making directories and files (broker.h and below).
 */
#ifndef TUSK_BROKER_CONFIG_H
#define TUSK_BROKER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/io_backend.h"
#include "shm/limits.h"
#include "shm/retention_policy.h"

struct fault;

enum {
    CONFIG_PATH_BYTES = 4096,      /* PATH_MAX, the end included */
    CONFIG_SOCKET_PATH_BYTES = 108 /* sockaddr_un.sun_path, the end included */
};

/* Bounds of the options; those of chunks are in shm/limits.h. Bytes where the name says so. */
#define CONFIG_ARENA_BYTES_MIN (UINT64_C(4) << 20)
#define CONFIG_ARENA_BYTES_MAX (UINT64_C(1) << 40)
#define CONFIG_ARENA_CHUNKS_MIN UINT64_C(16) /* a few topics' tails, a flush and a FETCH at once */
#define CONFIG_SEGMENT_CHUNKS_MIN UINT64_C(16)
#define CONFIG_SEGMENT_BYTES_MIN (CONFIG_SEGMENT_CHUNKS_MIN * CHUNK_BYTES_MIN)
#define CONFIG_SEGMENT_BYTES_MAX (UINT64_C(64) << 30)
#define CONFIG_ENGINES_MAX UINT64_C(64)
#define CONFIG_TOPICS_MAX (UINT64_C(1) << 20)
#define CONFIG_LANES_MAX (UINT64_C(1) << 16)
#define CONFIG_FSYNC_INTERVAL_MS_MAX UINT64_C(3600000) /* one hour */
#define CONFIG_PIN_TIMEOUT_MS_MIN UINT64_C(10)
#define CONFIG_PIN_TIMEOUT_MS_MAX UINT64_C(3600000)     /* one hour */
#define CONFIG_STREAM_TIMEOUT_MS_MAX UINT64_C(86400000) /* one day */
#define CONFIG_PERSIST_EVERY_MAX ((uint64_t)UINT32_MAX) /* the width of the API's member */

enum fsync_schedule { FSYNC_EACH, FSYNC_INTERVAL, FSYNC_NONE };
enum idle_strategy { IDLE_ADAPTIVE, IDLE_SPIN, IDLE_BLOCK }; /* the values of enum tusk_idle */
enum read_consistency { READ_STRICTLY_AT_ONCE, READ_AT_LEAST_ONCE };

#define CONFIG_GROUP_UNCHANGED ((gid_t)-1)

struct config {
    char data_dir[CONFIG_PATH_BYTES]; /* canonical, as far as it exists */
    char socket_path[CONFIG_SOCKET_PATH_BYTES];
    char run_dir[CONFIG_PATH_BYTES];
    mode_t socket_mode;
    gid_t socket_group; /* CONFIG_GROUP_UNCHANGED: the process's own */

    enum fsync_schedule fsync;
    uint64_t fsync_interval_ns;        /* of FSYNC_INTERVAL; at least 1 ms */
    uint64_t stream_timeout_ns;        /* without progress a stream is given up; at least 1 ms */
    enum read_consistency consistency; /* of read_next and batch_read, unless the client says */
    uint64_t persist_every;            /* of READ_AT_LEAST_ONCE; at least 1 */
    struct retention_policy retention; /* of topics that have none of their own */

    uint64_t arena_bytes;
    bool arena_given; /* false: the default, which may be cut down where tmpfs is small */
    uint64_t chunk_bytes;
    uint64_t segment_bytes;
    uint64_t engines;
    enum idle_strategy idle;
    uint64_t pin_timeout_ns; /* while the arena is short, readers keep what they hold so long */
    uint64_t topics_max;
    uint64_t lanes_max;

    enum io_backend backend;
    enum io_direct direct;

    bool quiet; /* warnings and errors only */
};

/*
 * Fills the paths that are empty with their defaults, makes all absolute and checks how the
 * members fit together. 0, or -EINVAL (a value), -ENAMETOOLONG (a path), -ENOENT (no home, no tmpfs),
 * the words in fault and in *option the name of the option to blame, which the words leave out.
 * Defaults: data_dir     $XDG_STATE_HOME/tusk or $HOME/.local/state/tusk; as root /var/lib/tusk
 *           socket_path  $XDG_RUNTIME_DIR/tusk/tusk.sock; as root /run/tusk/tusk.sock
 *           run_dir      regions-<hash> beside the socket if that is on tmpfs, else
 *                        /dev/shm/tusk-<uid>-<hash>; the hash is that of the canonical data_dir, so a
 *                        restarted broker finds the regions of the one before, and no two stores meet
 */
int config_resolve(struct config *config, const char **option, struct fault *fault);

/* The words of the option table, for log lines. */
const char *config_fsync_name(enum fsync_schedule schedule);
const char *config_idle_name(enum idle_strategy strategy);

#endif
