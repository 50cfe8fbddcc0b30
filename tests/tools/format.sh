#!/usr/bin/env bash
# clang-format over the C sources: format.sh rewrites them, format.sh --check only says which differ.
. "$(dirname "$0")/common.sh"

cd "$root"
mapfile -t files < <(source_files '*.c' '*.h')
case ${1-} in
'') clang-format -i "${files[@]}" ;;
--check) clang-format --dry-run --Werror "${files[@]}" ;;
*) die 64 "usage: format.sh [--check]" ;;
esac
