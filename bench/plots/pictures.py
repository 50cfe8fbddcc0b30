"""Pictures: what is drawn of each benchmark. A picture is a function from Results to a figure."""
import statistics
import textwrap

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend first)

import panels  # noqa: E402

PANEL_INCHES = (6.4, 4.4)
FOOT_LETTERS = 120  # that go below a panel
SIDES = ["producer CPU", "broker CPU", "consumer CPU"]
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.color": "#dddddd",
    "legend.fontsize": "small",
    "legend.frameon": False,
    "savefig.dpi": 144,
    "svg.fonttype": "none",
    "svg.hashsalt": "tusk",  # the same figures give the same file
}


class NothingToDraw(Exception):
    """None of a benchmark's results is of what its picture shows."""


def _of_series(points, series):
    return [point for point in points if point.series == series]


def _figure(results, title, draws, wide=0):
    """A figure of panels, two in a row behind `wide` ones that have a row each; draws: (heading,
    function that draws into axes)."""
    if not draws:
        raise NothingToDraw(results.bench)
    columns = min(2, len(draws))
    rows = wide - (wide - len(draws)) // columns
    figure = plt.figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.6))
    grid = figure.add_gridspec(rows, columns)
    for i, (heading, draw) in enumerate(draws):
        row, column = (i, slice(None)) if i < wide else (wide + (i - wide) // columns,
                                                         (i - wide) % columns)
        place = figure.add_subplot(grid[row, column])
        draw(place)
        place.set_title(heading, loc="left")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    foot = textwrap.fill(describe(results), FOOT_LETTERS * columns)
    figure.supxlabel(foot, x=0.01, ha="left", fontsize="x-small", color="#666666")
    return figure


def describe(results):
    """The machine and the moment, in a line for the foot of a picture."""
    last = results.lines[-1]
    round_trip = statistics.median(line["round_trip_ns"] for line in results.lines)
    others = statistics.median(line["others_cpu"] for line in results.lines)
    return (f"tusk {last['version']} ({last['commit']}), {last['date']}: {last['cpu']}, "
            f"{last['cores']} cores, Linux {last['kernel']}, {last['file_system']}; cache line "
            f"there and back {round_trip:.0f} ns, others kept {others:.2f} cores busy; medians, "
            "whiskers from least to most")


# Makers of panels: each takes Results and gives a list of (heading, function that draws into axes), an
# empty one where nothing of the kind was measured.


def curves(*metrics, label=lambda point: point.mode, only=lambda point: True, heading=None,
           **how):
    """A panel for each thing that was varied."""
    def make(results):
        points = [p for p in results.points
                  if p.series and only(p) and any(m in p.metrics for m in metrics)]
        return [(f"{heading or metrics[0]} against {panels.AXIS_OF_SERIES[series]}",
                 lambda axes, series=series: panels.curves(axes, points, series, metrics,
                                                           label=label, **how))
                for series in panels.distinct(point.series for point in points)]
    return make


def bars(metric, heading=None, only=lambda point: not point.series, **how):
    def make(results):
        points = [p for p in results.points if only(p) and metric in p.metrics]
        draw = (heading or metric, lambda axes: panels.bars(axes, points, metric, **how))
        return [draw] if points else []
    return make


def cpu(only=lambda point: not point.series):
    """What an entry costs, by who pays."""
    def make(results):
        points = [p for p in results.points if only(p) and any(side in p.metrics for side in SIDES)]
        draw = ("CPU time of an entry", lambda axes: panels.shares(axes, points, SIDES))
        return [draw] if points else []
    return make


def shares(*metrics, heading, **how):
    """Metrics side by side, shape by shape."""
    def make(results):
        points = [p for p in results.points if any(m in p.metrics for m in metrics)]
        draw = (heading, lambda axes: panels.shares(axes, points, metrics, **how))
        return [draw] if points else []
    return make


def nines(heading, wanted, every=False):
    """Latency by percentile; wanted(point, what) tells which; every: a shape has several."""
    def make(results):
        lines = {f"{point.shape}: {what}" if every else point.shape: buckets
                 for point in results.points
                 for what, buckets in point.buckets.items() if wanted(point, what)}
        return [(heading, lambda axes: panels.nines(axes, lines))] if lines else []
    return make


def against_rate(results):
    """Percentiles against the offered rate, a panel for each way to wait."""
    opened = _of_series(results.points, "rate")
    ways = panels.distinct((point.idle, point.mode) for point in opened)
    return [(f"{mode}, idle {idle}, against the offered rate",
             lambda axes, idle=idle, mode=mode: panels.curves(
                 axes, [p for p in opened if (p.idle, p.mode) == (idle, mode)], "rate",
                 ["p50", "p99", "p99.9"], log_y=True))
            for idle, mode in ways]


def picture(title, *makers):
    def draw(results):
        return _figure(results, title, [panel for make in makers for panel in make(results)])
    return draw


