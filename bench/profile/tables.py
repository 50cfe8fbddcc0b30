"""Tables: the results of bench-profile for people, and as the files that bench/README.md describes."""
import csv
import json

from groups import CHECKSUM, COPY, GROUPS, OWN, PROGRAM, WAITING

SIDES = ["producer", "relay", "broker", "reader"]
COUNTED_GROUPS = (OWN, CHECKSUM, COPY, PROGRAM, WAITING)
CSV_COLUMNS = ["bench", "shape", "metric", "unit", "run", "value", "system", "mode", "series",
               "processes", "threads", "topics", "consumers", "batch", "size_min", "size_max", "fsync",
               "idle", "backend"]
NAMED, NAMED_WAITING = 12, 4  # functions of a result, in the files
TOP = 4  # functions of a row of the table
SHARE_MIN = 0.03
NOTE = """Per entry. Instructions (callgrind): what many entries took more than few, divided; without
"waiting", which is looking for work and sleeping. Time ({event}): where samples lay; "not running" is the rest
of the time between the first entry's beginning and the last one's end. "program" is the benchmark itself."""


def taken(side, system):
    """What a side's line takes of the native run: its name there. What both readers and the bare relay
    took is one figure there, so neither has it."""
    own = {"reader": "consumer"}.get(side, side)
    metrics = {"entries/s": "entries/s"}
    if system == "tusk" or side == "producer":
        metrics.update({"CPU": f"{own} CPU", "calls": f"{own} calls"})
    return metrics


def unit_of(metric):
    if metric == "entries/s":
        return "1/s"
    return "ns" if metric.endswith("time") or metric in ("CPU", "not running") else "count"


class Files:
    """bench-profile-STAMP.csv and .jsonl, written as the results come."""

    def __init__(self, directory, stamp):
        directory.mkdir(parents=True, exist_ok=True)
        self.csv_path = directory / f"bench-profile-{stamp}.csv"
        self.json_path = directory / f"bench-profile-{stamp}.jsonl"

    def __enter__(self):
        self._csv, self._json = self.csv_path.open("w"), self.json_path.open("w")
        self._rows = csv.DictWriter(self._csv, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        self._rows.writeheader()
        return self

    def __exit__(self, *_):
        self._csv.close()
        self._json.close()

    def write(self, line):
        units = dict(line["units"])
        values = dict(line["metrics"])
        for what, functions in line["functions"].items():
            for name, group, value in functions:
                values[f"{what} in {name} ({group})"] = value
                units[f"{what} in {name} ({group})"] = unit_of(what)
        for metric, value in values.items():
            self._rows.writerow({**line, "metric": metric, "unit": units[metric], "value": f"{value:.6g}"})
        line = {**line, "metrics": {name: float(f"{v:.6g}") for name, v in line["metrics"].items()}}
        self._json.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._csv.flush()
        self._json.flush()


def _figure(metrics, name):
    if name not in metrics:
        return "-"
    value = metrics[name]
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.1 or value == 0 else f"{value:.1g}"


def _rows_text(heads, rows):
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    return "\n".join(row[0].ljust(widths[0]) + "".join("  " + cell.rjust(width) for cell, width
                                                       in zip(row[1:], widths[1:]))
                     for row in [heads, *rows])


def tops(functions):
    """The functions that take most, in per cent of all but the waiting."""
    working = [(name, value) for name, group, value in functions if group != WAITING]
    total = sum(value for _, value in working)
    return ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in working[:TOP]
                     if value >= SHARE_MIN * total)


def text(lines):
    if not lines:
        return "Nothing was measured."
    counts = [("instructions", "instr."), *((f"{g} instructions", g) for g in COUNTED_GROUPS)]
    times = [("time", "ns"), *((f"{g} time", g) for g in GROUPS), ("not running", "not running"),
             ("calls", "calls")]
    heads = ["", *(short for _, short in counts), "|", *(short for _, short in times)]
    rows = [[line["shape"], *(_figure(line["metrics"], name) for name, _ in counts), "|",
             *(_figure(line["metrics"], name) for name, _ in times)] for line in lines]
    parts = [_rows_text(heads, rows), "", "Of the instructions, and of the time (calls of the kernel in brackets):"]
    for line in lines:
        parts.append(line["shape"])
        parts += [f"    {what}: {tops(functions)}" for what, functions in line["functions"].items()]
    event = next((line["profilers"]["perf"] for line in lines), "")
    return "\n".join([*parts, "", NOTE.format(event=event or "not measured")])
