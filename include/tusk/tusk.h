/*
 * libtusk: append to and read from durable topics that many processes on one machine share.
 *
 * This header is the manual. First what holds for every call, then each call with what it does,
 * what it costs and what it returns.
 *
 * Results   Every function that returns int gives 0, or a count or 1 where said, or a negative
 *           errno value (-ENOENT, never errno itself). tusk_strerror() puts it into words. The
 *           library prints nothing, installs no signal handler, starts no thread and never ends
 *           its application.
 *
 * Handles   struct tusk is a connection to one namespace, which is an isolated set of topics; struct
 *           tusk_topic is a topic of one, struct tusk_reader an independent position in a topic. All
 *           are opaque; whoever opened one closes it. Closing NULL does nothing. Everything opened
 *           on a connection is closed by tusk_disconnect().
 *
 * Options   NULL options and zero members mean the documented default. Structs whose first member
 *           is size are made with their *_INIT macro; the library reads and writes only size bytes
 *           of them, so that programs built against an older header go on working.
 *
 * Threads   A connection and its topics may be used by any number of threads. Each thread gets a
 *           lane of its own (shared memory between it and the broker) at its first call that needs
 *           one, given back when the thread exits. tusk_submit, tusk_submit_batch, tusk_reserve,
 *           tusk_commit, tusk_abandon, tusk_reap, tusk_flush, tusk_fd, tusk_arm and tusk_wait are
 *           about the calling thread's lane only. With tusk_options.one_lane the handle has a
 *           single lane, used by one thread at a time, not always the same one (for runtimes that
 *           move work between threads). A reader belongs to one thread at a time; one that moves
 *           to another thread lets go of its entry first.
 *
 * Levels    COMMITTED: the entry has its sequence number and readers see it; it survives the
 *           death of any client. DURABLE: it is on stable storage. When entries become durable by
 *           themselves is the namespace's schedule (tuskd --fsync each | N ms | none). Under `each`
 *           completions are handed out for, and readers see, durable entries only.
 *
 * Entries   tusk_entry.data stays valid until the next read call (tusk_read_next,
 *           tusk_batch_read, tusk_reader_next, _batch, _seek, _close) on the same handle from the
 *           same thread; appends don't end it. An entry that lies in one piece of the log is seen
 *           in place, without a copy; one that lies in several is assembled in a buffer of the
 *           handle. Where the broker's memory is short, a place that is held longer than the
 *           broker's --pin-timeout (10 s) can be taken back: whoever holds an entry that long
 *           copies it or asks tusk_entry_check() after use. The next read call on the handle then
 *           answers -ESTALE, once, and the one after it goes on behind the entries given before.
 *
 * Blocking  Calls without a time-out of their own wait up to tusk_options.timeout_ms. A
 *           timeout_ms parameter of 0 asks only, -1 waits for ever. Signals by themselves don't
 *           end a wait; tusk_wakeup() does. No call is a pthread cancellation point.
 *
 * fork      In the child every call on an inherited handle is -EOWNERDEAD, except
 *           tusk_disconnect(), which there only frees memory. The child connects anew.
 *
 * Limits    A topic's name is 1 to 255 bytes, any but NUL; it never becomes a path. An entry may
 *           be empty and has at most 1 GiB, a batch 16 GiB and 1,048,576 entries: else -EMSGSIZE
 *           and nothing is written. What is not waited for (tusk_submit, tusk_submit_batch,
 *           tusk_reserve) fits half a lane (tusk_options.lane_bytes) with its headers.
 *           A lane has up to 1,984 completions that were not reaped, those under way included (then
 *           -EAGAIN), and waits for up to 1,000 readers and cursors at a time (then -ENOMEM).
 *
 * Streams   An entry or batch that doesn't fit half a lane travels in pieces while the call waits.
 *           Until it is all there the topic takes nothing else: appends of others wait in their
 *           lanes, in order, or are refused with -EAGAIN as their no_wait says. It needs no memory
 *           of its size, and readers see all of it at once or, when the call fails or its process
 *           dies, nothing.
 *
 * Retention What a topic gives back, oldest entries first and whole pieces of the log at a time:
 *             consumed     what every cursor of the topic has passed; a topic that nobody has read by
 *                          its cursor keeps everything. The default
 *             bytes=SIZE   what is beyond that much log, as bytes=10GiB
 *             age=TIME     what is older, as age=7d (ms, s, min, h, d; never without a unit). The broker's
 *                          own time counts: a jump of the clock deletes nothing, and while no broker
 *                          runs nothing ages
 *             none         nothing
 *           Several, joined by commas, each give their part back: "consumed,bytes=10GiB" keeps at most
 *           10 GiB of what has not been read. bytes and age take entries that nobody has read, too: the
 *           cursor then goes on with the first one kept. Only what is durable goes, and never the last
 *           piece of a topic. A reader whose place was given up gets -ENODATA, stays where it is, and
 *           goes on after a seek; tusk_topic_stat.first_seq is the first entry still there.
 *
 * Errors    Each function names the errors particular to it. Besides, any call may answer
 *             -EINVAL      an argument or a name is not possible
 *             -ENOTCONN    no broker within timeout_ms
 *             -ESTALE      the broker is gone, or has given this session up: connect again; or the
 *                          topic was deleted: open it again; or, once, from a read call: what the
 *                          call before gave was held too long and has been taken back (see Entries)
 *             -EPROTO      this library and the broker don't fit, or the broker broke the protocol
 *             -EACCES      not allowed
 *             -ENOMEM      no memory, or no further lane
 *             -EOWNERDEAD  the handle was inherited through fork
 *           any blocking call
 *             -ETIMEDOUT   not within the time allowed
 *             -EINTR       tusk_wakeup() was called
 *           and any append, whether by its return value or by its completion
 *             -EMSGSIZE    entry or batch too large, or too many entries in a batch: see "Limits"
 *             -ENOSPC      disk or quota full: nothing was written, later ones may succeed
 *             -EIO         writing to the store failed; no append is accepted until the broker has
 *                          been restarted, reads go on
 *
 * Consumers and consumer groups are not part of this release: their types are laid down here, and
 * the one cursor that there is per topic is that of tusk_read_next() and tusk_batch_read().
 */
