#!/usr/bin/env bash
# What draws results, and what makes them of profiles, does what it says: its tests, then every committed result as a picture, and the page.
. "$(dirname "$0")/common.sh"

export PYTHONDONTWRITEBYTECODE=1
/usr/bin/python3 "$root/tests/plots/test_plots.py"
/usr/bin/python3 "$root/tests/plots/test_profile.py"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$root"/bench/results/*.jsonl "$scratch"
export RESULTS=$scratch
drawn=0
while read -r name; do
    compgen -G "$scratch/bench-$name-2*.jsonl" >/dev/null || continue
    "$root/tests/tools/show.sh" "$name"
    [[ -s $scratch/bench-$name.svg && -s $scratch/bench-$name.png ]] || die 1 "no picture of $name"
    drawn=$((drawn + 1))
done < <(/usr/bin/python3 "$root/bench/plots/draw.py")
((drawn > 0)) || die 1 "bench/results has nothing that can be drawn"
"$root/tests/tools/show.sh" --report
[[ $(grep -o 'src="data:' "$scratch/report.html" | wc -l) == "$drawn" ]] ||
    die 1 "report.html lacks a picture"
! grep -oE '(src|href)="(https?:|/)[^"]*"' "$scratch/report.html" || die 1 "report.html needs these"
