/* I/O backends: see io_backend.h. */
#include "broker/io_backend.h"

#include <errno.h>

#include "broker/fault.h"
#include "broker/io.h"
#include "broker/io_mmap.h"
#include "broker/io_pwrite.h"
#include "broker/io_uring.h"

static int open_auto(struct io **out, struct fault *fault)
{
    if (io_uring_open(out, fault) == 0) {
        return 0;
    }
    struct fault own = {0};
    const int result = io_pwrite_open(out, &own);
    return result == 0 ? IO_OPEN_FELL_BACK : fault_set(fault, result, "%s", own.text);
}

static int open_mmap(struct io **out, enum io_direct direct, struct fault *fault)
{
    if (direct == IO_DIRECT_ON) {
        return fault_set(
            fault, -EINVAL,
            "mapped files cannot bypass the page cache: give --direct auto or off with "
            "--backend mmap");
    }
    return io_mmap_open(out, fault);
}

static int open_wanted(struct io **out, enum io_backend wanted, enum io_direct direct,
                       struct fault *fault)
{
    switch (wanted) {
    case IO_BACKEND_AUTO:
        return open_auto(out, fault);
    case IO_BACKEND_URING:
        return io_uring_open(out, fault);
    case IO_BACKEND_PWRITE:
        return io_pwrite_open(out, fault);
    case IO_BACKEND_MMAP:
        return open_mmap(out, direct, fault);
    }
    return -EINVAL;
}

int io_open(struct io **out, enum io_backend wanted, enum io_direct direct, struct fault *fault)
{
    const int outcome = open_wanted(out, wanted, direct, fault);
    if (outcome >= 0 && wanted != IO_BACKEND_MMAP) {
        (*out)->direct = direct;
    }
    return outcome;
}

const char *io_direct_name(enum io_direct direct)
{
    static const char *const names[] = {
        [IO_DIRECT_AUTO] = "auto", [IO_DIRECT_ON] = "on", [IO_DIRECT_OFF] = "off"};
    return names[direct];
}
