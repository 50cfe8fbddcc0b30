/*
 * Submission: what a client writes into its lane's SQ, and the completion it gets in its CQ.
 * Trust:      the engine copies a submission's header once, checks the copy and uses only that.
 *             All-zero memory decodes as SUBMIT_NOTHING, which is never valid.
 * Completions are COMMITTED: they carry the entry's seq, or a negative errno.
 */
#ifndef TUSK_SHM_SUBMISSION_H
#define TUSK_SHM_SUBMISSION_H

#include "shm/layout.h"

enum submission_kind {
    SUBMIT_NOTHING = 0,
    /* Payload follows: one entry. arg: the expected seq with SUBMIT_AT, else 0.
     * Completion: seq. */
    SUBMIT_APPEND = 1,
    /* `bytes` of items follow, each a batch_item and its payload; arg: their count (>= 1).
     * Completion: seq of the first. */
    SUBMIT_BATCH = 2,
    /* Completes when all that this lane submitted before is committed (at once, as the engine works
     * in order) or, with SUBMIT_DURABLE, durable. error: the first failure among submissions
     * without a completion since the last WAIT. A newer durable WAIT of the lane ends a pending
     * one with -ECANCELED. */
    SUBMIT_WAIT = 3,
    /* Completes when the topic's published (SUBMIT_DURABLE: durable) seq is above arg, when the
     * topic is trimmed past it, or deleted (-ESTALE). */
    SUBMIT_WAIT_TAIL = 4,
    /* Loads a chunk of the topic. arg: see SUBMIT_BY_*. Completion: value = chunk_no, seq = the
     * chunk's arena unit, and the chunk stays in the arena until this completion is reaped
     * (cq_head passes it). -ENODATA: trimmed; -EAGAIN: nothing there yet; -EBADMSG: damaged. */
    SUBMIT_FETCH = 5,
    /* Claims entries for the group "default". arg: at most so many bytes of payload (at least one
     * entry); body: struct claim_request_shm. Completion: seq = first, value = its position,
     * error >= 0: how many entries (0: caught up). All chunks of the claim are in the arena and
     * stay there, and in the topic, until this completion is reaped (cq_head passes it): the client
     * pins them first. */
    SUBMIT_CLAIM = 6,
    /* Finds or makes the descriptor of a topic; the body is its name. Does not create the topic.
     * Completion: value = descriptor index, seq = incarnation. */
    SUBMIT_TOPIC_OPEN = 7,
    /* Gives the descriptor back: one for each TOPIC_OPEN. */
    SUBMIT_TOPIC_CLOSE = 8,
    /* Deletes the topic. Completes when the deletion is durable (under `none`: committed). */
    SUBMIT_TOPIC_DELETE = 9,
    /* The topic begins with seq arg from then on; -EINVAL: beyond its next seq. Completes when that is
     * durable (under `none`: committed). */
    SUBMIT_TOPIC_TRIM = 10,
    /* Body: option text, NUL, value text, NUL. arg: enum topic_set_when. Completes when that is durable
     * (under `none`: committed). -ENOENT: the topic does not exist; -EINVAL: no such option or
     * value. */
    SUBMIT_TOPIC_SET = 11,
    /* Ends the pending WAIT_TAIL, FETCH or CLAIM with user_data == arg by -ECANCELED; posts nothing
     * itself. */
    SUBMIT_CANCEL = 12,
    /* Lets the lane's later appends to the topic pass again after a -EAGAIN (no_wait). */
    SUBMIT_RESUME = 13,
    /* What a topic may give up. Completion: error >= 0: enum retention_term; value = bytes_max, seq =
     * age_ns (see retention_policy.h). */
    SUBMIT_TOPIC_GET = 14,
    /* Begins a stream: entries that are one batch, too large for one submission. Body: struct
     * stream_open_shm; arg: the expected seq with SUBMIT_AT, else 0. Completes once, when the stream
     * ends: seq of the first entry, or why nothing of it was appended. Until then the lane holds
     * the topic's tail and sends only DATA, COMMIT and ABORT for it, besides what is no append. */
    SUBMIT_STREAM_OPEN = 15,
    /* The next bytes of the stream's body: items as in a BATCH, cut anywhere, at most UNIT_BYTES_MAX at
     * a time. Posts no completion, nor do COMMIT and ABORT. What follows the end of a stream that
     * failed is passed over, up to its COMMIT or ABORT. */
    SUBMIT_STREAM_DATA = 16,
    /* All of the body was sent: the stream becomes visible. */
    SUBMIT_STREAM_COMMIT = 17,
    /* The stream is given up: OPEN completes with -ECANCELED, nothing of it is ever visible. */
    SUBMIT_STREAM_ABORT = 18,
};

