/*
 * Trial: see trial.h.
 */
#include "bench/trial.h"

int trial_run(const struct settings *settings, const char *fsync, const char *idle,
              struct crew *crew)
{
    struct private_broker broker;

    int result = private_broker_start(&broker, settings, fsync, idle);
    if (result == 0) {
        crew->socket = broker.socket;
        crew->broker = broker.pid;
        crew->idle = settings_idle(idle);
        result = crew_run(crew);
    }
    private_broker_stop(&broker);
    return result;
}
