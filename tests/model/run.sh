#!/bin/sh
# Checks every model, and that every mutant of it fails.
#
# usage: run.sh [-j JOBS] [PATTERN]     PATTERN: an extended regular expression over the run's line
#
# One line per run, then "N passed, N failed". A run passes when its result is the expected one: no
# error and a complete search for a model, a violated assertion (or a cycle) for a mutant. Anything
# else is a failure: a mutant that gets through, another error, a search cut short, a time-out.
# Exit status: 0, 1 after a failure, 77 without spin or a C compiler.
set -eu

models=$(cd "$(dirname "$0")" && pwd)
run_seconds=60
search_depth=200000
memory_mib=2048

# EXPECTED MODEL FLAGS...; EXPECTED: pass, large (pass, of a search that is worth an optimizer),
# acyclic (pass, and no endless loop), assertion, cycle. The large ones come first.
runs()
{
    cat <<'END'
large wake -DMODE=mixed -DEDGE -DLANES=2 -DN=1
large verdict
large flush
large flush -DKILLS=2 -DERRORS=0
large pin -DREADERS=2 -DN=1 -DFRAMES=1 -DLOADS=2 -DKILLS=1
large commit
large commit -DLANES=2 -DN=2 -DRING=1 -DKILLS=1 -DRESET=0 -DEARLY=0
large commit -DLANES=2 -DN=1 -DRING=1 -DKILLS=2 -DRESET=0 -DEARLY=1
large commit -DLANES=2 -DN=1 -DRING=1 -DKILLS=2 -DRESET=0 -DEARLY=2
pass wake
pass wake -DEDGE
pass wake -DMODE=fencing
pass wake -DN=3
acyclic wake
acyclic wake -DEDGE
acyclic wake -DMODE=fencing
pass unpin
pass unpin -DREADERS=2 -DN=2
pass unpin -DMODE=fencing
acyclic unpin
pass pin -DREADERS=1 -DN=2 -DFRAMES=2 -DLOADS=3
pass pin -DREADERS=1 -DN=1 -DFRAMES=2 -DLOADS=3 -DKILLS=1
pass pin -DREVOKE=1
pass pin -DREVOKE=1 -DKILLS=1
pass pin -DREVOKE=1 -DREADERS=1 -DN=2 -DFRAMES=1 -DLOADS=3
pass commit -DLANES=2 -DN=2 -DRING=1 -DKILLS=0 -DRESET=0 -DEARLY=0
pass commit -DLANES=1 -DN=3 -DRING=2 -DKILLS=1 -DRESET=0 -DEARLY=0
pass commit -DLANES=1 -DN=3 -DRING=2 -DKILLS=2 -DRESET=0 -DEARLY=0
pass commit -DLANES=1 -DN=1 -DRING=1 -DKILLS=2 -DRESET=1 -DEARLY=0
pass commit -DLANES=1 -DN=3 -DRING=2 -DKILLS=2 -DRESET=0 -DEARLY=1
pass commit -DLANES=2 -DN=1 -DRING=1 -DKILLS=1 -DRESET=0 -DEARLY=1
pass commit -DLANES=2 -DN=1 -DRING=1 -DKILLS=1 -DRESET=0 -DEARLY=2
pass commit -DLANES=1 -DN=3 -DRING=2 -DKILLS=2 -DRESET=0 -DEARLY=2
pass commit -DLANES=1 -DN=1 -DRING=1 -DKILLS=2 -DRESET=1 -DEARLY=2
pass repeat -DN=3 -DRING=1 -DKILLS=0
pass repeat -DN=3 -DRING=1 -DKILLS=1
pass repeat
pass room
pass room -DN=2 -DROOM_FIRST=1
acyclic room
END
    mutants assertion wake '' engine_no_membarrier engine_membarrier_before_parked \
        engine_no_park_fence engine_look_before_parked engine_no_look \
        engine_drain_after_membarrier engine_drain_after_look engine_no_publish_fence \
        engine_waiting_before_publish client_parked_before_publish client_no_ring \
        client_no_fence client_look_before_waiting client_no_look \
        client_drain_after_look client_clears_late \
        engine_drain_at_parking engine_same_parking client_rings_again
    mutants assertion wake '-DEDGE' engine_no_drain
    mutants cycle wake '' engine_no_drain
    mutants assertion wake '-DMODE=fencing' client_no_append_fence engine_no_park_fence
    mutants assertion wake '-DMODE=mixed' client_no_append_fence
    mutants assertion unpin '' reader_no_ring reader_no_ring_fence reader_failed_pin_no_look \
        reader_short_before_unpin pool_no_membarrier pool_membarrier_before_short pool_no_look \
        pool_drain_after_look pool_no_short
    mutants assertion unpin '-DMODE=fencing' reader_no_unpin_fence
    mutants assertion room '' engine_no_fence engine_waiting_before_publish client_no_fence \
        client_no_look client_looks_at_tail_only client_names_next_tail engine_rings_on_head_only \
        engine_ends_turn_unseen
    mutants assertion room '-DN=2 -DROOM_FIRST=1' client_names_last_tail
    mutants assertion pin '' reader_no_fence reader_no_second_look reader_any_second_look \
        reader_no_stamp \
        reader_no_header reader_header_before_stamp reader_takes_candidate reader_unpins_early \
        reader_moves_pin pool_no_fence pool_no_bit pool_pins_before_bit pool_frees_pinned \
        pool_stamp_before_image
    mutants assertion pin '-DKILLS=1' pool_keeps_bit restart_frees_candidates \
        restart_forgets_candidates restart_ignores_late_reads
    mutants assertion pin '-DREVOKE=1' pool_zero_late pool_stamp_not_unique pool_frees_unnoted \
        pool_counts_stale
    mutants assertion pin '-DREVOKE=1 -DREADERS=1 -DN=2 -DFRAMES=1 -DLOADS=2' reader_no_serial
    mutants assertion commit '-DLANES=1 -DN=3 -DRING=2 -DKILLS=2 -DRESET=0 -DEARLY=0' \
        frames_after_intent frames_after_tail no_intent valid_before_fields intent_after_tail \
        seq_before_tail completions_after_ledger completions_after_publish no_ledger \
        clear_before_ledger clear_late publish_before_ledger no_topic_part no_lane_part \
        lane_part_early seq_not_redone
    mutants assertion commit '' one_intent redo_twice
    mutants assertion commit '-DLANES=1 -DN=1 -DRING=1 -DKILLS=2 -DRESET=1 -DEARLY=0' no_valid_2
    mutants assertion repeat '' head_before_ledger completion_after_ledger \
        completion_after_publish publish_before_ledger answer_before_publish not_repeated \
        repeat_before_reap repeat_by_sq_head repeat_everything
    mutants assertion flush '' watermark_at_completion write_not_awaited sync_not_awaited \
        system_not_awaited ack_in_completion_order block_not_zeroed next_flush_overlaps \
        collects_one_topic_less short_write_accepted write_error_ignored sync_error_ignored \
        sync_retried restart_one_flush restart_reuses_number restart_no_rewrite restart_no_lock
    mutants assertion verdict '' verdict_takes_next_number verdict_without_floor \
        verdict_without_tail served_before_verdict salt_used_again numbers_of_tails_only
}

