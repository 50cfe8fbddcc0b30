"""make bench-profile: where the time of an entry goes, by side: main.py --program PATH --results DIR

Runs bench-profile by itself, under perf and under callgrind, and folds the three into one table and the
files that bench/README.md describes. Without perf, valgrind or the kernel's permission it says so and goes
on with the rest. ONLY leaves the shapes in whose names contain it.
"""
import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import callgrind
import groups
import samples
import tables

RUN_LIMIT_S = 120
EX_UNAVAILABLE, EX_SOFTWARE, EX_INTERRUPTED = 69, 70, 130

# What callgrind counts, where instructions say something: entries of the smaller and of the larger run,
# and entries written before they are read. The others are bound by the disk or by the scheduler.
COUNTED = {
    "64 B, the floor": (20000, 120000), "64 B, one by one": (20000, 120000),
    "64 B, batches of 1,000": (20000, 120000), "1 KiB, the floor": (5000, 35000),
    "1 KiB, one by one": (5000, 35000), "append to COMMITTED, spin": (2000, 12000),
    "each, 1 producer": (100, 600), "tusk_reader_batch, from memory": (50000, 550000, 50000),
    "tusk_batch_read, at least once": (20000, 120000, 120000), "1 KiB, cold reads": (10000, 40000, 40000),
}


class Failed(Exception):
    """A run of bench-profile did not do what it should."""


def run(command, output=None, **environment):
    """Run it with its children in a group that ends with it; its lines of stdout."""
    process = subprocess.Popen(command, stdout=output or subprocess.PIPE, text=True,
                               env={**os.environ, **environment}, start_new_session=True)
    try:
        text, _ = process.communicate(timeout=RUN_LIMIT_S if output is None else None)
    except BaseException:  # whatever it was: leave nobody behind
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode != 0:
        raise Failed(f"{command[0]}: status {process.returncode}")
    return text.splitlines() if text else []


def told(lines):
    """What bench-profile SHAPE prints: pid -> side, when the work was, how many entries."""
    fields = [line.split() for line in lines]
    processes = {int(f[2]): f[1] for f in fields if f[0] == "process"}
    begin_ns, end_ns = next((int(f[1]), int(f[2])) for f in fields if f[0] == "work")
    return processes, begin_ns, end_ns, next(int(f[1]) for f in fields if f[0] == "entries")


class Profiler:
    def __init__(self, program, scratch):
        self.program, self.scratch = program, scratch
        self.event = self._event()
        self.valgrind = self._version(["valgrind", "--version"], "callgrind's instructions")

    @staticmethod
    def _version(command, what):
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"Without {what}: {error}; tests/tools/install-deps.sh profile installs it.")
            return None

    def _event(self):
        if not self._version(["perf", "--version"], "perf's times"):
            return None
        for event in samples.EVENTS:
            command = [*samples.record(event, self.scratch / "try"), "true"]
            tried = subprocess.run(command, capture_output=True, text=True)
            # perf takes the clock by itself where there is no counter, so what it took is asked.
            if tried.returncode == 0 and samples.recorded(self.scratch / "try") == event:
                return event
        print("Without perf's times: the kernel refuses", " and ".join(samples.EVENTS) + ":",
              "it takes root, or /proc/sys/kernel/perf_event_paranoid below 1.")
        return None

    def times(self, shape):
        """Of one run: side -> {place: ns per entry}; side -> ns per entry that its one process did not run."""
        data = self.scratch / "perf.data"
        processes, begin_ns, end_ns, entries = told(
            run([*samples.record(self.event, data), self.program, shape]))
        with subprocess.Popen(samples.script(data), stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL) as reader:
            counts = samples.read(reader.stdout, processes, begin_ns, end_ns)
        each_ns = 1e9 / samples.FREQUENCY / entries
        spent = {side: Counter({place: count * each_ns for place, count in places.items()})
                 for side, places in counts.items()}
        wall_ns, members = (end_ns - begin_ns) / entries, Counter(processes.values())
        idle = {side: max(0.0, wall_ns - spent[side].total()) for side in spent if members[side] == 1}
        return spent, idle

    def instructions(self, shape):
        """side -> {place: instructions per entry}."""
        small, large, *written = COUNTED[shape]
        costs, done = [], []
        for count in (small, large):
            directory = Path(tempfile.mkdtemp(dir=self.scratch))
            lines = run([*callgrind.COMMAND, f"--callgrind-out-file={directory}/%p",
                         f"--log-file={directory}/log.%p", self.program, shape, str(count),
                         *map(str, written)], BACKEND="pwrite")
            processes, _, _, entries = told(lines)
            costs.append(callgrind.of_processes(directory, processes))
            done.append(entries)
        return callgrind.slope(*costs, done[1] - done[0])