#ifndef TUSK_TUSK_H
#define TUSK_TUSK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#if defined(__GNUC__) || defined(__clang__)
#define TUSK_API __attribute__((visibility("default")))
#else
#define TUSK_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct tusk;
struct tusk_topic;
struct tusk_consumer;
struct tusk_reader;

/* How safe an entry is; see "Levels" above. */
enum tusk_level { TUSK_COMMITTED = 0, TUSK_DURABLE = 1 };

/*
 * How a call waits. ADAPTIVE spins briefly, yields, then sleeps. SPIN never sleeps: lowest latency,
 * one core busy while a call waits. BLOCK sleeps at once.
 */
enum tusk_idle { TUSK_IDLE_ADAPTIVE = 0, TUSK_IDLE_SPIN = 1, TUSK_IDLE_BLOCK = 2 };

/*
 * What a checkpointed read promises. STRICTLY_AT_ONCE: the cursor (and the entries) are durable
 * before the call returns, one group commit per call, started at once; an entry is never given
 * twice, but a process killed inside the call may take that call's entries with it. Under
 * --fsync none the cursor is committed only. AT_LEAST_ONCE: the cursor is persisted every
 * persist_every entries and when the broker stops cleanly; only a broker that starts from disk
 * after a crash repeats any, at most persist_every. DEFAULT: what the namespace is set
 * to (tusk config --namespace, else tuskd --consistency, strict unless said otherwise).
 */
enum tusk_consistency {
    TUSK_CONSISTENCY_DEFAULT = 0,
    TUSK_STRICTLY_AT_ONCE = 1,
    TUSK_AT_LEAST_ONCE = 2
};

