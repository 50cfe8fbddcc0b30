/* Ensure: see ensure.h. */
#include "shm/ensure.h"

#include <stdio.h>
#include <stdlib.h>

void ensure_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "tusk: %s:%d: invariant broken: %s\n", file, line, condition);
    abort();
}
