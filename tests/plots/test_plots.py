"""Tests of bench/plots: what is read from result files and how figures are written."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench" / "plots"))

import page  # noqa: E402  (found by the line above)
import panels  # noqa: E402
import pictures  # noqa: E402
import results  # noqa: E402


def line(run, rate, **others):
    """A line of a result file."""
    return {"bench": "bench-scaling", "shape": "submit, processes 4", "run": run, "system": "tusk",
            "mode": "submit", "series": "processes", "processes": 4, "fsync": "none",
            "idle": "adaptive", "metrics": {"entries/s": rate}, "units": {"entries/s": "1/s"},
            "version": "1.2.3", "commit": "abc", "date": "2026-01-02T03:04:05Z", "cpu": "a <b>",
            "cores": 2, "kernel": "6.1", "file_system": "ext4", "round_trip_ns": 250,
            "others_cpu": 0.5, **others}


class Files(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def write(self, stamp, lines):
        path = self.directory / f"bench-scaling-{stamp}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        return path

    def load(self, *lines):
        return results.load(self.write("20260102T030405Z", lines), "scaling")

    def test_the_newest_file_is_taken(self):
        self.write("20260102T030405Z", [line(1, 1)])
        newest = self.write("20260102T030406Z", [line(1, 1)])
        self.write("20251231T235959Z", [line(1, 1)])
        self.assertEqual(results.newest(self.directory, "scaling"), newest)
        self.assertIsNone(results.newest(self.directory, "writes"))

    def test_another_benchmark_s_file_is_not_taken(self):
        (self.directory / "bench-batch-scaling-20260102T030405Z.jsonl").write_text("")
        self.assertIsNone(results.newest(self.directory, "scaling"))

    def test_runs_become_median_least_and_most(self):
        point, = self.load(line(1, 30.0), line(2, 10.0), line(3, 20.0)).points
        self.assertEqual(point.metrics["entries/s"], (20.0, 10.0, 30.0))
        self.assertEqual((point.series, point.x), ("processes", 4))

    def test_a_metric_that_a_run_lacks_is_of_the_others(self):
        point, = self.load(line(1, 30.0), line(2, 0, metrics={}, units={})).points
        self.assertEqual(point.metrics["entries/s"], (30.0, 30.0, 30.0))

    def test_histograms_of_runs_add_up(self):
        def latency(*buckets):
            return {"percentiles": {"append": {"unit": "ns", "buckets": buckets}}}
        point, = self.load(line(1, 1, **latency([10, 2], [20, 1])), line(2, 1, **latency([10, 3]))).points
        self.assertEqual(point.buckets["append"], {10: 5, 20: 1})

    def test_a_picture_and_a_page_are_drawn(self):
        found = self.load(line(1, 30.0), line(2, 10.0, shape="submit, processes 8", processes=8))
        svg, png = pictures.draw(found, self.directory)
        self.assertIn("<svg", svg.read_text())
        self.assertEqual(png.read_bytes()[:4], b"\x89PNG")
        text = page.page_of([found], self.directory)
        self.assertIn("a &lt;b&gt;", text)
        self.assertIn("submit, processes 8", text)

    def test_a_column_that_few_have_stands_where_they_have_it(self):
        def shape(name, *metrics):
            return line(1, 1, shape=name, metrics=dict.fromkeys(metrics, 1), units=dict.fromkeys(metrics, "1"))
        found = self.load(shape("a", "made", "CPU"), shape("b", "made", "read", "CPU", "calls"), shape("c", "first"))
        self.assertEqual(page._columns(found.points), ["first", "made", "read", "CPU", "calls"])

    def test_what_a_picture_does_not_show_is_said(self):
        found = self.load(line(1, 1, metrics={"other": 1}, units={"other": "1"}))
        with self.assertRaises(pictures.NothingToDraw):
            pictures.draw(found, self.directory)


class Axes(unittest.TestCase):
    def test_figures_have_three_digits_and_a_prefix(self):
        space = "\N{NARROW NO-BREAK SPACE}"
        for value, unit, text in [(12130700, "1/s", f"12.1{space}M"), (331, "ns", f"331{space}ns"),
                                  (999.9, "ns", f"1{space}\N{MICRO SIGN}s"), (0.5, "1", "0.5"),
                                  (1.5e9, "B/s", f"1.5{space}GB/s"), (7, "count", "7"), (0, "ns", "0"),
                                  (0.0357, "1/entry", "0.0357"), (0.25, "ns", f"250{space}ps")]:
            self.assertEqual(panels.text_of(value, unit), text)
        self.assertEqual(panels.size_text(1536), f"1.5{space}KiB")

    def test_a_step_stands_at_the_share_that_took_no_longer(self):
        _, axes = pictures.plt.subplots()
        panels.nines(axes, {"append": {100: 90, 200: 9, 300: 1}})
        steps, = axes.get_lines()
        self.assertEqual([round(x) for x in steps.get_xdata()], [1, 10, 100, 100])
        self.assertEqual(list(steps.get_ydata()), [100, 100, 200, 300])

    def test_names_of_neighbours_do_not_touch(self):
        self.assertEqual(panels._apart([1, 2, 4, 8, 9, 10, 16]), [16, 10, 8, 4, 2, 1])
        self.assertEqual(panels._apart([0, 1, 2]), [2, 1, 0])


if __name__ == "__main__":
    unittest.main()
