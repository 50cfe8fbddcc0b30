/*
 * Survey: the files of a store's directory, opened for reading and looked at one by one.
 * Runs on:    the thread that inspects.
 * Invariants: unlike a start of the broker it goes on behind what is wrong: each thing is a finding,
 *             and what is left is used. A segment counts as the one that its header says, if that is
 *             intact and no other file is rightly that one. LOCK is held while the survey is open,
 *             if it is there.
 * Trust:      names, kinds, sizes and contents of files may be anything.
 * Not here:   what segments hold (salvage.h, verify.h).
 */
#ifndef TUSK_BROKER_INSPECT_SURVEY_H
#define TUSK_BROKER_INSPECT_SURVEY_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/inspect/finding.h"
#include "broker/io.h"
#include "broker/namespace_file.h"
#include "broker/store_dir.h"
#include "broker/superblock.h"

struct fault;

enum { SURVEY_NAME_BYTES = IO_NAME_BYTES_MAX + 16 }; /* "segments/" and a name */

/* How long to wait for LOCK: longer than the last writes of a killed broker take to land. */
#define SURVEY_LOCK_TIMEOUT_NS INT64_C(1000000000)

struct survey_file {
    char name[SURVEY_NAME_BYTES]; /* below the store's directory */
    uint64_t bytes;               /* 0 also for what is no regular file */
    struct io_file *file;         /* of segments; NULL: it can't be read */
    bool segment;
    uint64_t number; /* of a segment: which one it is used as */
    bool used;       /* as a segment of this store */
};

struct survey {
    struct io *io;
    struct findings *findings;
    struct store_dir dir; /* its files: dir, lock, store, segments, as far as they are there */

    bool namespace_there;
    bool namespace_known;
    struct namespace_facts facts; /* of NAMESPACE */

    bool superblock_known;
    struct superblock superblock;
    uint64_t chunk_bytes; /* of STORE, else of a segment's header; 0: unknown */
    uint64_t segment_bytes;

    struct survey_file *files; /* by name; STORE and LOCK among them */
    uint32_t files_count;
    uint32_t files_max;

    uint64_t segments_end;         /* the highest number of a segment in use + 1 */
    struct survey_file **segments; /* by number; NULL: missing */
};

/*
 * Looks at the directory. io is one that only reads (guard.h).
 * 0; -ENOENT: no store is there; -EBUSY: a broker uses it; -ENOTDIR, -EACCES and other errors: it
 * can't be looked at. After an error the survey is closed.
 */
int survey_open(struct survey *survey, struct io *io, const char *path, struct findings *findings,
                struct fault *fault);
void survey_close(struct survey *survey);

/* Is there a store in this directory: one of the files that a store has? */
bool survey_is_store(struct io *io, const char *path);

/* "PATH/NAME". */
struct store_path survey_path(const struct survey *survey, const char *name);

/*
 * Reads [offset, offset + bytes) of a file; what lies behind its end, and blocks that can't be read,
 * are zeros. Each range that can't be read is a finding. Blocks: offset and bytes are multiples of
 * IO_ALIGNMENT.
 */
void survey_read(struct survey *survey, const struct survey_file *file, void *buffer,
                 uint64_t bytes, uint64_t offset);

#endif
