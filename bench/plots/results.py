"""The newest result file of a benchmark, its repetitions folded into medians.

Format: bench/README.md, "Result files". A shape that was measured several times becomes one Point.
"""
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

X_OF_SERIES = {
    "size": lambda line: (line["size_min"] + line.get("size_max", line["size_min"])) / 2,
    "batch": lambda line: line["batch"],
    "processes": lambda line: line["processes"],
    "consumers": lambda line: line.get("consumers", 0),
    "topics": lambda line: line["topics"],
    "rate": lambda line: line["metrics"]["offered/s"],
    "bytes": lambda line: line["metrics"]["data bytes"],
}


class Spread(NamedTuple):
    median: float
    least: float
    most: float


@dataclass
class Point:
    """What was measured of one shape."""

    shape: str
    system: str
    mode: str
    idle: str
    series: str  # what was varied, "" if the shape is no point of a curve
    x: float  # the value of that
    metrics: dict = field(default_factory=dict)  # name -> Spread
    units: dict = field(default_factory=dict)
    buckets: dict = field(default_factory=dict)  # latency of what -> {largest value in ns: count}


class Results(NamedTuple):
    bench: str
    lines: list  # as they stand in the file
    points: list


def _point(lines):
    first = lines[0]
    series = first.get("series", "")
    point = Point(first["shape"], first["system"], first.get("mode", ""), first.get("idle", ""),
                  series, X_OF_SERIES[series](first) if series else 0)
    for line in lines:
        point.units.update(line["units"])
        for what, latency in line.get("percentiles", {}).items():
            counts = point.buckets.setdefault(what, {})
            for value, count in latency["buckets"]:
                counts[value] = counts.get(value, 0) + count
    for name in point.units:
        values = [line["metrics"][name] for line in lines if name in line["metrics"]]
        point.metrics[name] = Spread(statistics.median(values), min(values), max(values))
    return point


def newest(directory, bench):
    """The path of the newest result file of bench ("writes"), None if there is none."""
    return max(Path(directory).glob(f"bench-{bench}-2*.jsonl"), default=None)


def load(path, bench):
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    shapes = {}
    for line in lines:
        shapes.setdefault(line["shape"], []).append(line)
    return Results(bench, lines, [_point(of_shape) for of_shape in shapes.values()])
