/*
 * Directory: temporary directories that leave nothing behind.
 * Runs on:    the benchmark's main thread.
 */
#ifndef TUSK_BENCH_DIRECTORY_H
#define TUSK_BENCH_DIRECTORY_H

/* Make one in the parent, tusk-bench-PID-..., in path[PATH_MAX]. 0 or -errno, explained on stderr;
 * the path is empty then. */
int directory_make(const char *parent, char *path);

/* Remove it with all that is in it and empty the path; nothing if that is empty. */
void directory_remove(char *path);

#endif
