/*
 * Peer file: a plain file that one process writes behind its end and another reads.
 * Runs on:  see peer.h.
 * Practice: relay: one write for each entry or batch, large reads; a reader at the end looks again,
 *           for nothing tells it. Durable: pwrite on a descriptor opened with O_DSYNC into a file
 *           that was written and synced before, all senders into one, each at places of its own: no
 *           write allocates anything, which is the fastest that programs can do by themselves.
 * Needs:    nothing
 * Packages: none
 */
#include "bench/peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DURABLE_BYTES (4 << 20) /* of the file that durable senders go round in */
#define BLOCK_BYTES (64 << 10)
#define READ_BYTES (256 << 10)

struct reader {
    int fd;
    off_t at;
    unsigned looks;
    char buffer[READ_BYTES];
};

struct writer {
    int fd;
    off_t at;
};

static void file_name(const struct peer_job *job, unsigned channel, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/file-%u", job->directory, channel);
}

static int file_fill(int fd)
{
    static const char zeros[BLOCK_BYTES];

    for (off_t at = 0; at < DURABLE_BYTES; at += BLOCK_BYTES) {
        if (pwrite(fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros) {
            return -EIO;
        }
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int file_open(struct peer_job *job)
{
    char path[PATH_MAX + 16];

    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        file_name(job, channel, path, sizeof path);
        const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        int result = fd < 0 ? -errno : 0;
        if (result == 0 && job->shape == PEER_DURABLE) {
            result = file_fill(fd);
        }
        if (fd >= 0) {
            close(fd);
        }
        if (result < 0) {
            fprintf(stderr, "%s: %s\n", path, strerror(-result));
            return result;
        }
    }
    return 0;
}

static int file_sender_open(struct peer_end *end)
{
    const bool durable = end->job->shape == PEER_DURABLE;
    struct writer *writer = calloc(1, sizeof *writer);
    char path[PATH_MAX + 16];

    if (!writer) {
        return peer_fail(end, -ENOMEM, "making a writer");
    }
    end->state = writer;
    writer->at = durable ? (off_t)(end->number * end->job->size) : 0;
    file_name(end->job, end->channel, path, sizeof path);
    writer->fd = open(path, O_WRONLY | O_CLOEXEC | (durable ? O_DSYNC : 0));
    return writer->fd < 0 ? peer_fail(end, -errno, path) : 0;
}

static int file_send(struct peer_end *end, const char *entries, size_t count)
{
    struct writer *writer = end->state;
    const size_t bytes = count * end->job->size;
    const off_t round = (off_t)(end->job->senders * end->job->size);

    if (end->job->shape != PEER_DURABLE) {
        return write(writer->fd, entries, bytes) == (ssize_t)bytes
                   ? 0
                   : peer_fail(end, errno ? -errno : -ENOSPC, "write");
    }
    if (pwrite(writer->fd, entries, bytes, writer->at) != (ssize_t)bytes) {
        return peer_fail(end, errno ? -errno : -ENOSPC, "pwrite");
    }
    writer->at += round;
    if (writer->at + (off_t)bytes > DURABLE_BYTES) {
        writer->at = (off_t)(end->number * end->job->size);
    }
    return 0;
}

static void file_sender_close(struct peer_end *end)
{
    struct writer *writer = end->state;

    close(writer->fd);
    free(writer);
}

static int file_receiver_open(struct peer_end *end)
{
    struct reader *reader = calloc(1, sizeof *reader);
    char path[PATH_MAX + 16];

    if (!reader) {
        return peer_fail(end, -ENOMEM, "making a reader");
    }
    end->state = reader;
    file_name(end->job, end->channel, path, sizeof path);
    reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    return reader->fd < 0 ? peer_fail(end, -errno, path) : 0;
}

static int file_receive(struct peer_end *end)
{
    struct reader *reader = end->state;
    const ssize_t got = pread(reader->fd, reader->buffer, READ_BYTES, reader->at);

    if (got < 0) {
        return peer_fail(end, -errno, "pread");
    }
    /* A write may have been seen in part: the rest of an entry is read again. */
    const size_t whole = (size_t)got - (size_t)got % end->job->size;
    if (whole == 0) {
        peer_look_again(&reader->looks);
        return 0;
    }
    reader->looks = 0;
    reader->at += (off_t)whole;
    peer_take_all(end, reader->buffer, whole);
    return 0;
}

static void file_receiver_close(struct peer_end *end)
{
    struct reader *reader = end->state;

    close(reader->fd);
    free(reader);
}

const struct peer peer_file = {.name = "file",
                               .keeps = "page cache",
                               .syncs = "disk",
                               .pings = true,
                               .open = file_open,
                               .sender_open = file_sender_open,
                               .send = file_send,
                               .sender_close = file_sender_close,
                               .receiver_open = file_receiver_open,
                               .receive = file_receive,
                               .receiver_close = file_receiver_close};
