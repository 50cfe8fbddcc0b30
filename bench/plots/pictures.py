"""Pictures: what is drawn of each benchmark. A picture is a function from Results to a figure."""
import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend first)

import panels  # noqa: E402

PANEL_INCHES = (6.4, 4.4)
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


def _named(results, *metrics):
    """The first of these metrics that any point has, None if none has."""
    return next((m for m in metrics if any(m in p.metrics for p in results.points)), None)


def _figure(results, title, draws):
    """A figure of panels, two in a row; draws: (heading, function that draws into axes)."""
    if not draws:
        raise NothingToDraw(results.bench)
    columns = 2
    rows = -(-len(draws) // columns)
    figure, axes = plt.subplots(rows, columns, squeeze=False,
                                figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.6))
    for (heading, draw), place in zip(draws, axes.flat):
        draw(place)
        place.set_title(heading, loc="left")
    for place in axes.flat[len(draws):]:
        place.remove()
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(describe(results), x=0.01, ha="left", fontsize="x-small", color="#666666")
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


def _curves_of(results, metrics, **how):
    """A panel for each thing that was varied."""
    found = panels.distinct(point.series for point in results.points if point.series)
    return [(f"against {panels.AXIS_OF_SERIES[series]}",
             lambda axes, series=series: panels.curves(axes, results.points, series, metrics, **how))
            for series in found
            if any(m in p.metrics for p in _of_series(results.points, series) for m in metrics)]


def _bars_of(results, metric, heading, **how):
    points = [p for p in _of_series(results.points, "") if metric in p.metrics]
    return [(heading, lambda axes: panels.bars(axes, points, metric, **how))] if points else []


def throughput(title):
    """Rates of the shapes that stand for themselves, a curve for each thing varied, and CPU times."""
    def picture(results):
        draws = _bars_of(results, "entries/s", "entries per second")
        draws += _bars_of(results, "end to end/s", "entries per second, from process to process")
        draws += _curves_of(results, ["entries/s"], log_y=True)
        for side in SIDES:
            draws += _bars_of(results, side, f"{side} time of an entry")
            draws += [(f"{side} time of an entry {heading}", draw)
                      for heading, draw in _curves_of(results, [side], log_y=True)]
        return _figure(results, title, draws)
    return picture


def dependence(results):
    """What bench-throughput varies: the rate, and the CPU time of each side of an entry."""
    draws = _curves_of(results, ["entries/s", "end to end/s"], log_y=True)
    draws += [(f"CPU time of an entry {heading}", draw)
              for heading, draw in _curves_of(results, SIDES, log_y=True)]
    return _figure(results, "Rates against what they depend on", draws)


def figures(title, *metrics):
    """Bars of each of the metrics that there are."""
    def picture(results):
        draws = [draw for m in metrics for draw in _bars_of(results, m, m)]
        return _figure(results, title, draws)
    return picture


def _histograms(results, wanted):
    return {point.shape: buckets for point in results.points for what, buckets in
            point.buckets.items() if wanted(point, what)}


def latency(results):
    closed = _histograms(results, lambda point, what: point.shape.startswith("closed"))
    one_way = _histograms(results, lambda point, what: point.shape.startswith("one way")
                          and what != "sent late")
    draws = [(heading, lambda axes, lines=lines: panels.nines(axes, lines))
             for heading, lines in [("one call after the other: append until COMMITTED", closed),
                                    ("at a fixed rate: due until another process has it", one_way)]
             if lines]
    opened = [p for p in _of_series(results.points, "rate")]
    for idle in panels.distinct(point.idle for point in opened):
        mine = [point for point in opened if point.idle == idle]
        for mode in panels.distinct(point.mode for point in mine):
            draws.append((f"{mode}, idle {idle}, against the offered rate",
                          lambda axes, points=[p for p in mine if p.mode == mode]: panels.curves(
                              axes, points, "rate", ["p50", "p99", "p99.9"], log_y=True)))
    return _figure(results, "Latency of 64-byte entries, counted from when they were due", draws)


def fsync(results):
    rates = [m for m in ("one file", "one topic", "own files", "own topics")
             if _named(results, m)]
    times = [m for m in ("file p50", "topic p50", "file p99", "topic p99") if _named(results, m)]
    draws = []
    if rates and _of_series(results.points, "processes"):
        draws.append(("durable appends per second", lambda axes: panels.curves(
            axes, results.points, "processes", rates, log_y=True, label=lambda point: "256 B")))
    if times and draws:
        draws.append(("time of one durable append", lambda axes: panels.curves(
            axes, results.points, "processes", times, log_y=True, label=lambda point: "256 B")))
    return _figure(results, "Durable appends against processes, beside O_DSYNC files", draws)


def peers(results):
    def system(point):
        kept = point.shape.partition("[")[2].rstrip("]")
        return f"{point.system} ({kept})" if kept else point.system

    def shape(point):
        return point.shape.partition(":")[0]

    relayed = [p for p in results.points if p.mode.startswith("relay")]
    durable = [p for p in results.points if p.mode == "durable"]
    there_and_back = {system(p): buckets for p in results.points if p.mode == "ping-pong"
                      for buckets in p.buckets.values()}
    draws = []
    if relayed:
        draws.append(("one process to another, entries per second",
                      lambda axes: panels.groups(axes, relayed, "entries/s", shape, system)))
    if durable:
        draws.append(("durable appends of 256 bytes", lambda axes: panels.curves(
            axes, durable, "processes", ["entries/s"], label=system, log_y=True)))
        draws.append(("p50 of one durable append", lambda axes: panels.curves(
            axes, durable, "processes", ["p50"], label=system, log_y=True)))
    if there_and_back:
        draws.append(("64 bytes there and back",
                      lambda axes: panels.nines(axes, there_and_back)))
    return _figure(results, "Tusk beside what else there is, in one run", draws)


def recovery(results):
    starts = ["start after a kill", "start after a stop"]
    draws = _curves_of(results, starts, log_y=True, label=lambda point: "tuskd")
    draws += _curves_of(results, ["private memory KiB"], label=lambda point: "tuskd")
    return _figure(results, "What a start takes", draws)


PICTURES = {
    "writes": throughput("Appends"),
    "reads": throughput("Reads"),
    "throughput": dependence,
    "scaling": throughput("Appends against producer processes"),
    "batch-scaling": throughput("Batches against producer processes"),
    "latency": latency,
    "fsync": fsync,
    "peers": peers,
    "recovery": recovery,
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
