"""Draws the newest results of benchmarks: draw.py [--results DIR] NAME...

Called by tests/tools/show.sh. Without a NAME: lists them. Exits 66 where there are no results.
"""
import argparse
import sys
from pathlib import Path

import pictures
import results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("build/results"), metavar="DIR",
                        help="where the results are and the pictures go (build/results)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(pictures.PICTURES))
    arguments = parser.parse_args()
    if not arguments.names:
        print(*pictures.PICTURES, sep="\n")
    for name in arguments.names:
        if name not in pictures.PICTURES:
            parser.error(f"there is no picture '{name}', but: {' '.join(pictures.PICTURES)}")
        path = results.newest(arguments.results, name)
        if path is None:
            print(f"no bench-{name}-*.jsonl in {arguments.results}: make bench-{name} writes one",
                  file=sys.stderr)
            return 66
        try:
            print(*pictures.draw(results.load(path, name), arguments.results), sep="\n")
        except pictures.NothingToDraw:
            print(f"{path} has nothing that the picture shows", file=sys.stderr)
            return 66
    return 0


if __name__ == "__main__":
    sys.exit(main())
