#!/usr/bin/env bash
# bench-latency, small: bench-latency-smoke.sh PROGRAM
#
# Every kind of latency is measured with every idle strategy, its percentiles are in order, open loops
# say what was offered and kept, the histograms in the results hold as many values as they say, nothing
# is left behind, and a rate that is none is refused.
. "$(dirname "$0")/common.sh"

program=${1?usage: bench-latency-smoke.sh PROGRAM}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/tusk-latency-smoke.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/data" "$scratch/results"
# What the caller's environment says to benchmarks must not reach this one.
unset PROCS THREADS TOPICS CONSUMERS SIZE BATCH FSYNC IDLE BACKEND ONLY
export DATA_DIR=$scratch/data MAX_BYTES=64M RUNS=1 DURATION=0.15

fail() {
    say "FAILED: $*"
    exit 1
}

RATE=2K,50% RESULTS=$scratch/results "$program" >"$scratch/table" ||
    fail "bench-latency ended with status $?"
[[ -z $(ls -A "$scratch/data") ]] || fail "left behind: $(ls -A "$scratch/data")"

csv=$(echo "$scratch"/results/*.csv)
json=$(echo "$scratch"/results/*.jsonl)
for idle in spin adaptive block; do
    for shape in "closed, COMMITTED, $idle" "open, COMMITTED, $idle, 2K/s" \
        "open, COMMITTED, $idle, 50%" "one way, $idle, 2K/s"; do
        grep -qF "\"$shape\",\"p99.99\",ns" "$csv" || fail "no figure for '$shape'"
    done
done
grep -qF '"one way, block, 2K/s","consumer CPU",ns' "$csv" || fail "no CPU time per entry"
grep -qF '"closed, DURABLE, adaptive","p50",ns' "$csv" || fail "no figure for durable appends"

# Shapes have commas in their names, so fields are taken from behind the last quote.
awk -F'"' '
    NR > 1 { split($5, rest, ","); value[$2, $4] = rest[4]; shapes[$2] = 1 }
    END {
        names = split("p50 p90 p99 p99.9 p99.99 most", order, " ")
        for (shape in shapes) {
            if (shape ~ /saturated$/) continue
            if (value[shape, "values"] < 1) { print shape ": no values"; exit 1 }
            if (shape !~ /^closed/ && value[shape, "offered/s"] * value[shape, "kept"] <= 0) {
                print shape ": no word of what was offered and kept"
                exit 1
            }
            for (i = 2; i <= names; i++)
                if (value[shape, order[i]] + 0 < value[shape, order[i - 1]] + 0) {
                    print shape ": " order[i] " is less than " order[i - 1]
                    exit 1
                }
        }
    }' "$csv" || fail "the figures in $csv contradict each other"

# "count":N,...,"buckets":[[top,N],...]
awk '
    match($0, /"(append|due to [A-Za-z]+)":\{"unit":"ns","count":[0-9]+/) {
        text = substr($0, RSTART + RLENGTH)
        count = substr($0, RSTART, RLENGTH)
        sub(/.*:/, "", count)
        text = substr(text, index(text, "\"buckets\":[") + 11)
        text = substr(text, 1, index(text, "]]"))
        pairs = split(text, pair, "]")
        for (i = sum = 0; ++i <= pairs; sum += last) { last = pair[i]; sub(/.*,/, "", last) }
        if (sum != count) { print sum " values in the buckets, " count " told"; exit 1 }
        lines++
    }
    END { if (lines < 13) { print lines + 0 " results with a histogram"; exit 1 } }' "$json" ||
    fail "the histograms in $json do not add up"

status=0
RATE=10K,fast "$program" >/dev/null 2>"$scratch/refusal" || status=$?
((status == 64)) || fail "a rate that is none: status $status, expected 64"
grep -q "RATE=10K,fast" "$scratch/refusal" || fail "the bad rate is not named"
say "bench-latency: every kind and strategy, figures in order, histograms that add up"
