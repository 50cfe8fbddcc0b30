/* Ahead: see ahead.h. */
#include "broker/inspect/ahead.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/inspect/survey.h"

int ahead_init(struct ahead *ahead, struct survey *survey)
{
    *ahead = (struct ahead){.survey = survey};
    for (unsigned i = 0; i < 2; i++) {
        ahead->pieces[i] = io_buffer_new(AHEAD_BYTES);
        if (ahead->pieces[i] == NULL) {
            ahead_deinit(ahead);
            return -ENOMEM;
        }
    }
    return 0;
}

void ahead_deinit(struct ahead *ahead)
{
    ensure(!ahead->in_flight);
    free(ahead->pieces[0]);
    free(ahead->pieces[1]);
    *ahead = (struct ahead){0};
}

static void read_done(struct io_op *op, int result)
{
    struct ahead *ahead = op->context;
    ahead->in_flight = false;
    ahead->result = result;
}

/* What does not lie in the file whole is left to survey_read(). */
static void read_begin(struct ahead *ahead)
{
    const uint64_t left = ahead->bytes - ahead->offset;
    ahead->reading = left < AHEAD_BYTES ? left : AHEAD_BYTES;
    ahead->result = -ENODATA;
    if (ahead->reading == 0 || ahead->file->file == NULL ||
        ahead->offset + ahead->reading > ahead->file->bytes) {
        return;
    }
    ahead->op = (struct io_op){
        .kind = IO_READ,
        .file = ahead->file->file,
        .buffer = ahead->pieces[ahead->piece],
        .bytes = ahead->reading,
        .offset = ahead->offset,
        .done = read_done,
        .context = ahead,
    };
    ahead->in_flight = true;
    io_submit(ahead->survey->io, &ahead->op);
    io_kick(ahead->survey->io);
}

void ahead_begin(struct ahead *ahead, const struct survey_file *file, uint64_t bytes)
{
    ahead->file = file;
    ahead->bytes = bytes;
    ahead->offset = 0;
    read_begin(ahead);
}

uint64_t ahead_next(struct ahead *ahead, const uint8_t **piece)
{
    while (ahead->in_flight) {
        const int outcome = io_wait(ahead->survey->io, IO_FOREVER);
        ensure(outcome >= 0);
    }
    const uint64_t bytes = ahead->reading;
    uint8_t *read = ahead->pieces[ahead->piece];
    if (bytes != 0 && ahead->result != 0) {
        survey_read(ahead->survey, ahead->file, read, bytes, ahead->offset);
    }
    *piece = read;
    ahead->offset += bytes;
    ahead->piece = 1 - ahead->piece;
    read_begin(ahead);
    return bytes;
}
