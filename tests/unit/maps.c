/* Maps: see maps.h. */
#include "tests/unit/maps.h"

#include <stdio.h>
#include <string.h>

#include "shm/ensure.h"

unsigned maps_of(const char *path_part)
{
    char line[8192];
    unsigned count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    ensure(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        count += strstr(line, path_part) != NULL;
    }
    fclose(maps);
    return count;
}