def by_group(found, places):
    """Sums of the groups, and (function, group, value) of the places that took most."""
    sums, functions = Counter(), Counter()
    for (path, function), value in places.items():
        if path == "kernel":
            group = groups.WAITING if function == "sched_yield" else groups.KERNEL
            name = f"[{function}]"
        else:
            group, name = groups.group_of(found, path, function), groups.shown(path, function)
        sums[group] += value
        functions[name, group] += value
    named = [(*key, value) for key, value in functions.most_common() if value > 0]
    return sums, ([place for place in named if place[1] != groups.WAITING][:tables.NAMED] +
                  [place for place in named if place[1] == groups.WAITING][:tables.NAMED_WAITING])


def lines_of(base, found, times, idle, instructions):
    """The results of one shape, a line for each side."""
    for side in sorted({*times, *instructions}, key=tables.SIDES.index):
        metrics, functions = {}, {}
        if side in instructions:
            sums, functions["instructions"] = by_group(found, instructions[side])
            metrics["instructions"] = sum(sums.values()) - sums[groups.WAITING]
            metrics.update({f"{group} instructions": sums[group] for group in tables.COUNTED_GROUPS})
        if side in times:
            sums, functions["time"] = by_group(found, times[side])
            metrics["time"] = sum(sums.values()) - sums[groups.WAITING]
            metrics.update({f"{group} time": sums[group] for group in groups.GROUPS})
            metrics.update({"not running": idle[side]} if side in idle else {})
        metrics.update({short: base["metrics"][long] for short, long in tables.taken(side, base["system"]).items()
                        if long in base["metrics"]})
        yield {**base, "shape": f"{base['shape']}: {side}", "mode": side, "metrics": metrics,
               "units": {name: tables.unit_of(name) for name in metrics},
               "functions": {what: [[name, group, float(f"{value:.4g}")] for name, group, value in all_]
                             for what, all_ in functions.items()}}


def profile(profiler, bases, root, write):
    """All shapes; what fails is told and left out. How many did."""
    found, failed = groups.definitions(root), 0
    for number, base in enumerate(bases, 1):
        shape = base["shape"]
        print(f"bench-profile: {number} of {len(bases)}: {shape}", file=sys.stderr)
        try:
            times, idle = profiler.times(shape) if profiler.event else ({}, {})
            counted = profiler.instructions(shape) if profiler.valgrind and shape in COUNTED else {}
        except (Failed, subprocess.TimeoutExpired, StopIteration) as error:
            print(f"{shape}: {error}", file=sys.stderr)
            failed += 1
            continue
        for line in lines_of(base, found, times, idle, counted):
            line["profilers"] = {"perf": profiler.event or "", "callgrind": profiler.valgrind or ""}
            write(line)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True, help="bench-profile")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = Path(__file__).resolve().parents[2]
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    told_lines, status = [], 0
    with tempfile.TemporaryDirectory(prefix="tusk-profile-") as name:
        scratch = Path(name)
        profiler = Profiler(str(arguments.program), scratch)
        if not profiler.event and not profiler.valgrind:
            return EX_UNAVAILABLE
        with tables.Files(arguments.results, stamp) as files:
            def write(line):
                told_lines.append(line)
                files.write(line)
            try:
                run([str(arguments.program)], output=sys.stdout, RESULTS=str(scratch))
                written = next(scratch.glob("bench-profile-2*.jsonl"))
                bases = [json.loads(line) for line in written.read_text().splitlines()]
                status = EX_SOFTWARE if profile(profiler, bases, root, write) else 0
            except KeyboardInterrupt:
                status = EX_INTERRUPTED
            except Failed as error:
                print(error, file=sys.stderr)
                status = EX_SOFTWARE
    print(tables.text(told_lines))
    print(f"Written: {files.csv_path} and {files.json_path.name}")
    return status


if __name__ == "__main__":
    sys.exit(main())