/*
 * Where a reader begins: the first entry kept; the first one appended from now on; the entry of
 * that sequence number; the first entry committed at or after that time.
 */
enum tusk_from {
    TUSK_FROM_EARLIEST = 0,
    TUSK_FROM_LATEST = 1,
    TUSK_FROM_SEQ = 2,
    TUSK_FROM_TIME = 3
};

/* "No particular sequence number". */
#define TUSK_ANY_SEQ UINT64_MAX

/*
 * One entry as a read call gives it. Passed in arrays, so its size is 64 bytes for ever; what is
 * added takes a reserved member, 0 until then.
 */
struct tusk_entry {
    const void *data;    /* see "Entries" above; not NULL even if size is 0 */
    size_t size;         /* bytes of payload */
    uint64_t seq;        /* 0, 1, 2 ... per topic, without gaps */
    uint64_t time_ns;    /* when it was committed: ns since the epoch */
    uint32_t deliveries; /* consumers: 1 the first time */
    uint32_t flags;      /* 0 */
    uint64_t reserved[3];
};

/* The end of one submission. Passed in arrays, 32 bytes for ever. */
struct tusk_completion {
    uint64_t user_data; /* what the submission was given */
    uint64_t seq;       /* its sequence number, a batch's first; TUSK_ANY_SEQ if error is not 0 */
    int32_t error;      /* 0, or a negative errno: not appended */
    uint32_t flags;     /* 0 */
    uint64_t reserved;
};

/* What tusk_topic_info() and tusk_topic_list() tell. A topic that doesn't exist has all zeros. */
struct tusk_topic_stat {
    size_t size;
    uint64_t first_seq;   /* of the first entry kept */
    uint64_t next_seq;    /* that the next entry will get */
    uint64_t durable_seq; /* entries below this one are durable */
    uint64_t unread;      /* entries that the default cursor has not passed */
    uint64_t bytes;       /* of log from the first entry kept to the tail, headers included */
};

struct tusk_group_stat {
    size_t size;
    uint64_t committed_seq;
    uint64_t claimed;
    uint64_t unread;
    uint64_t members;
    uint64_t redelivered;
};

struct tusk_options {
    size_t size;
    /*
     * The broker's socket. Default: $TUSK_SOCKET, else $XDG_RUNTIME_DIR/tusk/tusk.sock if it
     * exists, else /run/tusk/tusk.sock.
     */
    const char *socket_path;
    /*
     * Whose topics: 1 to 1024 bytes, any but NUL; made when there is none of that key. Default (NULL
     * or ""): $TUSK_NAMESPACE, else "default".
     */
    const char *namespace_key;
    size_t lane_bytes;      /* submission memory per lane; a power of two; default 256 KiB */
    uint32_t idle;          /* enum tusk_idle */
    uint32_t consistency;   /* enum tusk_consistency, of tusk_read_next and tusk_batch_read */
    uint32_t persist_every; /* with TUSK_AT_LEAST_ONCE; 0 acts as 1 */
    int32_t timeout_ms;     /* of calls without one of their own; 0 = 30 000, -1 = for ever */
    uint32_t one_lane;      /* 1: see "Threads" above */
    uint32_t reserved;      /* 0 */
};

struct tusk_topic_options {
    size_t size;
    /*
     * What the topic may give up, as in "Retention" above, applied if this handle, or another one
     * opened with it, is there when the topic is created; nothing for a topic that exists
     * (tusk_topic_set() changes it). Default: the namespace's (tusk_namespace_set(), else tuskd
     * --retention). A text that is none is -EINVAL.
     */
    const char *retention;
    uint32_t no_wait;   /* 1: what would have to wait for the topic or for memory is -EAGAIN */
    uint32_t no_create; /* 1: an append to a topic that doesn't exist is -ENOENT */
};

