/*
 * Peer: something that carries entries from process to process or stores them, behind one small
 * interface, so that all are driven, checked and timed by the same code. Tusk is one of them.
 * Runs on:    missing, open and close on the benchmark's main thread; the rest in the processes of
 *             a crew, which are forked between open and close. Libraries with threads of their own
 *             are touched only there.
 * Invariants: entries of a channel come to its one receiver in the order in which its sender sent
 *             them; peer_take() checks each one.
 * Not here:   what is asked of them (peer_trial.h); the peers: each file peers/NAME.c defines
 *             `const struct peer peer_NAME`, and names what it needs in two lines of its first
 *             comment, which bench/CMakeLists.txt and install-deps.sh read:
 *               Needs:    pkg-config MODULE | cmake PACKAGE | header FILE library NAME | nothing
 *               Packages: those of Debian that provide it, and a server | none
 */
#ifndef TUSK_BENCH_PEER_H
#define TUSK_BENCH_PEER_H

#include "bench/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#define PEER_WAIT_MS 5 /* that a receiver waits for entries, so that it sees the end soon */
#define PEER_CHANNELS 2
#define PEER_SIZE_MIN 16 /* an entry's sequence number at its beginning, and inverted at its end */

enum peer_shape {
    PEER_RELAY,   /* one sender, one receiver in another process, nothing synced */
    PEER_DURABLE, /* senders only; each send returns when its entries are on stable storage */
    PEER_PING     /* two processes that answer each other, through channels 0 and 1 */
};

/* One measurement. */
struct peer_job {
    const struct settings *settings;
    enum peer_shape shape;
    size_t size;  /* of an entry */
    size_t batch; /* entries of each send */
    unsigned senders;
    char directory[PATH_MAX]; /* for data; removed behind close */
    char run_directory
        [PATH_MAX]; /* for sockets and shared memory: a short name on tmpfs; likewise */
    pid_t server;   /* whose cost is counted; 0: there is none. Set by open */
    void *state;    /* of open and close */
};

/* One process's (or thread's) end of a channel. */
struct peer_end {
    const struct peer_job *job;
    unsigned channel;
    unsigned number;   /* of the sender */
    void *state;       /* of the peer */
    uint64_t next_seq; /* a receiver's: the one that must come */
    uint64_t received;
    uint64_t wrong; /* came twice, out of order or changed */
};

/* Verbs return 0 or -errno, which has been explained on stderr; those that are NULL do nothing. */
struct peer {
    const char *name;
    const char *keeps;   /* where entries are once a relay has taken them; NULL: nowhere */
    const char *syncs;   /* where a durable send leaves them; NULL: not asked */
    bool pings;          /* has a way to wait for an entry that a ping-pong can measure */
    bool threads;        /* senders are threads of one process: it serves no more */
    size_t send_max;     /* bytes of one send; 0: no limit */
    uint64_t lead_bytes; /* that a sender stays within of its receiver; 0: goes ahead */

    /* Whether something isn't here that it needs to run; then says what. */
    bool (*missing)(char *reason, size_t bytes);
    int (*open)(struct peer_job *job);
    void (*close)(struct peer_job *job);

    int (*sender_open)(struct peer_end *end);
    /* Take `count` entries of job->size bytes, one behind the other; they are on their way, or
     * durable, without another call. */
    int (*send)(struct peer_end *end, const char *entries, size_t count);
    /* What has been sent has been accepted. */
    int (*flush)(struct peer_end *end);
    void (*sender_close)(struct peer_end *end);

    int (*receiver_open)(struct peer_end *end);
    /* Wait at most about PEER_WAIT_MS, or until the sender has closed; peer_take() what there
     * is. */
    int (*receive)(struct peer_end *end);
    void (*receiver_close)(struct peer_end *end);
};

/* Those that were built, and of those that were not why; made by bench/CMakeLists.txt. */
struct peer_absent {
    const char *name;
    const char *reason;
};
extern const struct peer *const peers_built[];
extern const size_t peers_built_count;
extern const struct peer_absent peers_absent[];
extern const size_t peers_absent_count;

/* Say on stderr what failed; returns error, which is negative. */
int peer_fail(const struct peer_end *end, int error, const char *what);

/* The same with a library's own words; returns -EPROTO. */
int peer_fail_because(const struct peer_end *end, const char *what, const char *why);

/* Whether a program is not in PATH; then says so, with the package that has it. */
bool peer_program_missing(const char *program, const char *package, char *reason, size_t bytes);

/* Do something with a library that is touched in the processes of a crew only: in a process of its
 * own, which is waited for. 0 or -errno. */
int peer_apart(struct peer_job *job, int (*verb)(struct peer_job *job));

/* For receivers that have to look again and again: yield, and after a while sleep. */
void peer_look_again(unsigned *looks);

/* Count and check an entry that has come. */
static inline void peer_take(struct peer_end *end, const void *entry, size_t size)
{
    uint64_t seq = 0;
    uint64_t inverted = 0;

    if (size != end->job->size) {
        end->wrong++;
        return;
    }
    memcpy(&seq, entry, sizeof seq);
    memcpy(&inverted, (const char *)entry + size - sizeof inverted, sizeof inverted);
    end->wrong += seq < end->next_seq || inverted != ~seq;
    end->next_seq = seq + 1;
    end->received++;
}

/* The same for entries that lie one behind the other. */
static inline void peer_take_all(struct peer_end *end, const char *entries, size_t bytes)
{
    const size_t size = end->job->size;

    for (; bytes >= size; bytes -= size, entries += size) {
        peer_take(end, entries, size);
    }
    end->wrong += bytes != 0;
}

#endif
