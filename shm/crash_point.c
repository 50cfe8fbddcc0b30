/* Crash point: see crash_point.h. */
#include "shm/crash_point.h"

#ifdef TUSK_CRASH_POINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void crash_point(const char *name)
{
    static unsigned long passages;
    const char *wanted = getenv("TUSK_CRASH_AT");
    const size_t length = strlen(name);
    if (wanted == NULL || strncmp(wanted, name, length) != 0 ||
        (wanted[length] != '\0' && wanted[length] != ':')) {
        return;
    }
    const unsigned long turn = wanted[length] == ':' ? strtoul(wanted + length + 1, NULL, 10) : 1;
    if (++passages == turn) {
        kill(getpid(), SIGKILL);
    }
}
#endif
