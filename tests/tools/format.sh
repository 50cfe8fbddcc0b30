#!/usr/bin/env bash
# clang-format over the C sources: format.sh rewrites them, format.sh --check names those that differ.
. "$(dirname "$0")/common.sh"

cd "$root"
mapfile -t files < <(source_files '*.c' '*.h')
case ${1-} in
'') clang-format -i "${files[@]}" ;;
--check)
    status=0
    for file in "${files[@]}"; do
        if ! clang-format --dry-run --Werror "$file" 2>/dev/null; then
            say "$file is not formatted: run make format"
            status=1
        fi
    done
    exit "$status"
    ;;
*) die 64 "usage: format.sh [--check]" ;;
esac
