#!/usr/bin/env bash
# make test: every suite and check, one after the other: run-tests.sh [PHASE...]
#
# Phases, all by default: release pwrite mmap asan tsan models checks. pwrite and mmap run what
# starts brokers once more, with that backend.
# Counts test cases: those of Criterion programs one by one (from their TAP files), other programs,
# models and checks as one each. A skip that tests/expected-skips doesn't name is a failure.
# Beneath what failed stands why, and all of it once more at the end. Logs of what failed stay in
# build/test-logs. The last line is "N passed, N failed[, N skipped]".
. "$(dirname "$0")/common.sh"

logs=$root/build/test-logs
passed=0
failed=0
skipped=0
failures=()
leave_s=10
why_lines=8

# count PHASE NAME pass|fail|skip [WHY]
count() {
    local failure=''
    case $3 in
    pass) passed=$((passed + 1)) ;;
    skip)
        if grep -qxF -- "$2" <(sed 's/[[:space:]]*#.*//' "$root/tests/expected-skips"); then
            skipped=$((skipped + 1))
        else
            failure="  UNEXPECTED SKIP $1: $2"
        fi
        ;;
    *) failure="  FAILED $1: $2" ;;
    esac
    if [[ $failure ]]; then
        failed=$((failed + 1))
        [[ -z ${4-} ]] || failure+=$'\n      '${4//$'\n'/$'\n'      }
        failures+=("$failure")
        say "$failure"
    fi
}

phase_begin() {
    phase=$1
    phase_started=$SECONDS
    phase_before=("$passed" "$failed" "$skipped")
}

phase_end() {
    say "$phase: $((passed - phase_before[0])) passed, $((failed - phase_before[1])) failed," \
        "$((skipped - phase_before[2])) skipped in $((SECONDS - phase_started)) s"
}