struct tusk_consumer_options {
    size_t size;
    const char *group;
    uint64_t from_value; /* the seq, or ns since the epoch */
    uint32_t from;       /* enum tusk_from; used when the group is new */
    uint32_t consistency;
    uint32_t persist_every;
    uint32_t prefetch;
    uint32_t manual_ack;
    uint32_t durable_only;
    uint32_t claim_timeout_ms; /* 0: until the member dies */
    uint32_t max_deliveries;   /* 0: no limit; over it an entry goes to dead_topic */
    const char *dead_topic;
};

struct tusk_reader_options {
    size_t size;
    uint64_t from_value;   /* the seq, or ns since the epoch; unused for EARLIEST and LATEST */
    uint32_t from;         /* enum tusk_from */
    uint32_t durable_only; /* 1: only entries that are durable */
};

/* Values of these structs with size set and everything else 0. */
#ifdef __cplusplus
#define TUSK_INIT_(type)                                                                           \
    []() {                                                                                         \
        type v_{};                                                                                 \
        v_.size = sizeof v_;                                                                       \
        return v_;                                                                                 \
    }()
#else
#define TUSK_INIT_(type)                                                                           \
    (type)                                                                                         \
    {                                                                                              \
        .size = sizeof(type)                                                                       \
    }
#endif
#define TUSK_OPTIONS_INIT TUSK_INIT_(struct tusk_options)
#define TUSK_TOPIC_OPTIONS_INIT TUSK_INIT_(struct tusk_topic_options)
#define TUSK_CONSUMER_OPTIONS_INIT TUSK_INIT_(struct tusk_consumer_options)
#define TUSK_READER_OPTIONS_INIT TUSK_INIT_(struct tusk_reader_options)
#define TUSK_TOPIC_STAT_INIT TUSK_INIT_(struct tusk_topic_stat)

#ifdef __cplusplus
static_assert(sizeof(struct tusk_entry) == 64, "passed in arrays: never changes size");
static_assert(sizeof(struct tusk_completion) == 32, "passed in arrays: never changes size");
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct tusk_entry) == 64, "passed in arrays: never changes size");
_Static_assert(sizeof(struct tusk_completion) == 32, "passed in arrays: never changes size");
#endif

/* ---- Connection ------------------------------------------------------------------------------ */

/*
 * Connect to the broker and one of its namespaces, waiting up to timeout_ms for the broker to
 * appear and for the namespace to be opened, which takes as long as its recovery when nobody had it
 * open.
 * Owner:   the caller; *tusk is written only on success.
 * Threads: any.  Cost: system calls and mappings; do it once per process and namespace.
 * Returns: 0; -ENOTCONN, -EACCES, -EPROTO, -ENOMEM, -EINVAL; and when the namespace cannot be
 *          opened, for the reason that the broker's log tells in words: -ENOSPC, -EIO, -EBADMSG,
 *          -EBUSY.
 */
TUSK_API int tusk_connect(struct tusk **tusk, const struct tusk_options *options);

/*
 * Close the connection and everything opened on it. Waits up to timeout_ms until all that was
 * submitted on any of its lanes is COMMITTED and reports nothing: who wants to know calls
 * tusk_flush() first. In a forked child it only frees memory.
 * Threads: no other thread may be in a call on the handle.
 */
TUSK_API void tusk_disconnect(struct tusk *tusk);

/*
 * A file descriptor for poll, select or epoll that turns readable when tusk_arm() said 0 and the
 * calling thread's lane has something new. It stays the same for the life of the lane. Only
 * watch it: don't read, write or close it.
 * Cost:    system calls the first time.
 * Returns: the descriptor (0 or more), or an error.
 */
TUSK_API int tusk_fd(struct tusk *tusk);

/*
 * Announce that this thread is going to sleep on tusk_fd(). To be called after calls with a
 * time-out of 0 and before poll; such calls never arm by themselves.
 * Returns: 1: a call of this thread that last answered 0 or -EAGAIN may succeed now (an entry, a
 *          completion, room, a flush), so don't sleep; 0: none, and tusk_fd() turns and stays
 *          readable as soon as one may. The next tusk_arm() clears it.
 */
