"""Samples: where each process was when perf's clock looked, read from `perf script`."""
import re
import subprocess
from collections import Counter

FREQUENCY = 5000
EVENTS = ("cycles", "cpu-clock")
HEAD = re.compile(r"^\s*(\d+)\s+([\d.]+):\s*$")
FRAME = re.compile(r"^\s+[0-9a-f]+ (.*) \((.*)\)$")
CALL = re.compile(r"__(?:x64_sys|arm64_sys|do_sys)_(\w+)")
FAULT = re.compile(r"(asm_)?exc_page_fault|do_user_addr_fault")


def record(event, output):
    """The command in front of the one that is looked at."""
    return ["perf", "record", "-q", "-e", event, "-F", str(FREQUENCY), "-g", "-k", "CLOCK_MONOTONIC",
            "-o", str(output), "--"]


def script(path):
    return ["perf", "script", "-i", str(path), "--ns", "-F", "pid,time,ip,sym,dso"]


def recorded(path):
    """The event that a file of perf's has samples of."""
    listed = subprocess.run(["perf", "evlist", "-i", str(path)], capture_output=True, text=True).stdout
    return listed.strip().partition(":")[0]


def of_kernel(path):
    return path.startswith("[kernel") or path.startswith("[guest.kernel") or path.endswith(".ko")


def kernel_place(frames):
    """What the kernel was asked for: the name of the system call, or "page faults", or "interrupts"."""
    for function, path in frames:
        if of_kernel(path) and (match := CALL.match(function)):
            return match[1]
    if any(FAULT.match(function) for function, path in frames):
        return "page faults"
    if any(function in ("io_wq_worker", "io_worker_handle_work") for function, _ in frames):
        return "io_uring's workers"
    return "interrupts"


def place(frames):
    """(object, function) of a sample; of the kernel's ("kernel", what it was asked for)."""
    function, path = frames[0]
    return ("kernel", kernel_place(frames)) if of_kernel(path) else (path, function)


def read(lines, processes, begin_ns, end_ns):
    """side -> Counter of places, of what lies between the two times; processes: pid -> side."""
    sides = {}
    side, frames = None, []

    def take():
        if side and frames:
            sides.setdefault(side, Counter())[place(frames)] += 1

    for line in lines:
        if match := HEAD.match(line):
            take()
            inside = begin_ns <= int(match[2].replace(".", "")) <= end_ns
            side, frames = processes.get(int(match[1])) if inside else None, []
        elif match := FRAME.match(line):
            frames.append((match[1], match[2]))
    take()
    return sides
