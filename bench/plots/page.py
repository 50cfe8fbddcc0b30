"""One self-contained page of all newest results: page.py [--results DIR]; writes DIR/report.html.

Called by `make bench-report`. Pictures are drawn anew and stand in the page itself.
"""
import argparse
import base64
import html
import sys
from pathlib import Path

import panels
import pictures
import results

MACHINE = {"cpu": "processor", "cores": "cores", "memory_gib": "memory, GiB", "kernel": "Linux",
           "file_system": "file system", "clock": "clock", "clock_cost_ns": "reading it, ns"}
CSS = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; }
figure { margin: 1em 0; } img { max-width: 100%; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: .15em .55em; text-align: right; white-space: nowrap; }
th { max-width: 6em; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child, .machine td { text-align: left; }
th:first-child, td:first-child { background: #fff; left: 0; position: sticky; }
tr:hover td { background: #f2f6fa; }
small { color: #666; } nav { margin: 1em 0; } nav a { margin-right: 1em; }
"""


def _row(tag, cells):
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _columns(points):
    """The metrics of all shapes; one that only some have stands behind the one it follows there."""
    columns = []
    for point in points:
        place = 0
        for name in point.metrics:
            if name not in columns:
                columns.insert(place, name)
            place = columns.index(name) + 1
    return columns


def _table(found):
    metrics = _columns(found.points)
    lines = [_row("th", ["", *metrics])]
    for point in found.points:
        cells = [panels.text_of(point.metrics[m].median, point.units[m]) if m in point.metrics else ""
                 for m in metrics]
        lines.append(_row("td", [point.shape, *cells]))
    return "<table>" + "".join(lines) + "</table>"


def _figure(found, directory):
    try:
        svg = pictures.draw(found, directory)[0].read_bytes()
    except pictures.NothingToDraw:
        return ""
    return (f'<figure><img alt="bench-{found.bench}" src="data:image/svg+xml;base64,'
            f'{base64.b64encode(svg).decode()}"></figure>')


def _section(found, directory):
    options = found.lines[-1].get("options", {})
    told = ", ".join(f"{name}={value}" for name, value in options.items()) or "defaults"
    return (f'<h2 id="{found.bench}">bench-{found.bench}</h2>'
            f"{_figure(found, directory)}{_table(found)}<p><small>{html.escape(pictures.describe(found))}. "
            f"Options: {html.escape(told)}.</small></p>")


def page_of(everything, directory):
    last = max((found.lines[-1] for found in everything), key=lambda line: line["date"])
    machine = "".join(_row("td", [text, str(last.get(name, ""))]) for name, text in MACHINE.items())
    links = " ".join(f'<a href="#{found.bench}">{found.bench}</a>' for found in everything)
    sections = "".join(_section(found, directory) for found in everything)
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Tusk, measured</title>'
            f"<style>{CSS}</style><h1>Tusk, measured</h1><p>Version {html.escape(last['version'])}, "
            f"commit {html.escape(last['commit'])}. What the figures contain: bench/README.md and "
            f"bench/METHOD.md.</p><table class=machine>{machine}</table><nav>{links}</nav>{sections}</html>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("build/results"), metavar="DIR",
                        help="where the results are and the page goes (build/results)")
    directory = parser.parse_args().results
    paths = {name: results.newest(directory, name) for name in pictures.PICTURES}
    everything = [found for name, path in paths.items() if path
                  if (found := results.load(path, name)).lines]
    if not everything:
        print(f"no results in {directory}: make bench-all writes them", file=sys.stderr)
        return 66
    target = directory / "report.html"
    target.write_text(page_of(everything, directory))
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
