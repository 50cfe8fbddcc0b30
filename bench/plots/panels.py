"""Panels: the kinds of axes that pictures are put together from. Each draws Points into given axes."""
import math

from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

# Okabe and Ito's colours, told apart by all readers; tusk's is the same in every picture.
TUSK = "#0072B2"
COLOURS = ["#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#882255",
           "#44AA99", "#DDCC77", "#AA4499"]
MARKERS = "osD^vP*X<>ph"
STYLES = ["-", "--", "-.", ":"]  # of many lines, beside their colours
AXIS_OF_SERIES = {
    "size": "bytes per entry",
    "batch": "entries per batch",
    "processes": "producer processes",
    "consumers": "consumer processes",
    "topics": "topics",
    "rate": "offered rate, entries per second",
    "bytes": "bytes in the store",
}
AXIS_OF_UNIT = {"1/s": "entries per second", "B/s": "bytes per second", "ns": "time",
                "1": "ratio", "%": "per cent", "count": "count", "B": "bytes", "1/entry": "per entry"}


PREFIXES = {-12: "p", -9: "n", -6: "\N{MICRO SIGN}", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
UNIT_SHOWN = {"ns": "s", "B/s": "B/s", "B": "B"}  # the others are named by their axis only


def text_of(value, unit=""):
    """Three digits with a prefix: 12.1 M, 331 us. Parts of what has no unit have none: 0.0357."""
    if unit in ("1", "%") or value == 0 or (abs(value) < 1 and unit not in UNIT_SHOWN):
        return f"{value:.3g}"
    if unit == "ns":
        value *= 1e-9
    power = min(max(3 * math.floor(math.log10(abs(value) * 1.0005) / 3), -12), 12)
    shown = PREFIXES[power] + UNIT_SHOWN.get(unit, "")
    return f"{float(f'{value / 10 ** power:.3g}'):g}" + (f"\N{NARROW NO-BREAK SPACE}{shown}" if shown else "")


def size_text(value):
    """Sizes of entries: 64 B, 1.5 KiB, 16 KiB."""
    for unit, bytes_ in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= bytes_:
            return f"{value / bytes_:.3g}\N{NARROW NO-BREAK SPACE}{unit}"
    return f"{value:g}\N{NARROW NO-BREAK SPACE}B"


def formatter_of(unit):
    return FuncFormatter(lambda value, _: text_of(value, unit))


def _y_axis(axes, unit, log):
    if log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        subs = (1, 2, 5) if high / low < 50 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(formatter_of(unit))


def colours_of(names):
    """name -> (colour, marker); tusk's own first, or else the first name."""
    ordered = sorted(names, key=lambda name: not name.lower().startswith("tusk"))
    return {name: (colour, marker)
            for name, colour, marker in zip(ordered, [TUSK, *COLOURS], MARKERS)}


def distinct(values):
    return list(dict.fromkeys(values))


def _plot(axes, points, metric, label, colour, marker, style="-"):
    spreads = [point.metrics[metric] for point in points]
    axes.errorbar([point.x for point in points], [s.median for s in spreads],
                  yerr=[[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]],
                  label=label, color=colour, marker=marker, markersize=5, linestyle=style,
                  capsize=2)


def _apart(values):
    """Those of ascending values whose names have room beside each other, the last one's always."""
    shown = []
    for value in reversed(values):
        if not shown or value * 1.15 <= shown[-1] or value <= 1:
            shown.append(value)
    return shown


def _x_axis(axes, points, series):
    values = sorted({point.x for point in points})
    if series in ("rate", "topics"):
        axes.set_xscale("log")
    elif 0 not in values:
        axes.set_xscale("log", base=2)
    if series not in ("rate", "bytes", "topics") and len(values) <= 14:
        axes.xaxis.set_major_locator(FixedLocator(_apart(values)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_text(value))
                                   if series in ("size", "bytes") else formatter_of(""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(AXIS_OF_SERIES[series])


def curves(axes, points, series, metrics, label=lambda point: point.mode, log_y=False, chosen=None):
    """The metrics against what was varied, a line for each label and metric; chosen: colours_of()."""
    points = [p for p in points if p.series == series and any(m in p.metrics for m in metrics)]
    names = distinct(label(point) for point in points)
    chosen = chosen or colours_of(names if len(names) > 1 else metrics)
    for name in names:
        for metric, style in zip(metrics, ["-", "--", ":", "-."]):
            line = sorted((p for p in points if label(p) == name and metric in p.metrics),
                          key=lambda point: point.x)
            if line:
                parts = [name] * (len(names) > 1) + [metric] * (len(metrics) > 1)
                _plot(axes, line, metric, ", ".join(parts) or name,
                      *chosen[name if name in chosen else metric], style)
    unit = next(p.units[m] for p in points for m in metrics if m in p.metrics)
    _x_axis(axes, points, series)
    _y_axis(axes, unit, log_y)
    axes.set_ylabel(_axis_name(unit, metrics))
    if axes.get_legend_handles_labels()[1]:
        axes.margins(y=0.08)
        axes.legend(loc="best")


def _axis_name(unit, metrics):
    """What an axis says: the unit in words, or the metric where that says more."""
    return AXIS_OF_UNIT[unit] if len(metrics) > 1 or unit in ("1/s", "B/s", "ns") else metrics[0]


def bars(axes, points, metric, label=lambda point: point.shape, log_x=False):
    """One metric of shapes that stand for themselves, as horizontal bars with their figures."""
    points = [point for point in points if metric in point.metrics]
    unit = points[0].units[metric]
    chosen = colours_of(distinct(point.system for point in points))
    for row, point in enumerate(points):
        spread = point.metrics[metric]
        axes.barh(row, spread.median, color=chosen[point.system][0], capsize=2,
                  xerr=[[spread.median - spread.least], [spread.most - spread.median]])
        axes.annotate(text_of(spread.median, unit), (spread.most, row), va="center",
                      fontsize="small", xytext=(4, 0), textcoords="offset points")
    axes.set_yticks(range(len(points)), [label(point) for point in points])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    if log_x:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(formatter_of(unit))
    axes.margins(x=0.18)
    name = _axis_name(unit, [metric])
    axes.set_xlabel(f"{name} (logarithmic)" if log_x else name)


def shares(axes, points, metrics, label=lambda point: point.shape, per=" per entry"):
    """Metrics of one unit side by side, as horizontal bars of shapes; logarithmic."""
    points = [point for point in points if any(m in point.metrics for m in metrics)]
    coloured = [(metric, colour) for metric, colour in zip(metrics, [TUSK, *COLOURS])
                if any(metric in point.metrics for point in points)]
    unit = next(p.units[m] for p in points for m in metrics if m in p.metrics)
    height = 0.8 / len(coloured)
    for i, (metric, colour) in enumerate(coloured):
        having = [(row, p.metrics[metric].median) for row, p in enumerate(points)
                  if metric in p.metrics]
        places = [row - 0.4 + height * (i + 0.5) for row, _ in having]
        axes.barh(places, [value for _, value in having], height, color=colour, label=metric)
        for place, (_, value) in zip(places, having):
            axes.annotate(text_of(value, unit), (value, place), va="center", fontsize=6,
                          xytext=(3, 0), textcoords="offset points")
    axes.set_yticks(range(len(points)), [label(point) for point in points])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(formatter_of(unit))
    axes.margins(x=0.15)
    axes.set_xlabel(f"{AXIS_OF_UNIT[unit]}{per} (logarithmic)")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.05))


def stacked(axes, points, parts, unit, label=lambda point: point.shape):
    """Metrics that add up, one behind the other in the bar of each shape; parts: what is named -> metric."""
    points = [point for point in points if any(metric in point.metrics for metric in parts.values())]
    ends = [0.0] * len(points)
    for (name, metric), colour in zip(parts.items(), [TUSK, *COLOURS]):
        widths = [max(point.metrics[metric].median, 0) if metric in point.metrics else 0
                  for point in points]
        axes.barh(range(len(points)), widths, left=ends, color=colour, label=name)
        ends = [end + width for end, width in zip(ends, widths)]
    for row, end in enumerate(ends):
        axes.annotate(text_of(end, unit), (end, row), va="center", fontsize=7, xytext=(3, 0),
                      textcoords="offset points")
    axes.set_yticks(range(len(points)), [label(point) for point in points],
                    fontsize=9 if len(points) < 16 else 7)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(formatter_of(unit))
    axes.margins(x=0.15)
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.05))


