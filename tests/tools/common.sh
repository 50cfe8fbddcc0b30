# shellcheck shell=bash
# What the scripts of this directory share. Sourced, not run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
jobs=$(nproc)
export root jobs

say() {
    printf '%s\n' "$*"
}

# die STATUS MESSAGE...: one line on stderr, then exit. Statuses are those of sysexits.h.
die() {
    local status=$1
    shift
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$status"
}

# source_files PATTERN...: paths below the root of the project's own files, one per line.
source_files() {
    local pattern names=()
    for pattern in "$@"; do
        names+=(-o -name "$pattern")
    done
    (cd "$root" && find include shm broker clientlib tests bench -type f \
        \( "${names[@]:1}" \) -print | LC_ALL=C sort)
}
