"""Callgrind: instructions of each process by function, read from the files that valgrind leaves."""
import re
from collections import Counter
from pathlib import Path

COMMAND = ["valgrind", "-q", "--tool=callgrind", "--trace-children=yes", "--fair-sched=yes"]
NAME = re.compile(r"(c?)(ob|fn)=\((\d+)\)(?: (.*))?$")


def read(path):
    """(object, function) -> instructions of its own, what it calls not included."""
    names = {"ob": {}, "fn": {}}
    costs = Counter()
    current = {"ob": "", "fn": ""}
    called = False  # the next line of costs is a callee's
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            first = line[0]
            if first in "+-*" or first.isdigit():
                fields = line.split()
                if not called and len(fields) > 1:
                    costs[current["ob"], current["fn"]] += int(fields[1])
                called = False
            elif line.startswith("calls="):
                called = True
            elif match := NAME.match(line.rstrip("\n")):
                callee, kind, number, name = match.groups()
                if name is not None:
                    names[kind][number] = name
                if not callee:
                    current[kind] = names[kind][number]
    return costs


def of_processes(directory, processes):
    """side -> costs, all processes of a side together; processes: pid -> side."""
    sides = {}
    for pid, side in processes.items():
        path = Path(directory, str(pid))
        if path.exists():
            sides.setdefault(side, Counter()).update(read(path))
    return sides


def slope(small, large, entries):
    """Instructions per entry: what the large count took more than the small one, for each entry more.

    What happens once, such as a start, is in both and falls out."""
    return {side: {function: (large[side][function] - small.get(side, Counter())[function]) / entries
                   for function in large[side]}
            for side in large}
