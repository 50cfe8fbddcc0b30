/*
 * Peer pipe: a FIFO, one write for each entry or batch, reads of as much as there is.
 * Runs on:  see peer.h.
 * Practice: the pipe is made as large as an unprivileged process may (1 MiB), so that neither side
 *           waits for the other at every 64 KiB.
 * Needs:    nothing
 * Packages: none
 */
#include "bench/peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)
#define READ_BYTES (256 << 10)

struct reader {
    int fd;
    size_t kept; /* bytes of an entry that has not come as a whole */
    char buffer[READ_BYTES];
};

static void fifo_name(const struct peer_job *job, unsigned channel, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/fifo-%u", job->run_directory, channel);
}

static int pipe_open(struct peer_job *job)
{
    char path[PATH_MAX + 16];

    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        fifo_name(job, channel, path, sizeof path);
        if (mkfifo(path, 0600) < 0) {
            perror(path);
            return -errno;
        }
    }
    return 0;
}

/* Opening waits for the other side. */
static int fifo_open(struct peer_end *end, int flags)
{
    char path[PATH_MAX + 16];

    fifo_name(end->job, end->channel, path, sizeof path);
    const int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        return peer_fail(end, -errno, path);
    }
    fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
    return fd;
}

static int pipe_sender_open(struct peer_end *end)
{
    const int fd = fifo_open(end, O_WRONLY);

    end->state = (void *)(intptr_t)fd;
    return fd < 0 ? fd : 0;
}

static int pipe_send(struct peer_end *end, const char *entries, size_t count)
{
    const int fd = (int)(intptr_t)end->state;
    size_t left = count * end->job->size;

    while (left > 0) {
        const ssize_t written = write(fd, entries, left);
        if (written < 0) {
            return peer_fail(end, -errno, "write");
        }
        entries += written;
        left -= (size_t)written;
    }
    return 0;
}

static void pipe_sender_close(struct peer_end *end)
{
    close((int)(intptr_t)end->state);
}

static int pipe_receiver_open(struct peer_end *end)
{
    struct reader *reader = calloc(1, sizeof *reader);

    if (!reader) {
        return peer_fail(end, -ENOMEM, "making a reader");
    }
    reader->fd = fifo_open(end, O_RDONLY);
    end->state = reader;
    return reader->fd < 0 ? reader->fd : 0;
}

static int pipe_receive(struct peer_end *end)
{
    struct reader *reader = end->state;
    const size_t size = end->job->size;
    const ssize_t got = read(reader->fd, reader->buffer + reader->kept, READ_BYTES - reader->kept);

    if (got < 0) {
        return peer_fail(end, -errno, "read");
    }
    const size_t bytes = reader->kept + (size_t)got;
    const size_t whole = bytes - bytes % size;
    peer_take_all(end, reader->buffer, whole);
    reader->kept = bytes - whole;
    memmove(reader->buffer, reader->buffer + whole, reader->kept);
    return 0;
}

static void pipe_receiver_close(struct peer_end *end)
{
    struct reader *reader = end->state;

    close(reader->fd);
    free(reader);
}

const struct peer peer_pipe = {.name = "pipe",
                               .pings = true,
                               .open = pipe_open,
                               .sender_open = pipe_sender_open,
                               .send = pipe_send,
                               .sender_close = pipe_sender_close,
                               .receiver_open = pipe_receiver_open,
                               .receive = pipe_receive,
                               .receiver_close = pipe_receiver_close};
