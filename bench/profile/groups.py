"""Groups: what a function's time or instructions are counted as.

Decided by the name of the function, the file of this project that defines it, and the object it lies in;
so programs without debugging information, the very ones that are measured, can be told apart.
"""
import re
from pathlib import Path

OWN, CHECKSUM, COPY, PROGRAM, WAITING, KERNEL = "own", "checksum", "copy", "program", "waiting", "kernel"
GROUPS = (OWN, CHECKSUM, COPY, PROGRAM, KERNEL, WAITING)

# Where somebody looks whether there is work, or sleeps until there is. The parts of a pass of the
# engine that it makes whether it finds anything or not are here too.
WAITING_FILES = {"broker/engine_pass.c", "broker/engine.c", "clientlib/idle.c", "clientlib/wait.c",
                 "clientlib/tail_wait.c", "shm/wake.c"}
WAITING_FUNCTIONS = {
    "wait_step", "lead_limit", "lane_op_await", "submit_lane", "engine_store_step", "store_work",
    "queue_drain",
    "lane_set_take", "lane_set_publish", "lane_set_park", "flush_tick", "flush_idle", "snapshot_step",
    "marks_step", "stream_tick", "segment_set_give_back", "fetch_verify", "pin_watch_step",
    "retention_tick", "mailbox_pending", "uring_poll", "uring_kick", "threads_poll", "threads_kick",
    "helpers_kick", "helpers_take", "helpers_sleep", "helpers_awake", "io_poll", "io_kick", "io_wait",
    "sched_yield", "poll", "ppoll", "epoll_wait", "clock_gettime"}
ALIAS = re.compile(r"^_+(GI_+|vdso_|libc_)?")  # what the C library puts in front of its names
COPIES = re.compile(r"_*mem(cpy|move|set)")
DEFINITION = re.compile(r"^(?:[a-z_][\w \t*()]*?)?\b(?!__attribute__)([a-z_]\w*)\(", re.MULTILINE)
SUFFIX = re.compile(r"(\.(isra|constprop|part|cold|lto_priv)(\.\d+)?|'\d+|@.*)+$")
# Where each program's functions are defined; of two of one name the first counts.
SOURCES = {"tuskd": ("broker/*.[ch]", "shm/*.[ch]"), "libtusk": ("clientlib/*.[ch]", "shm/*.[ch]"),
           "bench-profile": ("bench/relay.[ch]", "bench/*.[ch]")}


def plain(function):
    """The name as the source has it."""
    return SUFFIX.sub("", function)


def definitions(root):
    """(program, function) -> file that defines it, of all that the profiled programs are made of."""
    found = {}
    for program, patterns in SOURCES.items():
        for path in (path for pattern in patterns for path in sorted(Path(root).glob(pattern))):
            for match in DEFINITION.finditer(path.read_text()):
                found.setdefault((program, match[1]), path.relative_to(root).as_posix())
    return found


def program_of(path):
    name = Path(path).name
    return next((program for program in SOURCES if name.startswith(program)), "")


def group_of(found, path, function):
    """The group of a function in the object file at that path (not of the kernel)."""
    name, program = plain(function), program_of(path)
    if "libisal" in path or name == "crc32_iscsi":
        return CHECKSUM
    if COPIES.match(name):
        return COPY
    file = found.get((program, name), "")
    if file in WAITING_FILES or ALIAS.sub("", name) in WAITING_FUNCTIONS:
        return WAITING
    if file in ("broker/checksum.c", "shm/checksum.c"):
        return CHECKSUM
    if program == "bench-profile" and file != "bench/relay.c":
        return PROGRAM
    return OWN


def shown(path, function):
    """A function's name for people."""
    return "crc32 (ISA-L)" if "libisal" in path else plain(function)