# mutants EXPECTED MODEL FLAGS NAME...
mutants()
{
    line="$1 $2 $3"
    shift 3
    for mutant in "$@"; do
        echo "$line -DMUTANT=$mutant"
    done
}

# run_one EXPECTED MODEL FLAGS...: prints "ok" or "FAIL", the run and what came out.
run_one()
{
    expected=$1
    model=$2
    shift 2
    directory=$(mktemp -d "${TMPDIR:-/tmp}/tusk-model.XXXXXX")
    trap 'rm -rf "$directory"' EXIT
    trap 'exit 1' INT TERM
    cd "$directory"

    case $expected in
    large) optimize=-O1 search=-DSAFETY option="" ;;
    pass | assertion) optimize=-O0 search=-DSAFETY option="" ;;
    acyclic | cycle) optimize=-O0 search=-DNP option=-l ;;
    esac
    case $expected in
    pass | large | acyclic) wanted="errors: 0" ;;
    assertion) wanted="^pan:1: assertion violated [^-]" ;; # not an array index out of range
    cycle) wanted="^pan:1: non-progress cycle" ;;
    esac

    if spin -a "$@" "$models/$model.pml" >out 2>&1 &&
        "${CC:-cc}" "$optimize" "$search" -DMEMLIM=$memory_mib -w -o pan pan.c >>out 2>&1; then
        timeout "$run_seconds" ./pan -m$search_depth ${option:+"$option"} >>out 2>&1 ||
            echo "stopped: $?" >>out
    fi

    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
    seconds=$(sed -n 's/^pan: elapsed time \([0-9.e-]*\) seconds/\1/p' out)
    if grep -q "$wanted" out && ! grep -qE 'too small|^stopped|memory limit|out of memory' out &&
        { [ "$wanted" != "errors: 0" ] || ! grep -qF 'Search not completed' out; }; then
        echo "ok    $model${*:+ $*}: $expected, ${states:-?} states, ${seconds:-?} s"
    else
        echo "FAIL  $model${*:+ $*}: expected $expected, got:" \
            "$(grep -E '^pan:1|rror|too small|^stopped|limit' out | head -n 3 | tr '\n' ';')"
    fi
}

# Prints a failure for each mutant that a model names and no run builds.
forgotten()
{
    for file in "$models"/*.pml; do
        model=$(basename "$file" .pml)
        sed -n '/^mtype = { none,/,/};/p' "$file" | tr -s '{},; ' '\n' | grep _ |
            while read -r name; do
                runs | grep -q " $model .*-DMUTANT=$name\$" ||
                    echo "FAIL  $model: no run builds its mutant $name"
            done
    done
}

if [ "${1:-}" = --one ]; then
    shift
    run_one "$@"
    exit 0
fi

jobs=$(nproc 2>/dev/null || echo 2)
if [ "${1:-}" = -j ]; then
    jobs=$2
    shift 2
fi
for tool in spin "${CC:-cc}"; do
    if ! command -v "$tool" >/dev/null; then
        echo "$0: $tool is not installed: the models are skipped"
        exit 77
    fi
done

results=$(mktemp "${TMPDIR:-/tmp}/tusk-model.XXXXXX")
trap 'rm -f "$results"' EXIT
trap 'exit 1' INT TERM
forgotten | tee "$results"
runs | grep -E -e "${1:-.}" | xargs -r -P "$jobs" -L 1 "$models/run.sh" --one | tee -a "$results"
passed=$(grep -c '^ok' "$results" || true)
failed=$(grep -c -v '^ok' "$results" || true)
total=$(runs | grep -c -E -e "${1:-.}" || true)
if [ $((passed + failed)) -lt "$total" ] || [ "$total" -eq 0 ]; then
    failed=$((total - passed + (total == 0))) # a run ended without a word, or nothing matches
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
