#!/usr/bin/env bash
# bench-peers, small: bench-peers-smoke.sh PROGRAM
#
# With the peers that every machine has: each answers all that it is asked and loses nothing, the files
# of results say so, a name that isn't known is refused, and a run that is interrupted keeps what it
# measured and leaves neither process, directory nor shared memory.
. "$(dirname "$0")/common.sh"

program=${1?usage: bench-peers-smoke.sh PROGRAM}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/tusk-peers-smoke.XXXXXX")
running=
cleanup() {
    [[ -z $running ]] || kill -KILL "$running" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT
mkdir "$scratch/data" "$scratch/results" "$scratch/interrupted"
# What the caller's environment says to benchmarks must not reach this one.
unset PROCS THREADS TOPICS CONSUMERS SIZE BATCH FSYNC IDLE BACKEND ONLY
export DATA_DIR=$scratch/data MAX_BYTES=64M RUNS=1 PEERS="pipe seqpacket,file mq"

fail() {
    say "FAILED: $*"
    exit 1
}

# The answer of a peer to a question, as a sample that the CSV file must have.
measured() {
    grep -qE "^\"?bench-peers\"?,\"?$1: $2 \[.*entries/s" "$scratch"/results/*.csv ||
        fail "no figure for '$1: $2'"
}

DURATION=0.02 PROCS=1-4 RESULTS=$scratch/results "$program" >"$scratch/table" ||
    fail "bench-peers ended with status $?"
queues=()
grep -q '^Skipped: mq,' "$scratch/table" || queues=(mq)
for peer in pipe seqpacket file tusk "${queues[@]}"; do
    for question in "64 B one by one" "64 B in batches" "1 KiB one by one" "64 B there and back"; do
        measured "$question" "$peer"
    done
done
for peer in file tusk; do
    measured "16 KiB one by one" "$peer"
    measured "256 B durable by 1 sender" "$peer"
    measured "256 B durable by 4 senders" "$peer"
done
# costs ROW METRIC...: the row has such figures, above 0.
costs() {
    local row=$1 metric
    shift
    for metric in "$@"; do
        awk -F, -v metric="\"$metric\"" -v row="\"$row" '
            index($0, row) && $3 == metric { good = $6 > 0 } END { exit !good }' "$scratch"/results/*.csv ||
            fail "no $metric of '$row'"
    done
}
costs "64 B one by one: tusk" CPU "sender CPU" "server CPU" "receiver CPU"
costs "64 B one by one: pipe" CPU "sender CPU" "receiver CPU"
costs "256 B durable by 4 senders: tusk" CPU "sender CPU" "server CPU"
! grep -q '64 B one by one: pipe.*"server' "$scratch"/results/*.csv || fail "a pipe has no server"
if ! grep -q '^System calls are not counted' "$scratch/table"; then
    costs "64 B one by one: pipe" calls "sender calls" "receiver calls"
    costs "256 B durable by 4 senders: tusk" calls "server calls"
fi
[[ -z $(ls -A "$scratch/data") ]] || fail "left behind: $(ls -A "$scratch/data")"
awk -F, '/"?lost"?,/ && $6 != 0 { print; bad = 1 } END { exit bad }' "$scratch"/results/*.csv ||
    fail "entries were lost"

status=0
PEERS="pipe parcel-pigeon" "$program" >/dev/null 2>"$scratch/refusal" || status=$?
((status == 64)) || fail "an unknown peer: status $status, expected 64"
grep -q "parcel-pigeon" "$scratch/refusal" || fail "the unknown peer is not named"

# One measurement ends by itself, one of the next, with Tusk and with the file, is interrupted.
set -m # else bash has it ignore SIGINT
DURATION=600 RESULTS=$scratch/interrupted PEERS=file MAX_BYTES=16M ONLY="64 B" \
    "$program" >"$scratch/table" 2>"$scratch/errors" &
pid=$!
running=$pid
set +m
deadline=$((SECONDS + 300)) # it only ends what hangs; machines may be busy
until grep -q '64 B one by one: file.*entries/s' "$scratch"/interrupted/*.csv 2>/dev/null; do
    ((SECONDS < deadline)) && kill -0 "$pid" 2>/dev/null ||
        fail "there was nothing to interrupt: $(<"$scratch/errors")"
    sleep 0.05
done
kill -INT "$pid"
status=0
wait "$pid" || status=$?
running=
((status == 130)) || fail "interrupted: status $status, expected 130"
grep -q '^64 B one by one: file' "$scratch/table" || fail "what had been measured is not in the table"
[[ -z $(ls -A "$scratch/data") ]] || fail "left behind: $(ls -A "$scratch/data")"
! compgen -G "/dev/shm/tusk-bench-$pid-*" || fail "shared memory was left behind"
for environment in /proc/[0-9]*/environ; do
    if grep -qzxF "DATA_DIR=$DATA_DIR" "$environment" 2>/dev/null &&
        [[ ${environment//[!0-9]/} != "$$" ]]; then
        fail "left running: $environment"
    fi
done
say "bench-peers: all asked, nothing lost, nothing left"
