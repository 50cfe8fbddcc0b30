/*
 * Directory: see directory.h.
 */
#include "bench/directory.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REMOVE_FDS 16 /* that nftw may hold open */

int directory_make(const char *parent, char *path)
{
    int error = 0;

    if (snprintf(path, PATH_MAX, "%s/tusk-bench-%d-XXXXXX", parent, (int)getpid()) >= PATH_MAX) {
        error = ENAMETOOLONG;
    } else if (!mkdtemp(path)) {
        error = errno;
    }
    if (error != 0) {
        path[0] = '\0';
        fprintf(stderr, "making a directory in %s: %s\n", parent, strerror(error));
    }
    return -error;
}

static int entry_remove(const char *path, const struct stat *stat, int kind, struct FTW *at)
{
    (void)stat;
    (void)kind;
    (void)at;
    return remove(path);
}

/* What is in it may have been removed by its owner meanwhile. */
void directory_remove(char *path)
{
    if (*path && nftw(path, entry_remove, REMOVE_FDS, FTW_DEPTH | FTW_PHYS) != 0 &&
        errno != ENOENT) {
        fprintf(stderr, "removing %s: %s\n", path, strerror(errno));
    }
    *path = '\0';
}