TUSK_API int tusk_arm(struct tusk *tusk);

/*
 * tusk_arm() and sleep.
 * Returns: 1: something may succeed now; 0: timeout_ms passed; -EINTR: tusk_wakeup().
 */
TUSK_API int tusk_wait(struct tusk *tusk, int timeout_ms);

/*
 * Make the wait in progress, or the next one, of every thread of the handle return -EINTR.
 * Threads: any, and signal handlers.
 */
TUSK_API void tusk_wakeup(struct tusk *tusk);

/* ---- Topics ---------------------------------------------------------------------------------- */

/*
 * A handle for a topic, whether it exists or not: it is created by the first append to it. Options
 * may be NULL.
 * Owner:   the caller; closed by tusk_topic_close().
 * Threads: the handle may be shared by all threads of the connection.
 * Cost:    may ask the broker.
 * Returns: 0; -EINVAL: the name is empty or longer than 255 bytes, or an option is unknown.
 */
TUSK_API int tusk_topic_open(struct tusk *tusk, const char *name,
                             const struct tusk_topic_options *options, struct tusk_topic **topic);

/*
 * Free the handle; what was submitted through it is appended all the same, and its readers go on
 * until they are closed.
 */
TUSK_API void tusk_topic_close(struct tusk_topic *topic);

/*
 * Remove a topic and all that is in it. Every handle of it, in any process, and every wait on it
 * answers -ESTALE; a topic of that name that is created later is another one, from seq 0.
 * Cost:    a round trip to the broker.
 * Returns: 0; -ENOENT: there is none.
 */
TUSK_API int tusk_topic_delete(struct tusk *tusk, const char *name);

/*
 * Give up the entries before first_seq. What is kept begins at first_seq exactly; the space is
 * given back piece by piece. A position before what is kept is no error and changes nothing.
 * Cost:    a round trip to the broker.
 * Returns: 0; -ENOENT: no such topic; -EINVAL: first_seq is beyond the next entry's.
 */
TUSK_API int tusk_topic_trim(struct tusk_topic *topic, uint64_t first_seq);

/*
 * Change an option of a topic: "retention", whose value is as in "Retention" above, or "default" for
 * the namespace's. It holds from then on, also after a restart.
 * Cost:    a round trip to the broker, and a sync (under --fsync none: no sync).
 * Returns: 0; -ENOENT: no such topic; -EINVAL: no such option, or not a value of it.
 */
TUSK_API int tusk_topic_set(struct tusk_topic *topic, const char *option, const char *value);

/*
 * What holds for a topic, as text: "retention"; and "retention_source": "topic" if it has its own,
 * "default" if the namespace's holds. value has room for size bytes, the end included; 96 are enough.
 * Cost:    a round trip to the broker.
 * Returns: the length; -ENOENT: no such topic; -EINVAL: no such option; -EMSGSIZE: size is too small.
 */
TUSK_API int tusk_topic_get(struct tusk_topic *topic, const char *option, char *value, size_t size);

/*
 * What a topic holds. stat->size says how much of it the caller knows (TUSK_TOPIC_STAT_INIT).
 * Cost:    no system call once the topic is known to exist.
 * Returns: 0, with zeros for a topic that doesn't exist.
 */
TUSK_API int tusk_topic_info(struct tusk_topic *topic, struct tusk_topic_stat *stat);

/*
 * Call each for every topic, in no particular order. name and stat are valid during the call; each
 * returns 0 to go on, anything else to stop.
 * Returns: 0, or what each returned.
 */
TUSK_API int tusk_topic_list(struct tusk *tusk,
                             int (*each)(const char *name, const struct tusk_topic_stat *stat,
                                         void *arg),
                             void *arg);

/*
 * Call each for every counter of the broker: its name (lower case, digits and underscores), a line
 * that explains it, its value. The strings are valid during the call; each returns 0 to go on,
 * anything else to stop.
 * Cost:    reads shared memory; the broker notices nothing.
 * Returns: 0, or what each returned.
 */
