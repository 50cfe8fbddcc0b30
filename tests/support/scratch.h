/*
 * Scratch: directories of one test process, on disk and on tmpfs, gone when the process is.
 * Runs on:    the test's main thread.
 * Invariants: names are unique, so suites run side by side; a janitor process removes everything
 *             even after a crash or a SIGKILL of the test.
 * Trust:      not applicable.
 * Not here:   what lies in the directories (tuskd.h, diary.h).
 */
#ifndef TUSK_TESTS_SUPPORT_SCRATCH_H
#define TUSK_TESTS_SUPPORT_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

enum { SCRATCH_PATH_BYTES = 128 };

/* Make a directory on disk (under $TMPDIR or /var/tmp) and write its path. */
void scratch_on_disk(char path[SCRATCH_PATH_BYTES]);

/* Make a directory on tmpfs (/dev/shm) and write its path. */
void scratch_on_tmpfs(char path[SCRATCH_PATH_BYTES]);

/* Mount a tmpfs of that many bytes in a new directory, if need be as root of a user namespace that
 * this process enters; return 0 where that isn't allowed either. It goes with the process. */
int scratch_mount(char path[SCRATCH_PATH_BYTES], uint64_t bytes);

/* What the files of a directory tree occupy, in bytes; 0 if there is none. */
uint64_t scratch_disk_bytes(const char *path);

/* A file's size; write and read whole files. */
void scratch_write(const char *path, const void *data, size_t bytes);
char *scratch_read(const char *path, size_t *bytes);

/* Memory that this process and its future children share; zero-filled. */
void *shared_memory(size_t bytes);

/* The first bytes of a file, shared with whoever else maps it. */
void *shared_file(const char *path, size_t bytes);

#endif