def groups(axes, points, metric, group, label, chosen):
    """One metric by group of shapes, a bar for each label in each group; logarithmic."""
    points = [point for point in points if metric in point.metrics]
    names, labels = distinct(group(p) for p in points), distinct(label(p) for p in points)
    unit = points[0].units[metric]
    width = 0.84 / len(labels)
    for i, (name, colour) in enumerate((name, chosen[name][0]) for name in labels):
        own = [point for point in points if label(point) == name]
        places = [names.index(group(p)) - 0.42 + width * (i + 0.5) for p in own]
        heights = [p.metrics[metric].median for p in own]
        axes.bar(places, heights, width, color=colour, label=name)
        for place, height in zip(places, heights):
            axes.annotate(text_of(height, unit), (place, height), rotation=90, ha="center",
                          va="bottom", fontsize=6, xytext=(0, 2), textcoords="offset points")
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    _y_axis(axes, unit, log=True)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.15)  # room for the figures on the bars
    axes.set_ylabel(_axis_name(unit, [metric]))
    axes.legend(ncols=6, loc="lower left", bbox_to_anchor=(0, 1.05))


def nines(axes, lines, chosen=None):
    """Latency by percentile, on an axis of nines. lines: label -> {largest value in ns: count}."""
    chosen = chosen or colours_of(list(lines))
    longest = 10
    for name, buckets in lines.items():
        total, seen, xs, ys = sum(buckets.values()), 0, [], []
        for value in sorted(buckets):
            seen += buckets[value]
            # The last value stands where one more measurement would have put it.
            xs.append(total / (total - seen) if seen < total else total)
            ys.append(value)
        axes.step([1, *xs], [ys[0], *ys], where="pre", color=chosen[name][0], label=name,
                  linestyle=STYLES[list(lines).index(name) % len(STYLES)] if len(lines) > 4 else "-")
        longest = max(longest, total)
    ticks = [2] + [10 ** k for k in range(1, 8) if 10 ** k <= longest * 1.01]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{100 - 100 / x:.7g} %"))
    axes.tick_params(axis="x", labelrotation=30)
    axes.set_xlim(left=1)
    _y_axis(axes, "ns", log=True)
    axes.set_xlabel("share of the calls that took no longer")
    axes.set_ylabel("latency")
    if len(lines) > 6:
        axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.05))
    else:
        axes.legend()
