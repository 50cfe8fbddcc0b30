#!/usr/bin/env bash
# Configures and builds one preset below build/: build.sh [--without-tests] [--with-peers] PRESET [TARGET...]
# Without tests it needs neither Criterion nor a C++ compiler. With peers, bench-peers has those whose
# libraries are there; without, a build stays as it was.
# Quiet when it works; when it doesn't, the whole log is shown.
. "$(dirname "$0")/common.sh"

tests=ON
if [[ ${1-} == --without-tests ]]; then
    tests=OFF
    shift
fi
options=()
if [[ ${1-} == --with-peers ]]; then
    options=(-DTUSK_PEERS=ON)
    shift
fi
(($#)) || die 64 "usage: build.sh [--without-tests] [--with-peers] PRESET [TARGET...]"
preset=$1
shift

build_dir=$root/build/$preset
log=$build_dir/build.log
mkdir -p "$build_dir"

# One build of a directory at a time.
exec 9>"$build_dir/.lock"
flock 9

say "Building $preset in build/$preset"
if ! (cd "$root" && cmake --preset "$preset" -DTUSK_TESTS="$tests" "${options[@]}" &&
    cmake --build "$build_dir" --parallel "$jobs" ${1:+--target "$@"}) >"$log" 2>&1; then
    cat "$log" >&2
    die 70 "building the preset $preset failed; the log above is build/$preset/build.log"
fi
