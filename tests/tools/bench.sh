#!/usr/bin/env bash
# make bench-NAME: builds and runs one benchmark: bench.sh NAME
# FSYNC PROCS THREADS TOPICS SIZE BATCH DURATION BACKEND CONSUMERS IDLE come from the environment.
. "$(dirname "$0")/common.sh"

name=${1-}
[[ -n $name ]] || die 64 "usage: bench.sh NAME"
"$root/tests/tools/install-deps.sh" build
"$root/tests/tools/build.sh" --without-tests release
program=$root/build/release/bin/bench-$name
[[ -x $program ]] || die 64 "there is no benchmark '$name' (looked for $program)"
TUSKD=$root/build/release/bin/tuskd exec "$program"