# Reads CTest's JUnit file: "NAME pass|fail|skip" for each test.
junit_results() {
    sed -e 's/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&amp;/\&/g' "$1" | awk '
        match($0, /<testcase name="[^"]*"/) {
            name = substr($0, RSTART + 16, RLENGTH - 17)
            status = $0
            sub(/.* status="/, "", status)
            sub(/".*/, "", status)
            if (status == "run")
                print name, "pass"
            else if (status != "notrun")
                print name, "fail"
            next
        }
        name != "" && status == "notrun" && /<skipped / {
            print name, (/SKIP_RETURN_CODE/ ? "skip" : "fail")
            status = ""
        }'
}

# Reads a TAP file: "CASE pass|fail|skip" for each case.
tap_results() {
    awk '
        /^(not )?ok / {
            result = /^not / ? "fail" : (/# SKIP/ ? "skip" : "pass")
            sub(/^(not )?ok [0-9]* ?- /, "")
            sub(/ .*/, "")
            print $0, result
        }' "$1"
}

# One test's part of CTest's log.
test_log() {
    awk -v wanted="$2" '
        /^[0-9]+\/[0-9]+ Test: / { inside = ($0 == $1 " Test: " wanted) }
        inside' "$1"
}

# The last lines of a log.
why_log() {
    tail -n "$why_lines" "$1" | cut -c 1-400
}

# Why a test ended badly, from its part of CTest's log; of a case of it: what was printed since the
# failure before it that tells something.
why_test() {
    awk -v wanted="${2-}" -v most="$why_lines" '
        function take(line) {
            lines[++count] = substr(line, 1, 400)
        }
        /^<end of output>$/ { exit }
        /^Output:$/ { inside = 1; next }
        !inside || /^-+$/ { next }
        /^\[FAIL\] / {
            if (index($0, "[FAIL] " wanted ": ") == 1) {
                if (!count || !/: \([0-9.]+s\)$/)
                    take($0)
                exit
            }
            if (wanted != "") {
                count = 0
                next
            }
        }
        wanted == "" && !/^ *$/ { take($0); next }
        /^\[----\] +$/ || /\/check\.c:[0-9]+: Assertion Failed$/ { next }
        /^\[----\]|^deadline passed|^in a thread|^in teardown|Z (error|fatal) |Sanitizer|runtime error:|invariant broken/ {
            take($0)
        }
        END {
            first = wanted == "" && count > most ? count - most + 1 : 1
            for (i = first; i <= count && i < first + most; i++)
                print lines[i]
        }' "$1"
}

# ctest_count DIR NAME RESULT: counts one CTest test of a build, by its cases if it wrote any.
ctest_count() {
    local dir=$1 name=$2 result=$3 tap=$1/tests/$2.tap cases='' case_name why log
    log=$logs/$phase-$2.log
    [[ -s $tap ]] && cases=$(tap_results "$tap")
    if [[ $result == fail ]]; then
        test_log "$dir/Testing/Temporary/LastTest.log" "$name" >"$log"
        if [[ $'\n'$cases$'\n' != *" fail"$'\n'* ]]; then
            count "$phase" "$name (did not end well)" fail "$(why_test "$log")"
        fi
        say "  log: build/test-logs/$phase-$name.log"
    fi
    if [[ -z $cases ]]; then
        [[ $result == fail ]] || count "$phase" "$name" "$result"
        return
    fi
    while read -r case_name result; do
        why=''
        [[ $result != fail || ! -s $log ]] || why=$(why_test "$log" "$case_name")
        count "$phase" "$name::$case_name" "$result" "$why"
    done <<<"$cases"
}

# suite PHASE PRESET OPTION...: builds the preset and runs those of its CTest tests.
suite() {
    local preset=$2 dir=$root/build/$2 name result
    phase_begin "$1"
    shift 2
    if ! "$root/tests/tools/build.sh" "$preset" 2>"$logs/$phase-build.log"; then
        tail -n 30 "$logs/$phase-build.log"
        count "$phase" "build (log: build/test-logs/$phase-build.log)" fail \
            "$(why_log "$logs/$phase-build.log")"
        phase_end
        return
    fi
    rm -f "$logs/$phase-build.log" "$dir"/tests/*.tap "$dir/results.xml"
    ctest --test-dir "$dir" --parallel "$jobs" --no-tests=error "$@" \
        --output-junit "$dir/results.xml" >"$dir/ctest.log" 2>&1 || true
    if [[ ! -s $dir/results.xml ]]; then
        cp "$dir/ctest.log" "$logs/$phase-ctest.log"
        count "$phase" "ctest (log: build/test-logs/$phase-ctest.log)" fail \
            "$(why_log "$logs/$phase-ctest.log")"
    else
        while read -r name result; do
            ctest_count "$dir" "$name" "$result"
        done < <(junit_results "$dir/results.xml")
    fi
    phase_end
}

# backend NAME: what starts brokers, on that backend; its tests choose one by themselves where they
# must.
backend() {
    TUSK_TEST_BACKEND=$1 suite "$1" release --label-regex '^(integration|crash)$' \
        --exclude-regex '^(integration_backends|demo|bench_peers)$'
}

# check NAME COMMAND...: one command that must succeed.
check() {
    local name=$1 log
    log=$logs/$phase-$1.log
    shift
    if "$@" >"$log" 2>&1; then
        count "$phase" "$name" pass
        rm -f "$log"
    else
        count "$phase" "$name" fail "$(why_log "$log")"
        tail -n 20 "$log"
        say "  log: build/test-logs/${log##*/}"
    fi
}

# The script of the models counts for itself.
models() {
    local log=$logs/models.log status=0
    phase_begin models
    mkdir -p "$root/build/models"
    (cd "$root/build/models" && sh "$root/tests/model/run.sh" -j "$jobs") >"$log" 2>&1 || status=$?
    if [[ $(tail -n 1 "$log") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        ((BASH_REMATCH[2] == 0)) || failures+=("  FAILED models:"$'\n'"$(grep -v '^ok' "$log" |
            tail -n "$why_lines" | sed 's/^/      /')")
    else
        count models "the models were not checked to their end" fail "$(why_log "$log")"
    fi
    if ((status == 0)); then
        rm -f "$log"
    else
        grep -v '^ok' "$log" | tail -n 20
        say "  log: build/test-logs/models.log"
    fi
    phase_end
}

checks() {
    local tools=$root/tests/tools
    phase_begin checks
    check format "$tools/format.sh" --check
    check layering "$tools/check-layering.sh"
    check ordering "$tools/check-ordering.sh"
    check lint "$tools/lint.sh"
    check plots "$tools/check-plots.sh"
    phase_end
}

# Every process of this run carries its mark in its environment.
marked_processes() {
    local environment pid
    for environment in /proc/[0-9]*/environ; do
        pid=${environment//[!0-9]/}
        if ((pid != $$ && pid != BASHPID)) &&
            grep -qzxF "TUSK_TEST_RUN=$TUSK_TEST_RUN" "$environment" 2>/dev/null; then
            printf '%s\n' "$pid"
        fi
    done
}

# No process may outlive the tests; those that clean up behind a test get some seconds to end.
leftovers() {
    local pid pids=() deadline=$((SECONDS + leave_s))
    while mapfile -t pids < <(marked_processes) && ((${#pids[@]} && SECONDS < deadline)); do
        sleep 0.2
    done
    for pid in "${pids[@]}"; do
        say "left running: $pid $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")"
        kill -KILL "$pid" 2>/dev/null || true
    done
    ((${#pids[@]} == 0))
}

"$root/tests/tools/install-deps.sh" test

rm -rf "$logs"
mkdir -p "$logs"
unset "${!TUSK_@}" # what the caller's own broker is set to must not reach the tests
# /var/tmp is on a disk where /tmp may be a tmpfs, and short enough for the path of a socket.
TMPDIR=$(mktemp -d /var/tmp/tusk-test.XXXXXX)
TUSK_TEST_RUN=${TMPDIR##*.}-$$
export TMPDIR TUSK_TEST_RUN
trap 'rm -rf "$TMPDIR"' EXIT

for phase in "${@:-release pwrite mmap asan tsan models checks}"; do
    for step in $phase; do
        case $step in
        release | asan | tsan | dev) suite "$step" "$step" --label-exclude '^model$' ;;
        pwrite | mmap) backend "$step" ;;
        models | checks) "$step" ;;
        *) die 64 "unknown phase '$step', expected release, pwrite, mmap, asan, tsan, dev, models or checks" ;;
        esac
    done
done

phase_begin processes
result=pass
leftovers >"$logs/processes.log" || result=fail # not in a subshell, which would be left running
count processes "nothing is left running" "$result" "$(why_log "$logs/processes.log")"
[[ $result == fail ]] || rm -f "$logs/processes.log"
phase_end

rmdir --ignore-fail-on-non-empty "$logs"
if ((failed)); then
    say "What failed:"
    printf '%s\n' "${failures[@]}"
fi
say "All of it took $SECONDS s."
if ((skipped)); then
    say "$passed passed, $failed failed, $skipped skipped"
else
    say "$passed passed, $failed failed"
fi
((failed == 0))
