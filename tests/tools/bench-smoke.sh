#!/usr/bin/env bash
# The throughput programs, small: bench-smoke.sh DIRECTORY
#
# Each measures what lists ask for, leaves files that can be read and have figures above 0, refuses what is not
# possible, and when it is interrupted keeps what it measured and leaves neither process, directory nor shared
# memory.
. "$(dirname "$0")/common.sh"

bin=${1?usage: bench-smoke.sh DIRECTORY}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/tusk-bench-smoke.XXXXXX")
running=
cleanup() {
    [[ -z $running ]] || kill -KILL "$running" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT
mkdir "$scratch/data" "$scratch/results" "$scratch/interrupted"
# What the caller's environment says to benchmarks must not reach these.
unset PROCS THREADS TOPICS CONSUMERS SIZE BATCH FSYNC IDLE BACKEND ONLY
export DATA_DIR=$scratch/data MAX_BYTES=8M RUNS=1 DURATION=0.02

fail() {
    say "FAILED: $*"
    exit 1
}

# measure NAME VARIABLE=VALUE...
measure() {
    local name=$1
    shift
    env "$@" RESULTS="$scratch/results" "$bin/bench-$name" >"$scratch/table" || fail "$name: status $?"
}

# expect NAME ROW METRIC: the program's CSV has such a sample, above 0.
expect() {
    awk -v row="\"$2\",\"$3\"," 'index($0, row) {
        split(substr($0, index($0, row) + length(row)), field, ",")
        good = field[3] > 0
    } END { exit !good }' "$scratch/results/bench-$1"-2*.csv || fail "$1: no $3 of '$2'"
}

measure writes PROCS=1,2 BATCH=4
for shape in append submit "submit, completions reaped" "batch append" "submit batch"; do
    for processes in 1 2; do
        expect writes "$shape, processes $processes" "entries/s"
        expect writes "$shape, processes $processes" "producer CPU"
    done
done
expect writes "64 B, process to process" "end to end/s"
measure scaling PROCS=2-3 SIZE=64,1K
expect scaling "submit, 64 B, processes 2" "entries/s"
expect scaling "append, 1024 B, processes 3" "of first"
measure batch-scaling PROCS=2 BATCH=1000 # more than fits the lanes that clients have by default
expect batch-scaling "submit batch" "entries/s"
measure throughput TOPICS=1,8 ONLY=submit PROCS=1,2 CONSUMERS=0,2 SIZE=64 BATCH=2
expect throughput "submit, topics 8" "entries/s"
expect throughput "submit, one topic, processes 2" "broker CPU"
expect throughput "submit, consumers 2" "end to end/s"
measure reads PROCS=2 CONSUMERS=2 SIZE=10K BATCH=8
for phase in "batch append" readers cursors; do
    expect reads "$phase" "payload B/s"
done
expect reads "64 B, from memory, readers" "entries/s"

measure fsync PROCS=1-2 SIZE=256
for kind in "one file" "one topic" "own files" "own topics"; do
    expect fsync "2 processes, adaptive" "$kind/s"
    expect fsync "2 processes, adaptive" "$kind CPU"
    grep -q "\"$kind\":{\"unit\":\"ns\",\"count\":[1-9]" "$scratch"/results/bench-fsync-*.jsonl ||
        fail "fsync: no histogram of $kind"
done

measure floor SIZE=64 ONLY=64
for system in "the floor" Tusk "Tusk, batches of 1000" "the floor, asking ahead"; do
    for metric in "end to end/s" "producer CPU" "broker CPU" "consumer CPU"; do
        expect floor "64 B, $system" "$metric"
    done
done
for row in "the floor" "Tusk, append to COMMITTED"; do
    for metric in p50 p99.99 most "producer CPU" "broker CPU"; do
        expect floor-latency "$row" "$metric"
    done
done
(($(grep -c '"append":{"unit":"ns","count":[1-9]' "$scratch"/results/bench-floor-latency-*.jsonl) == 2)) ||
    fail "floor: no histograms of the round trips"

lines=0
for file in "$scratch"/results/*.jsonl; do
    while read -r line; do
        [[ $line == '{"bench":"bench-'*'"metrics":{'*'"commit":"'*'"round_trip_ns":'*'"others_cpu":'*'}' ]] ||
            fail "not a result: $line"
        lines=$((lines + 1))
    done <"$file"
    ! command -v jq >/dev/null || jq -e '.metrics | length > 0' "$file" >/dev/null || fail "$file is not JSON"
done
((lines >= 13 + 8 + 2 + 5 + 6 + 2 + 6)) || fail "only $lines results"
[[ -z $(ls -A "$scratch/data") ]] || fail "left behind: $(ls -A "$scratch/data")"

for refused in SIZE=12x SIZE=5G PROCS=0 PROCS=5-3 BATCH=64,; do
    status=0
    env "$refused" "$bin/bench-writes" >/dev/null 2>"$scratch/refusal" || status=$?
    ((status == 64)) || fail "$refused: status $status, expected 64"
    grep -q "^$refused: expected" "$scratch/refusal" || fail "$refused is not named: $(<"$scratch/refusal")"
done

status=0
BACKEND=floppy "$bin/bench-writes" >/dev/null 2>"$scratch/refusal" || status=$?
((status == 64)) || fail "BACKEND=floppy: status $status, expected 64"
status=0
SIZE=64-128 "$bin/bench-fsync" >/dev/null 2>"$scratch/refusal" || status=$?
((status == 64)) || fail "bench-fsync with a range of sizes: status $status, expected 64"
CONSUMERS=2 PROCS=1 ONLY=nothing "$bin/bench-fsync" >/dev/null 2>"$scratch/refusal" ||
    fail "bench-fsync with CONSUMERS: status $?"
grep -q '^CONSUMERS=2: means nothing' "$scratch/refusal" || fail "that CONSUMERS means nothing is not said"

# The first measurements end by themselves; one of the next is interrupted.
set -m # else bash has it ignore SIGINT
RUNS=16 DURATION=1 PROCS=2 RESULTS=$scratch/interrupted \
    "$bin/bench-writes" >"$scratch/table" 2>"$scratch/errors" &
pid=$!
running=$pid
set +m
deadline=$((SECONDS + 300)) # it only ends what hangs; machines may be busy
until grep -q '"submit","entries/s"' "$scratch"/interrupted/*.csv 2>/dev/null; do
    ((SECONDS < deadline)) && kill -0 "$pid" 2>/dev/null ||
        fail "there was nothing to interrupt: $(<"$scratch/errors")"
    sleep 0.05
done
kill -INT "$pid"
status=0
wait "$pid" || status=$?
running=
((status == 130)) || fail "interrupted: status $status, expected 130"
grep -q '^append  *[0-9]' "$scratch/table" || fail "what had been measured is not in the table"
grep -q '"shape":"append","run":1' "$scratch"/interrupted/*.jsonl || fail "no result of what had been measured"
[[ -z $(ls -A "$scratch/data") ]] || fail "left behind: $(ls -A "$scratch/data")"
! compgen -G "/dev/shm/tusk-bench-$pid-*" || fail "shared memory was left behind"
for environment in /proc/[0-9]*/environ; do
    if grep -qzxF "DATA_DIR=$DATA_DIR" "$environment" 2>/dev/null &&
        [[ ${environment//[!0-9]/} != "$$" ]]; then
        fail "left running: $environment"
    fi
done
say "the throughput programs: $lines results, nothing left"
