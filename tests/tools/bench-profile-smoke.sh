#!/usr/bin/env bash
# bench-profile's program, small: bench-profile-smoke.sh PROGRAM
#
# Each shape that is told runs with few entries and says which processes did what, when, and how many entries
# it was; a name that is none is refused; nothing is left behind. What profilers make of it: tests/plots.
. "$(dirname "$0")/common.sh"

program=${1?usage: bench-profile-smoke.sh PROGRAM}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/tusk-profile-smoke.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/data"
# What the caller's environment says to benchmarks must not reach this one.
unset PROCS THREADS TOPICS CONSUMERS SIZE BATCH FSYNC IDLE BACKEND ONLY RESULTS
export DATA_DIR=$scratch/data

fail() {
    say "FAILED: $*"
    exit 1
}

# shape ENTRIES WRITTEN NAME SIDE...
shape() {
    local entries=$1 written=$2 name=$3 side
    shift 3
    "$program" "$name" "$entries" "$written" >"$scratch/told" || fail "$name: status $?"
    for side; do
        grep -qE "^process $side [0-9]+$" "$scratch/told" || fail "$name: no $side: $(<"$scratch/told")"
    done
    awk '$1 == "work" && $3 > $2 { timed = 1 } END { exit !timed }' "$scratch/told" || fail "$name: no time"
    awk -v entries="$entries" '$1 == "entries" && $2 >= entries { enough = 1 } END { exit !enough }' \
        "$scratch/told" || fail "$name: not $entries entries: $(<"$scratch/told")"
}

shape 10000 0 "64 B, the floor" producer relay reader
shape 10000 0 "64 B, one by one" producer broker reader
shape 10000 0 "64 B, batches of 1,000" producer broker reader
shape 100 0 "append to COMMITTED, spin" producer broker
shape 32 0 "each, 16 producers" producer broker
shape 12000 5000 "tusk_reader_batch, from memory" broker reader
shape 5000 5000 "tusk_batch_read, at least once" broker reader
shape 30000 30000 "1 KiB, cold reads" broker reader

status=0
"$program" "no such shape" 2>"$scratch/refusal" || status=$?
((status == 64)) || fail "a shape that is none: status $status, expected 64"
grep -q "'no such shape': expected" "$scratch/refusal" || fail "it is not named: $(<"$scratch/refusal")"
[[ -z $(ls -A "$scratch/data") ]] || fail "left behind: $(ls -A "$scratch/data")"
say "bench-profile: 8 shapes, nothing left"