TUSK_API int tusk_counter_list(struct tusk *tusk,
                               int (*each)(const char *name, const char *help, uint64_t value,
                                           void *arg),
                               void *arg);

/* ---- Namespaces ------------------------------------------------------------------------------ */

/* What tusk_namespace_list() tells of one. */
struct tusk_namespace_stat {
    size_t size;
    uint64_t sessions; /* connections to it, this one included */
    uint64_t topics;   /* that exist; 0 while it is not open */
    uint32_t open;     /* 1: the broker serves it; 0: nobody has connected to it since its start */
    uint32_t reserved; /* 0 */
};

/*
 * Give the connection's namespace an option of its own: "fsync" ("each", a time as "200 ms", "none"),
 * "consistency" ("strict", or a number of entries), "retention" (as in "Retention" above); or "default"
 * for the broker's. It holds from then on, also after a restart. When a call that changes "fsync" has
 * returned, everything committed before it is durable, whatever the schedules.
 * Threads: any.  Cost: a round trip to the broker, a small file, a sync.
 * Returns: 0; -EINVAL: no such option, or not a value of it; -EBUSY: it is being changed by another
 *          call; -EIO, -ENOSPC: its file cannot be written, nothing has changed.
 */
TUSK_API int tusk_namespace_set(struct tusk *tusk, const char *option, const char *value);

/*
 * What holds for the connection's namespace, as text: an option's name; or that with "_source" behind
 * it: "namespace" if it has its own, "default" if the broker's holds. value has room for size bytes,
 * the end included; 128 are enough.
 * Threads: any.  Cost: a round trip to the broker.
 * Returns: the length; -EINVAL: no such option; -EMSGSIZE: size is too small.
 */
TUSK_API int tusk_namespace_get(struct tusk *tusk, const char *option, char *value, size_t size);

/*
 * Call each for every namespace of the broker, in the order of their keys' bytes. key and stat are
 * valid during the call; each returns 0 to go on, anything else to stop, and may use the connection.
 * Threads: any.  Cost: a round trip to the broker for each.
 * Returns: 0, or what each returned.
 */
TUSK_API int tusk_namespace_list(struct tusk *tusk,
                                 int (*each)(const char *key,
                                             const struct tusk_namespace_stat *stat, void *arg),
                                 void *arg);

/*
 * Remove a namespace and all that is in it, for good. Nobody may be connected to it, this connection
 * included. One of that key that is made later is another one. When the call has returned, so much
 * is durable; what was on disk may take a while to go.
 * Threads: any.  Cost: a round trip to the broker, which closes the namespace's store first.
 * Returns: 0; -ENOENT: there is none; -EBUSY: somebody is connected to it, or it is being opened or
 *          changed; -EACCES: it is "default", which stays; -EINVAL: the key is empty or too long.
 */
TUSK_API int tusk_namespace_delete(struct tusk *tusk, const char *key);

/* ---- Append ---------------------------------------------------------------------------------- */

/*
 * Append one entry and wait until it is COMMITTED (under --fsync each: durable). seq may be NULL.
 * Cost:    no system call while both sides are awake; 64 bytes take a fraction of a microsecond.
 * Returns: 0; -EAGAIN: nothing was submitted (no_wait); -ETIMEDOUT: it is submitted and will be
 *          appended once, when the broker takes it: don't repeat it, tusk_flush() tells the end;
 *          -ENOENT (no_create); -EBUSY: this thread holds a reservation; any other error: it was
 *          not appended.
 *          Of a stream (see "Streams") timeout_ms bounds each wait for the broker to take more. While
 *          not all of it is sent, its end is -EAGAIN, and -EINTR after tusk_wakeup(): none of it was
 *          appended. -ETIMEDOUT then says that this process sent nothing for the broker's
 *          --stream-timeout, so that it gave the stream up: as the next tusk_flush() tells by
 *          -ECANCELED, none of it was appended.
 */
TUSK_API int tusk_append(struct tusk_topic *topic, const void *data, size_t size, uint64_t *seq);

