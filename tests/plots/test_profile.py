"""Tests of bench/profile: what is read from callgrind and perf, and what is counted as what."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "profile"))

import callgrind  # noqa: E402  (found by the line above)
import groups  # noqa: E402
import main  # noqa: E402
import samples  # noqa: E402
import tables  # noqa: E402

CALLGRIND = """# callgrind format
version: 1
events: Ir

ob=(1) /bin/tuskd
fl=(1) broker/unit.c
fn=(1) unit_place
10 5
+2 7
cob=(2) /lib/libc.so.6
cfn=(2) memcpy
calls=3 0
+1 900
* 1
fi=(3) shm/layout.h
40 2

ob=(2)
fn=(2)
0 900

ob=(1)
fn=(3) unit_place'2
10 4

totals: 919
"""

SCRIPT = """  7 100.000000500:
\t  1234 unit_place (/bin/tuskd)
\t  99 append_take (/bin/tuskd)

  7 100.000000600:
\tffffffff81801417 ext4_add_entry ([kernel.kallsyms])
\tffffffff816efd25 __x64_sys_pwritev2 ([kernel.kallsyms])
\tf7f37 pwritev2 (/lib/libc.so.6)

  7 100.000000700:
\tffffffff81000c82 asm_exc_page_fault ([kernel.kallsyms])

  8 100.000000800:
\t  1 other (/bin/other)

  7 100.000002000:
\t  1234 unit_place (/bin/tuskd)
"""


class Callgrind(unittest.TestCase):
    def read(self, text):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            return callgrind.read(file.name)

    def test_a_function_has_its_own_cost_without_what_it_calls(self):
        costs = self.read(CALLGRIND)
        self.assertEqual(costs["/bin/tuskd", "unit_place"], 15)
        self.assertEqual(costs["/lib/libc.so.6", "memcpy"], 900)
        self.assertEqual(costs["/bin/tuskd", "unit_place'2"], 4)
        self.assertEqual(sum(costs.values()), 919)

    def test_what_happens_once_falls_out_of_the_slope(self):
        small = {"broker": callgrind.Counter({("a", "start"): 1000, ("a", "work"): 50})}
        large = {"broker": callgrind.Counter({("a", "start"): 1000, ("a", "work"): 250})}
        self.assertEqual(callgrind.slope(small, large, 20),
                         {"broker": {("a", "start"): 0, ("a", "work"): 10}})


class Samples(unittest.TestCase):
    def test_a_sample_counts_where_and_when_it_lay(self):
        sides = samples.read(SCRIPT.splitlines(keepends=True), {7: "broker"}, 100_000_000_000,
                             100_000_001_000)
        self.assertEqual(sides, {"broker": {("/bin/tuskd", "unit_place"): 1, ("kernel", "pwritev2"): 1,
                                            ("kernel", "page faults"): 1}})


class Groups(unittest.TestCase):
    def test_functions_of_this_tree_are_found_and_told_apart(self):
        found = groups.definitions(ROOT)
        for path, function, group in [("/bin/tuskd", "engine_pass", groups.WAITING),
                                      ("/bin/tuskd", "engine_idle.part.0", groups.WAITING),
                                      ("/bin/tuskd", "append_take", groups.OWN),
                                      ("/lib/libtusk.so.0.1.0", "idle_spin", groups.WAITING),
                                      ("/lib/libtusk.so.0.1.0", "tusk_submit", groups.OWN),
                                      ("/bin/bench-profile", "producer_work", groups.PROGRAM),
                                      ("/bin/bench-profile", "relay_work", groups.OWN),
                                      ("/bin/bench-profile", "wait_step", groups.WAITING),
                                      ("/lib/libisal.so.2", "0x23f90", groups.CHECKSUM),
                                      ("/lib/libc.so.6", "__memmove_avx512_unaligned_erms", groups.COPY),
                                      ("/lib/libc.so.6", "__sched_yield", groups.WAITING)]:
            self.assertEqual(groups.group_of(found, path, function), group, function)

    def test_every_function_that_is_named_as_waiting_is_defined(self):
        defined = {function for _, function in groups.definitions(ROOT)}
        system = {"sched_yield", "poll", "ppoll", "epoll_wait", "clock_gettime"}
        self.assertEqual(groups.WAITING_FUNCTIONS - defined - system, set())
        for file in groups.WAITING_FILES:
            self.assertTrue((ROOT / file).exists(), file)


class Lines(unittest.TestCase):
    BASE = {"bench": "bench-profile", "shape": "64 B, one by one", "run": 1, "system": "tusk",
            "metrics": {"entries/s": 1e7, "broker CPU": 30.0, "broker calls": 0.5}}

    def lines(self):
        found = groups.definitions(ROOT)
        places = {("/bin/tuskd", "append_take"): 60.0, ("/lib/libisal.so.2", "0x1"): 20.0,
                  ("/bin/tuskd", "engine_pass"): 5.0}
        times = {**places, ("kernel", "sendto"): 4.0, ("kernel", "sched_yield"): 3.0}
        line, = main.lines_of(self.BASE, found, {"broker": times}, {"broker": 50.0}, {"broker": places})
        line["profilers"] = {"perf": "cpu-clock", "callgrind": ""}
        return [line]

    def test_waiting_is_no_work(self):
        line, = self.lines()
        self.assertEqual(line["shape"], "64 B, one by one: broker")
        metrics = line["metrics"]
        self.assertEqual((metrics["instructions"], metrics["waiting instructions"]), (80, 5))
        self.assertEqual((metrics["time"], metrics["kernel time"], metrics["waiting time"]), (84, 4, 8))
        self.assertEqual((metrics["CPU"], metrics["calls"], metrics["not running"]), (30, 0.5, 50))

    def test_the_table_names_the_functions(self):
        text = tables.text(self.lines())
        self.assertIn("instructions: append_take 75 %, crc32 (ISA-L) 25 %", text)
        self.assertIn("[sendto] 5 %", text)

    def test_files_have_a_row_for_each_figure_and_function(self):
        with tempfile.TemporaryDirectory() as directory:
            with tables.Files(Path(directory), "20260102T030405Z") as files:
                files.write(self.lines()[0])
            rows = files.csv_path.read_text().splitlines()
            self.assertIn('bench-profile,"64 B, one by one: broker",time in append_take (own),ns,1,60,tusk,'
                          'broker,,,,,,,,,,,', rows)
            line = json.loads(files.json_path.read_text())
            self.assertEqual(line["functions"]["instructions"][0], ["append_take", "own", 60.0])


if __name__ == "__main__":
    unittest.main()
