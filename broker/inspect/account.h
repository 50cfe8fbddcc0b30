/*
 * Account: which byte of a store is what, summed up, and told range by range to who wants to know.
 * Runs on:    one thread.
 * Invariants: ranges of one file are told in rising order without a gap or an overlap, from 0 to its
 *             size; account_file_end() holds the sums against that.
 * Not here:   finding it out (verify.h).
 */
#ifndef TUSK_BROKER_INSPECT_ACCOUNT_H
#define TUSK_BROKER_INSPECT_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

/* What a byte is. byte_class_name() has the words, which scripts may rely on. */
enum byte_class {
    BYTES_SUPERBLOCK,     /* both copies */
    BYTES_NAMESPACE,      /* the file that says whose the store is */
    BYTES_SEGMENT_HEADER, /* the first block of a segment */
    BYTES_CHUNK_HEADER,   /* of chunks in use */
    BYTES_FRAME_HEADER,   /* of entries, and of the ends of batches */
    BYTES_PAYLOAD,        /* of entries that are there */
    BYTES_DAMAGED,        /* where something of the above should be */
    BYTES_PAD,            /* a chunk's end that no frame uses, and the PAD frames before it */
    BYTES_ALIGNMENT,      /* behind payloads */
    BYTES_TRIMMED,        /* entries before the first one kept, in a chunk that is kept */
    BYTES_REST,           /* zeros behind a log's tail */
    BYTES_BEHIND_TAIL,    /* written, but no part of a log: torn, rolled back, or of an older use */
    BYTES_RESERVED,   /* chunks that are set aside and not used yet; behind a segment's header */
    BYTES_FREE_ZERO,  /* free slots without content */
    BYTES_FREE_USED,  /* free slots that were used before */
    BYTES_EXCESS,     /* behind a file's proper end */
    BYTES_UNASSIGNED, /* of a store whose records are lost: nobody knows whose it is */
    BYTES_OTHER_FILE, /* LOCK, unfinished and unknown files */
};
enum { BYTE_CLASSES = BYTES_OTHER_FILE + 1 };

/* A range of one file; topic and chunk where in_topic. */
struct byte_range {
    enum byte_class what;
    uint64_t offset;
    uint64_t bytes;
    bool in_topic;
    uint64_t topic_id;
    uint64_t chunk_no;
};

typedef void (*account_range_fn)(void *context, const char *file, const struct byte_range *range);

struct account {
    uint64_t bytes[BYTE_CLASSES];
    uint64_t files;
    uint64_t files_bytes;
    account_range_fn range_fn; /* may be NULL */
    void *context;

    /* The file that is being told. */
    const char *file;
    uint64_t file_bytes;
    uint64_t told;
    struct byte_range pending; /* bytes 0: none; neighbours of one class are told as one */
};

void account_file_begin(struct account *account, const char *file, uint64_t bytes);
/* The next bytes of the file; what lies behind the file's size is not counted. */
void account_add(struct account *account, const struct byte_range *range);
void account_file_end(struct account *account);

const char *byte_class_name(enum byte_class what);

/* Can the content of such bytes never matter to anybody? */
bool byte_class_dead(enum byte_class what);

#endif