/* For a TOPIC_SET: */
enum topic_set_when {
    TOPIC_SET_NOW = 0,
    TOPIC_SET_AT_CREATION = 1, /* nothing, once the topic exists */
};

/* In the answer to a TOPIC_GET: */
enum retention_term {
    RETENTION_TERM_CONSUMED = 1,
    RETENTION_TERM_OWN = 2, /* the topic's own policy, not its namespace's */
};

enum submission_flag {
    SUBMIT_QUIET = 1,      /* APPEND, BATCH, RESUME, TOPIC_CLOSE, CANCEL: post no completion */
    SUBMIT_AT = 2,         /* APPEND, STREAM_OPEN: only if its seq will be arg, else -EILSEQ */
    SUBMIT_NO_WAIT = 4,    /* APPEND, BATCH, STREAM_OPEN: -EAGAIN rather than waiting to begin */
    SUBMIT_NO_CREATE = 8,  /* the same three: -ENOENT for a topic that does not exist */
    SUBMIT_DURABLE = 16,   /* WAIT, WAIT_TAIL: what is durable */
    SUBMIT_PEEK = 32,      /* CLAIM: move nothing */
    SUBMIT_STRICT = 64,    /* CLAIM: complete once the cursor's move is durable */
    SUBMIT_BY_CHUNK = 128, /* FETCH: arg is a chunk number */
    SUBMIT_BY_SEQ = 256,   /* FETCH: the chunk in which to begin looking for seq arg */
    SUBMIT_BY_TIME = 512,  /* FETCH: ... for the first entry committed at arg or later */
    SUBMIT_FLAGS_KNOWN = 1023,
};

struct submission_shm {
    uint32_t bytes;       /* of the body behind this header */
    uint16_t kind;        /* enum submission_kind */
    uint16_t flags;       /* enum submission_flag */
    uint32_t topic;       /* descriptor index */
    uint32_t incarnation; /* low bits of the descriptor's incarnation when it was opened */
    uint64_t user_data;   /* copied into the completion */
    uint64_t arg;
};
LAYOUT_SIZE(struct submission_shm, 32);
LAYOUT_AT(struct submission_shm, user_data, 16);

/* The checked copy has the plain name. */
struct submission {
    uint32_t bytes;
    uint16_t kind;
    uint16_t flags;
    uint32_t topic;
    uint32_t incarnation;
    uint64_t user_data;
    uint64_t arg;
};
LAYOUT_SIZE(struct submission, 32);

struct batch_item_shm {
    uint64_t bytes;
};
LAYOUT_SIZE(struct batch_item_shm, 8);

/* All of it is known before anything is written, so that limits are kept before. */
struct stream_open_shm {
    uint64_t entries;         /* >= 1 */
    uint64_t bytes;           /* of all payloads */
    uint64_t body_bytes;      /* of all items, as batch_item_bytes() counts them */
    uint64_t entry_bytes_max; /* no entry is larger */
};
LAYOUT_SIZE(struct stream_open_shm, 32);

struct claim_request_shm {
    uint32_t entries_max;
    uint32_t chunks_max;    /* the claim ends where it would touch one more */
    uint32_t persist_every; /* at-least-once: at most so many entries are repeated; 0 acts as 1 */
    uint32_t reserved;
};
LAYOUT_SIZE(struct claim_request_shm, 16);

struct completion_shm {
    uint64_t user_data;
    uint64_t seq;
    int32_t error; /* 0, a count, or -errno */
    uint32_t flags;
    uint64_t value;
};
LAYOUT_SIZE(struct completion_shm, 32);
LAYOUT_AT(struct completion_shm, error, 16);

enum { SUBMISSION_HEADER_BYTES = 32, BATCH_ITEM_BYTES = 8 };

/* Bytes that a submission with this body takes in the SQ. */
static inline uint64_t submission_bytes(uint64_t body_bytes)
{
    return align_up(SUBMISSION_HEADER_BYTES + body_bytes, SUBMISSION_ALIGNMENT);
}

/* Bytes that one entry takes in the body of a batch. */
static inline uint64_t batch_item_bytes(uint64_t payload_bytes)
{
    return align_up(BATCH_ITEM_BYTES + payload_bytes, BATCH_ITEM_ALIGNMENT);
}

#endif
