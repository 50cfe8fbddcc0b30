/* I/O: what does not depend on the implementation. See io.h. */
#include "broker/io.h"

#include <stdlib.h>
#include <string.h>

#include "shm/layout.h"

void io_close(struct io *io)
{
    if (io != NULL) {
        ensure(io->in_flight == 0);
        io->ops->close(io);
    }
}

int io_read_now(struct io *io, struct io_file *file, void *buffer, uint64_t bytes, uint64_t offset)
{
    struct io_op op = {
        .kind = IO_READ, .file = file, .buffer = buffer, .bytes = bytes, .offset = offset};
    return io_now(io, &op);
}

int io_write_now(struct io *io, struct io_file *file, const void *buffer, uint64_t bytes,
                 uint64_t offset)
{
    union {
        const void *from;
        void *buffer; /* io_op has one member for both directions; a WRITE only reads it */
    } either = {.from = buffer};
    struct io_op op = {
        .kind = IO_WRITE, .file = file, .buffer = either.buffer, .bytes = bytes, .offset = offset};
    return io_now(io, &op);
}

int io_sync_now(struct io *io, struct io_file *file)
{
    struct io_op op = {.kind = IO_FSYNC, .file = file};
    return io_now(io, &op);
}

void *io_buffer_new(uint64_t bytes)
{
    ensure(bytes != 0 && bytes % IO_ALIGNMENT == 0);
    void *buffer = aligned_alloc(IO_ALIGNMENT, bytes);
    if (buffer != NULL) {
        memset(buffer, 0, bytes);
    }
    return buffer;
}
