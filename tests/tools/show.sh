#!/usr/bin/env bash
# make show-NAME: draws what make bench-NAME measures: show.sh NAME
#
# Takes the newest figures in RESULTS (build/results), or measures them first where there are none; writes
# bench-NAME.svg and bench-NAME.png beside them. gnuplot is installed if it is missing.
. "$(dirname "$0")/common.sh"

name=${1-}
plot=$root/bench/plots/$name.gnuplot
if [[ ! -f $plot ]]; then
    known=("$root"/bench/plots/*.gnuplot)
    known=("${known[@]##*/}")
    die 64 "there is no picture '$name', but: ${known[*]%.gnuplot}"
fi
results=${RESULTS:-$root/build/results}
"$root/tests/tools/install-deps.sh" show
newest() {
    local found=("$results/bench-$name-"*.csv)
    csv=${found[-1]}
}
newest
if [[ ! -f $csv ]]; then
    mkdir -p "$results"
    RESULTS=$results "$root/tests/tools/bench.sh" "$name"
    newest
fi
gnuplot -e "csv='$csv'; out='$results/bench-$name'" "$plot"
say "$results/bench-$name.svg" "$results/bench-$name.png"
