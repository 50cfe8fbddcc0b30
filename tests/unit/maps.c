/* Maps: see maps.h. */
#include "tests/unit/maps.h"

#include <inttypes.h>
#include <stdbool.h>
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

uint64_t maps_huge_bytes(const char *path_part)
{
    char line[8192];
    bool ours = false;
    uint64_t bytes = 0;
    FILE *maps = fopen("/proc/self/smaps", "re");
    ensure(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        uint64_t from;
        uint64_t to;
        uint64_t kib;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
            ours = strstr(line, path_part) != NULL;
        } else if (ours && sscanf(line, "ShmemPmdMapped: %" SCNu64 " kB", &kib) == 1) {
            bytes += kib * 1024;
        }
    }
    fclose(maps);
    return bytes;
}
