#!/usr/bin/env bash
# cppcheck and clang-tidy over the C sources, with the compile commands of the release build.
. "$(dirname "$0")/common.sh"

cd "$root"
database=build/release
[[ -f $database/compile_commands.json ]] || cmake --preset release >/dev/null

mapfile -t files < <(source_files '*.c' | grep -v '^tests/')
status=0
cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --language=c -j "$jobs" \
    --enable=warning,performance,portability --suppressions-list=tests/tools/cppcheck.suppress \
    -I . -I include -D_GNU_SOURCE= -DTUSK_VERSION='"0"' \
    "${files[@]}" || status=1

for file in "${files[@]}"; do
    grep -qF "/$file\"" "$database/compile_commands.json" && printf '%s\0' "$file"
done | xargs -0 -r -n 4 -P "$jobs" clang-tidy --quiet -p "$database" 2>/dev/null || status=1
exit "$status"
