/*
 * Namespace file: NAMESPACE, the small file in a store's directory that says whose it is: the
 * namespace's key, and those of its options that are not the broker's.
 * Runs on:    any thread, one at a time for a directory; blocks.
 * Invariants: the file is replaced as a whole: written beside, synced, renamed, and the directory
 *             synced before a write counts as done.
 * Trust:      what is read is checked whole; a file that was changed by hand or is damaged is -EBADMSG
 *             with words. Whether an option's text is one that the option accepts, namespace.h says.
 */
#ifndef TUSK_BROKER_NAMESPACE_FILE_H
#define TUSK_BROKER_NAMESPACE_FILE_H

#include <stdint.h>

#include "broker/io.h"
#include "shm/limits.h"

struct fault;

/* The options that a namespace may have of its own. */
enum namespace_option {
    NAMESPACE_FSYNC,
    NAMESPACE_CONSISTENCY,
    NAMESPACE_RETENTION,
    NAMESPACE_OPTIONS,
};

enum { NAMESPACE_OPTION_BYTES = 128 }; /* a text, its end included */

/* Their names: those of the broker's options. */
extern const char *const namespace_option_names[NAMESPACE_OPTIONS];

/* The option of that name, or -1. */
int namespace_option_find(const char *name);

struct namespace_facts {
    unsigned char key[NAMESPACE_KEY_BYTES_MAX];
    uint32_t key_bytes;
    char options[NAMESPACE_OPTIONS][NAMESPACE_OPTION_BYTES]; /* "": the broker's */
};

/* path is the directory's, for words. 0; -ENOENT: there is none; or -errno, the words in fault. */
int namespace_file_read(struct io *io, struct io_file *dir, const char *path,
                        struct namespace_facts *facts, struct fault *fault);

int namespace_file_write(struct io *io, struct io_file *dir, const char *path,
                         const struct namespace_facts *facts, struct fault *fault);

#endif
