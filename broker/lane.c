/* Lane: see lane.h. */
#include "broker/lane.h"

#include <errno.h>
#include <stdlib.h>

#include "shm/cleanup.h"
#include "shm/wake.h"

static int lane_map_new(struct lane *lane, uint64_t sq_bytes, int *lane_fd)
{
    cleanup_fd int fd = lane_create(lane->lane_id, sq_bytes);
    if (fd < 0) {
        return fd;
    }
    const int error = lane_open_engine(&lane->map, fd);
    if (error == 0) {
        *lane_fd = take_fd(&fd);
    }
    return error;
}

int lane_new(struct lane **out, struct client *client, uint64_t lane_id, uint64_t sq_bytes,
             struct lane_record_shm *record, int *lane_fd, int *client_socket)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL) {
        return -ENOMEM;
    }
    lane->lane_id = lane_id;
    lane->record = record;
    lane->socket = -1;
    lane->client = client;
    lane->parkings = 1; /* as its client finds it */
    lane->attach_mail = (struct mail){.kind = MAIL_LANE_ATTACH, .subject = lane};
    lane->close_mail = (struct mail){.kind = MAIL_LANE_CLOSE, .subject = lane};
    list_init(&lane->pending);
    list_init(&lane->fetched);
    list_init(&lane->refusals);

    int sockets[2];
    int error = lane_map_new(lane, sq_bytes, lane_fd);
    if (error == 0) {
        error = wake_pair(sockets);
        if (error != 0) {
            close(*lane_fd);
        }
    }
    if (error != 0) {
        lane_free(lane);
        return error;
    }
    atom_store_relaxed(&lane->map.shm->parked, lane->parkings); /* nobody else has it yet */
    lane->socket = sockets[0];
    *client_socket = sockets[1];
    *out = lane;
    return 0;
}

void lane_free(struct lane *lane)
{
    lane_close(&lane->map);
    if (lane->socket >= 0) {
        close(lane->socket);
    }
    free(lane);
}
