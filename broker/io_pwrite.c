/* I/O by system calls on helper threads: see io_pwrite.h. */
#include "broker/io_pwrite.h"

#include "broker/io_posix.h"
#include "broker/io_threads.h"

static const struct io_ops pwrite_ops = {
    .name = "pwrite",
    .close = threads_close,
    .start = threads_start,
    .submit = threads_submit,
    .kick = threads_kick,
    .poll = threads_poll,
    .wait = threads_wait,
    .watch = threads_watch,
    .unwatch = threads_unwatch,
    .register_buffers = threads_register_buffers,
    .register_lock = threads_register_lock,
    .dir_make = posix_dir_make,
    .dir_open = posix_dir_open,
    .dir_list = posix_dir_list,
    .file_open = posix_file_open,
    .file_close = posix_file_close,
    .file_size = posix_file_size,
    .file_lock = posix_file_lock,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .dir_remove = posix_dir_remove,
    .now = posix_now,
};

int io_pwrite_open(struct io **out, struct fault *fault)
{
    return threads_open(out, &pwrite_ops, posix_now, fault);
}
