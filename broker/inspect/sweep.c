/* Sweep: see sweep.h. */
#include "broker/inspect/sweep.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/inspect/survey.h"

int sweep_init(struct sweep *sweep, struct survey *survey)
{
    *sweep = (struct sweep){.survey = survey, .piece_bytes = SWEEP_BYTES};
    if (survey->segment_bytes != 0 && survey->segment_bytes < SWEEP_BYTES) {
        sweep->piece_bytes = survey->segment_bytes;
    }
    for (unsigned i = 0; i < 2; i++) {
        sweep->pieces[i] = io_buffer_new(sweep->piece_bytes);
        if (sweep->pieces[i] == NULL) {
            sweep_deinit(sweep);
            return -ENOMEM;
        }
    }
    return 0;
}

void sweep_deinit(struct sweep *sweep)
{
    ensure(!sweep->in_flight);
    free(sweep->pieces[0]);
    free(sweep->pieces[1]);
    *sweep = (struct sweep){0};
}

static void read_done(struct io_op *op, int result)
{
    struct sweep *sweep = op->context;
    sweep->in_flight = false;
    sweep->result = result;
}

/* What does not lie in the file whole is left to survey_read(). */
static void read_begin(struct sweep *sweep)
{
    const uint64_t left = sweep->bytes - sweep->offset;
    sweep->reading = left < sweep->piece_bytes ? left : sweep->piece_bytes;
    sweep->result = -ENODATA;
    if (sweep->reading == 0 || sweep->file->file == NULL ||
        sweep->offset + sweep->reading > sweep->file->bytes) {
        return;
    }
    sweep->op = (struct io_op){
        .kind = IO_READ,
        .file = sweep->file->file,
        .buffer = sweep->pieces[sweep->piece],
        .bytes = sweep->reading,
        .offset = sweep->offset,
        .done = read_done,
        .context = sweep,
    };
    sweep->in_flight = true;
    io_submit(sweep->survey->io, &sweep->op);
    io_kick(sweep->survey->io);
}

void sweep_begin(struct sweep *sweep, const struct survey_file *file, uint64_t bytes)
{
    sweep->file = file;
    sweep->bytes = bytes;
    sweep->offset = 0;
    read_begin(sweep);
}

uint64_t sweep_next(struct sweep *sweep, const uint8_t **piece)
{
    while (sweep->in_flight) {
        const int outcome = io_wait(sweep->survey->io, IO_FOREVER);
        ensure(outcome >= 0);
    }
    const uint64_t bytes = sweep->reading;
    uint8_t *read = sweep->pieces[sweep->piece];
    if (bytes != 0 && sweep->result != 0) {
        survey_read(sweep->survey, sweep->file, read, bytes, sweep->offset);
    }
    *piece = read;
    sweep->offset += bytes;
    sweep->piece = 1 - sweep->piece;
    read_begin(sweep);
    return bytes;
}
