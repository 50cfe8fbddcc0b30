#!/usr/bin/env bash
# make show-NAME: draws what make bench-NAME measured: show.sh NAME
# make bench-report: one page with all that was measured: show.sh --report
#
# Takes the newest figures in RESULTS (build/results), or measures them first where there are none; writes
# bench-NAME.svg and bench-NAME.png, or report.html, beside them. matplotlib is installed if it is missing.
. "$(dirname "$0")/common.sh"

name=${1-}
results=${RESULTS:-$root/build/results}
plots=$root/bench/plots
python=/usr/bin/python3 # Debian's own, which its matplotlib belongs to
"$root/tests/tools/install-deps.sh" show
export PYTHONDONTWRITEBYTECODE=1

if [[ $name == --report ]]; then
    exec "$python" "$plots/page.py" --results "$results"
fi
known=$("$python" "$plots/draw.py")
grep -qxF -- "$name" <<<"$known" || die 64 "there is no picture '$name', but:" $known
if ! compgen -G "$results/bench-$name-2*.jsonl" >/dev/null; then
    RESULTS=$results "$root/tests/tools/bench.sh" "${name%-latency}" # bench-floor measures floor-latency too
fi
exec "$python" "$plots/draw.py" --results "$results" "$name"