def peers(results):
    def system(point):
        kept = point.shape.partition("[")[2].rstrip("]")
        return f"{point.system} ({kept})" if kept else point.system

    def shape(point):
        return point.shape.partition(":")[0]

    own = panels.colours_of(panels.distinct(point.system for point in results.points))
    chosen = {system(point): own[point.system] for point in results.points}
    points = sorted(results.points, key=lambda point: point.system != "tusk")
    relayed = [p for p in points if p.mode.startswith("relay")]
    durable = [p for p in points if p.mode == "durable"]
    there_and_back = {system(p): buckets for p in points if p.mode == "ping-pong"
                      for buckets in p.buckets.values()}
    draws = []
    if relayed:
        draws.append(("one process to another, entries per second",
                      lambda axes: panels.groups(axes, relayed, "entries/s", shape, system,
                                                 chosen)))
    wide = len(draws)
    if any("CPU" in p.metrics for p in relayed):
        draws.append(("CPU time of an entry, all processes", lambda axes: panels.groups(
            axes, relayed, "CPU", shape, system, chosen)))
        wide = len(draws)
    if durable:
        draws.append(("durable appends of 256 bytes", lambda axes: panels.curves(
            axes, durable, "processes", ["entries/s"], label=system, log_y=True, chosen=chosen)))
        draws.append(("median time of one durable append", lambda axes: panels.curves(
            axes, durable, "processes", ["p50"], label=system, log_y=True, chosen=chosen)))
    if there_and_back:
        draws.append(("64 bytes there and back",
                      lambda axes: panels.nines(axes, there_and_back, chosen)))
    return _figure(results, "Tusk beside what else there is, in one run", draws, wide)


def _any(*_):
    return True


PARTS = ["own", "checksum", "copy", "program", "kernel"]  # of a profile, without the waiting


def _profile(what, heading, axis, unit, wanted):
    def make(results):
        parts = {name: f"{name} {what}" for name in PARTS}
        points = [p for p in results.points if wanted(p) and any(m in p.metrics for m in parts.values())]

        def draw(axes):
            panels.stacked(axes, points, parts, unit)
            axes.set_xlabel(axis)
        return [(heading, draw)] if points else []
    return make


def _profiles(of, wanted):
    """Time and instructions of some shapes, side by side."""
    return [_profile("time", f"time, {of}", "time of an entry, by samples", "ns", wanted),
            _profile("instructions", f"instructions, {of}", "instructions of an entry, by callgrind", "count",
                     wanted)]


def _durable(point):
    return point.shape.startswith("each")


def _large(point):
    return point.shape.startswith("1 KiB")


PICTURES = {
    "writes": picture("Appends", bars("entries/s"), bars("end to end/s"), cpu()),
    "reads": picture("Reads", bars("entries/s", log_x=True), bars("payload B/s", log_x=True), cpu()),
    "throughput": picture("What the rate depends on",
                          curves("entries/s", "end to end/s", log_y=True),
                          curves(*SIDES, heading="CPU time of an entry", log_y=True)),
    "scaling": picture("Appends against producer processes", curves("entries/s", log_y=True),
                       curves("call p50", "call p99", heading="time of a call", log_y=True),
                       curves(*SIDES, heading="CPU time of an entry", log_y=True)),
    "batch-scaling": picture("Batches against producer processes", curves("entries/s"),
                             curves("call p50", "call p99", heading="time of a call", log_y=True),
                             curves(*SIDES, heading="CPU time of an entry", log_y=True)),
    "latency": picture(
        "Latency of 64-byte entries, counted from when they were due",
        nines("one call after the other: append until COMMITTED",
              lambda point, what: point.shape.startswith("closed")),
        nines("at a fixed rate: due until another process has it",
              lambda point, what: point.shape.startswith("one way") and what != "sent late"),
        against_rate),
    "floor": picture("Tusk beside a bare relay", bars("end to end/s", only=_any),
                     bars("of the floor", only=_any), cpu(only=_any)),
    "floor-latency": picture(
        "An append until COMMITTED, beside a bare relay's round trip",
        nines("of all round trips", _any),
        shares("p50", "p99", "p99.9", heading="time of a round trip", per=" there and back"),
        bars("p50 / floor", only=_any), cpu(only=_any)),
    "fsync": picture(
        "Durable appends of 256 bytes, beside O_DSYNC files",
        curves("one topic/s", "one file/s", "own topics/s", "own files/s",
               heading="durable appends per second", log_y=True,
               only=lambda point: point.idle != "spin"),
        curves("one topic p50", "one file p50", "one topic p99", "one file p99",
               heading="time of an append", log_y=True,
               only=lambda point: point.idle != "spin"),
        curves("one topic CPU", "one file CPU", heading="CPU time of an append", log_y=True,
               only=lambda point: point.idle != "spin"),
        nines("one process: durable append",
              lambda point, what: point.x == 1 and what in ("one topic", "one file"), every=True),
        bars("topic / 1 process' file", only=_any), bars("p99, topic / file", only=_any)),
    "pingpong": picture("There and back between two processes that sleep",
                        shares("topics, p50", "2 x pipes, p50", heading="median of a round trip",
                               per=" there and back"),
                        bars("ratio", heading="topics / 2 x pipes")),
    "profile": picture(
        "Where the time of an entry goes, by side; without looking for work and sleeping",
        *_profiles("small entries", lambda point: not _durable(point) and not _large(point)),
        *_profiles("entries of 1 KiB", _large), *_profiles("durable appends", _durable)),
    "peers": peers,
    "idle": picture("A broker with sessions that do nothing",
                    bars("broker, share of a core", heading="the broker's share of a core, per cent"),
                    nines("an append now and then", _any)),
    "syscalls": picture("System calls of a client", bars("system calls per million",
                                                         heading="calls for a million entries")),
    "recovery": picture("What a start takes",
                        curves("start after a kill", "start after a stop", heading="time of a start",
                               log_y=True),
                        curves("private memory KiB")),
}


def draw(results, directory):
    """Draw one benchmark's picture; the paths of the SVG and of the PNG."""
    with plt.rc_context(STYLE):
        figure = PICTURES[results.bench](results)
        paths = [directory / f"bench-{results.bench}.{kind}" for kind in ("svg", "png")]
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)
    return paths
