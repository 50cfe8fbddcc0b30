/*
 * Finding: one thing that a look at a store found and a person should know, and all of them in a row.
 * Runs on:    one thread.
 * Invariants: findings keep the order in which they were added; texts are the list's own.
 * Not here:   what is looked for (survey.h, verify.h); how it is printed (report.h).
 */
#ifndef TUSK_BROKER_INSPECT_FINDING_H
#define TUSK_BROKER_INSPECT_FINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is wrong. finding_kind_name() has the words, which scripts may rely on. */
enum finding_kind {
    FINDING_CHECKSUM,       /* frames that are not as they were written */
    FINDING_CHUNK_HEADER,   /* a chunk whose header is not its own */
    FINDING_GAP,            /* nothing where durable entries were, or a break between two chunks */
    FINDING_MISSING_CHUNK,  /* a chunk of a topic's log has no slot */
    FINDING_DOUBLE_SLOT,    /* a slot that two chunks have */
    FINDING_RECORD,         /* a record of the system topic that contradicts others */
    FINDING_SUPERBLOCK,     /* STORE, or one of its copies */
    FINDING_NAMESPACE,      /* NAMESPACE, which says whose the store is */
    FINDING_SEGMENT_HEADER, /* a segment whose first block is damaged */
    FINDING_FOREIGN,        /* a segment of another store */
    FINDING_MISPLACED,      /* a segment under another one's name */
    FINDING_SIZES,          /* a segment with other sizes than its store */
    FINDING_MISSING_FILE,   /* STORE, or a segment */
    FINDING_FILE_SIZE,      /* a file that was cut or extended */
    FINDING_FILE_KIND,      /* something else in the place of a file */
    FINDING_VERSION,        /* written by a newer version */
    FINDING_READ_ERROR,     /* the disk could not read it */
    FINDING_UNKNOWN_FILE,   /* a name that no store has */
    FINDING_UNFINISHED,     /* a file whose making was cut short: the next start removes it */
    FINDING_TORN_END,       /* what was being written when a broker died, never acknowledged */
    FINDING_START,          /* a start refuses the store for a reason that nothing above names */
};
enum { FINDING_KINDS = FINDING_START + 1 };

enum finding_weight {
    WEIGHT_NOTE,   /* nothing is wrong */
    WEIGHT_MENDED, /* damage that costs nothing: there is another copy */
    WEIGHT_DAMAGE,
};

struct finding {
    enum finding_kind kind;
    enum finding_weight weight;
    const char *file; /* a path; "" when it is about none */
    uint64_t offset;
    uint64_t bytes; /* 0: unknown, or the whole file */
    bool in_topic;  /* the next members hold */
    uint64_t topic_id;
    const char *topic; /* its name */
    uint64_t chunk_no;
    bool loses; /* entries [seq_first, seq_end) can't be read */
    uint64_t seq_first;
    uint64_t seq_end;
    const char *words; /* what was found, what was expected, what to do */
};

struct findings {
    struct finding *all;
    size_t count;
    size_t max;
    size_t weights[WEIGHT_DAMAGE + 1]; /* how many there are of each */
    bool unreadable;                   /* FINDING_READ_ERROR is among them */
    bool short_of_memory;              /* some were lost */
};

/* Adds a copy; the words come from the format. */
void finding_add(struct findings *findings, const struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void findings_free(struct findings *findings);

const char *finding_kind_name(enum finding_kind kind);

/* Is anything found that is wrong? */
static inline bool findings_damage(const struct findings *findings)
{
    return findings->weights[WEIGHT_MENDED] + findings->weights[WEIGHT_DAMAGE] > 0;
}

#endif