/*
 * As tusk_append(), but only if the entry's seq will be expected_seq: compare and append.
 * Returns: as tusk_append(); -EILSEQ: it would have got another seq, nothing is written.
 */
TUSK_API int tusk_append_at(struct tusk_topic *topic, uint64_t expected_seq, const void *data,
                            size_t size);

/*
 * Append count entries as one: all or nothing, contiguous, in this order, for readers and across a
 * power loss. Waits as tusk_append() does. first_seq may be NULL.
 * Returns: as tusk_append(). An empty batch is 0: nothing is written, *first_seq is untouched and
 *          the topic isn't created.
 */
TUSK_API int tusk_batch_append(struct tusk_topic *topic, const struct iovec *entries, size_t count,
                               uint64_t *first_seq);

/*
 * Submit one entry without waiting; data is copied before the call returns. Its end is a
 * completion for tusk_reap(), in submission order per topic. With user_data 0 there is none: the
 * first failure of such an entry is returned by the next tusk_flush(), once, and counted. A failed
 * entry doesn't hold up later ones, except that after -EAGAIN under no_wait later ones to that
 * topic fail alike until the first is reaped.
 * Cost:    no system call while the broker is awake, one to wake it.
 * Returns: 0: submitted; -EAGAIN: the lane or its completion ring is full: reap, or tusk_wait();
 *          -EMSGSIZE: over half a lane; -EBUSY: this thread holds a reservation.
 */
TUSK_API int tusk_submit(struct tusk_topic *topic, const void *data, size_t size,
                         uint64_t user_data);

/*
 * Submit a batch (all or nothing, see tusk_batch_append) without waiting; one completion.
 * Returns: as tusk_submit(). An empty batch is 0; its completion takes its turn, with TUSK_ANY_SEQ.
 */
TUSK_API int tusk_submit_batch(struct tusk_topic *topic, const struct iovec *entries, size_t count,
                               uint64_t user_data);

/*
 * Room for one entry of up to size bytes in the lane itself, to be filled by the caller and ended
 * by tusk_commit() or tusk_abandon(): saves the copy of tusk_submit(). One reservation per thread;
 * until it ends, the thread's other appends are -EBUSY.
 * Returns: 0 and *buffer (16-byte aligned); -EAGAIN, -EMSGSIZE, -EBUSY as tusk_submit().
 */
TUSK_API int tusk_reserve(struct tusk_topic *topic, size_t size, void **buffer);

/*
 * Submit the first size bytes of the reservation as one entry; user_data as in tusk_submit().
 * Returns: 0; -EINVAL: there is no reservation on this topic, or size is more than was reserved.
 */
TUSK_API int tusk_commit(struct tusk_topic *topic, size_t size, uint64_t user_data);

/* Give the reservation back; nothing is appended. */
TUSK_API void tusk_abandon(struct tusk_topic *topic);

/*
 * Take up to max completions of this thread's lane. Doesn't wait; tusk_wait() does. Blocking calls
 * set completions that are not theirs aside for it.
 * Cost:    no system call.
 * Returns: how many, 0 if there are none now.
 */
TUSK_API int tusk_reap(struct tusk *tusk, struct tusk_completion *completions, size_t max);

/*
 * Wait until all that this thread's lane has submitted, by whatever call, has reached the level.
 * TUSK_DURABLE starts a sync now, whatever the schedule, `none` included. timeout_ms 0 asks only.
 * Returns: 0; -EAGAIN: not yet (timeout_ms 0); -ETIMEDOUT; -EINTR; or the first error of an entry
 *          submitted with user_data 0 since the last flush, or -ECANCELED for a stream that the broker
 *          gave up.
 */
TUSK_API int tusk_flush(struct tusk *tusk, enum tusk_level level, int timeout_ms);

/* ---- Read by the topic's cursor -------------------------------------------------------------- */

