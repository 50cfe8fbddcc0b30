#!/usr/bin/env bash
# make bench-NAME: builds and runs one benchmark: bench.sh NAME. bench-all: all of them, one after the
# other, each with its defaults or what the environment says.
# FSYNC PROCS THREADS TOPICS SIZE BATCH DURATION BACKEND CONSUMERS IDLE come from the environment.
# The figures go to RESULTS (build/results) too, with the commit that they are of.
. "$(dirname "$0")/common.sh"

name=${1-}
[[ -n $name ]] || die 64 "usage: bench.sh NAME"
"$root/tests/tools/install-deps.sh" build
options=()
if [[ $name == peers ]]; then
    "$root/tests/tools/install-deps.sh" peers || say "Going on with the peers that are there."
    options=(--with-peers)
fi
"$root/tests/tools/build.sh" --without-tests "${options[@]}" release
bin=$root/build/release/bin
names=("$name")
[[ $name != profile ]] || "$root/tests/tools/install-deps.sh" profile || say "Going on with the profilers that are there."
[[ $name != all ]] ||
    names=(writes reads throughput scaling batch-scaling latency floor pingpong fsync peers recovery
        idle syscalls profile)
for name in "${names[@]}"; do
    [[ -x $bin/bench-$name ]] || die 64 "there is no benchmark '$name' (looked for $bin/bench-$name)"
done
export RESULTS=${RESULTS:-$root/build/results}
mkdir -p "$RESULTS"
COMMIT=$(git -C "$root" describe --always --dirty --abbrev=12 --match '' 2>/dev/null || echo unknown)
export COMMIT TUSKD=$bin/tuskd PYTHONDONTWRITEBYTECODE=1
failed=()
for name in "${names[@]}"; do
    status=0
    command=("$bin/bench-$name")
    [[ $name != profile ]] ||
        command=(/usr/bin/python3 "$root/bench/profile/main.py" --program "$bin/bench-profile" --results "$RESULTS")
    "${command[@]}" || status=$?
    ((status == 0 || (${#names[@]} > 1 && status < 128))) || exit "$status" # from 128 on: asked to end
    ((status == 0)) || failed+=("bench-$name: status $status")
done
((${#failed[@]} == 0)) || die 70 "${failed[@]}"
