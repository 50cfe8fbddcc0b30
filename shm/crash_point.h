/*
 * Crash point: a named place after an observable effect, where tests kill the process.
 * With TUSK_CRASH_POINTS, the environment variable TUSK_CRASH_AT=name[:n] makes the process kill
 * itself with SIGKILL at the n-th passage (default 1). Release builds contain nothing of it.
 */
#ifndef TUSK_SHM_CRASH_POINT_H
#define TUSK_SHM_CRASH_POINT_H

#ifdef TUSK_CRASH_POINTS
void crash_point(const char *name);
#else
#define crash_point(name) ((void)0)
#endif

#endif