/*
 * The next entry at the topic's one cursor, which all processes share and the broker keeps. With
 * checkpoint the cursor moves past it (see enum tusk_consistency) and no other reader of the
 * cursor gets it; without, it is a peek that can be repeated. Doesn't wait for an entry.
 * Cost:    a checkpointed read is a round trip to the broker, with strict consistency a durable
 *          one; a peek of what lies in memory makes no system call.
 * Returns: 1: *entry is filled; 0: caught up, or no such topic; -ENODATA, -EBADMSG as
 *          tusk_reader_next().
 */
TUSK_API int tusk_read_next(struct tusk_topic *topic, bool checkpoint, struct tusk_entry *entry);

/*
 * As tusk_read_next(), for entries in order until their payloads would pass max_bytes, but always
 * one when there is one, and at most max_entries. Checkpointed: one move of the cursor for the
 * whole call, to behind the last entry returned. May give less than the budget when the memory
 * that can be held at once is used up.
 * Returns: how many; 0: caught up, or no such topic; -EINVAL: max_entries is 0.
 */
TUSK_API int tusk_batch_read(struct tusk_topic *topic, size_t max_bytes, bool checkpoint,
                             struct tusk_entry *entries, size_t max_entries);

/* ---- Read independently ---------------------------------------------------------------------- */

/*
 * A position of one's own in a topic: shared with nobody, kept nowhere, and without influence on
 * what is kept. The topic may not exist yet. Options may be NULL: from the earliest entry.
 * Owner:   the caller; tusk_reader_close().  Threads: one at a time.
 * Returns: 0.
 */
TUSK_API int tusk_reader_open(struct tusk_topic *topic, const struct tusk_reader_options *options,
                              struct tusk_reader **reader);

/*
 * The next entry, waiting up to timeout_ms for it (0: ask only).
 * Cost:    no system call while there are entries in memory: tens of nanoseconds each.
 * Returns: 1: *entry is filled; 0: none, with timeout_ms 0; -ETIMEDOUT; -EINTR; -ENODATA: the
 *          position was trimmed: the reader stays where it is, tusk_topic_info() tells the first
 *          entry kept, tusk_reader_seek() goes there; -EBADMSG: a damaged entry: the reader stays
 *          there until it seeks past it.
 */
TUSK_API int tusk_reader_next(struct tusk_reader *reader, struct tusk_entry *entry, int timeout_ms);

/*
 * As tusk_reader_next(), for entries in order until their payloads would pass max_bytes, but always
 * one when there is one, and at most max_entries. Waits for the first entry only.
 * Returns: how many; 0, -ETIMEDOUT, -EINTR, -ENODATA, -EBADMSG as tusk_reader_next(); -EINVAL:
 *          max_entries is 0.
 */
TUSK_API int tusk_reader_batch(struct tusk_reader *reader, size_t max_bytes,
                               struct tusk_entry *entries, size_t max_entries, int timeout_ms);

/*
 * Go elsewhere: value is the seq or the time for TUSK_FROM_SEQ and TUSK_FROM_TIME. A seq that has
 * no entry yet is waited for.
 * Returns: 0; -EINVAL: from is none of enum tusk_from.
 */
TUSK_API int tusk_reader_seek(struct tusk_reader *reader, enum tusk_from from, uint64_t value);

/* Let go of the entries and free the reader. */
TUSK_API void tusk_reader_close(struct tusk_reader *reader);

/*
 * Ask, after having used an entry in place, whether it was intact all the time.
 * Cost:    no system call.
 * Returns: 0: it was; -ESTALE: its place was taken back meanwhile, throw the result away.
 */
TUSK_API int tusk_entry_check(struct tusk_topic *topic, const struct tusk_entry *entry);

/* ---- Words ----------------------------------------------------------------------------------- */

/* What an error of this library means, in a few words; takes the negative value. Static text. */
TUSK_API const char *tusk_strerror(int error);

/* The version of the library, as in "0.1.0". Static text. */
TUSK_API const char *tusk_version(void);

#ifdef __cplusplus
}
#endif

#endif
