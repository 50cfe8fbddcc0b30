/*
 * Trial: one measurement with a fresh broker.
 * Runs on:    the benchmark's main thread.
 */
#ifndef TUSK_BENCH_TRIAL_H
#define TUSK_BENCH_TRIAL_H

#include "bench/crew.h"
#include "bench/private_broker.h"
#include "bench/settings.h"

/* Start a broker, run the crew with it (crew->socket and crew->idle are set here), stop it and
 * delete what it wrote. 0 or a negative error; the crew's results stay until crew_deinit(). */
int trial_run(const struct settings *settings, const char *fsync, const char *idle,
              struct crew *crew);

#endif
