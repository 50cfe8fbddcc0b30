#!/usr/bin/env bash
# make demo: installs what is missing, builds, and runs the demo against a broker of its own, with
# the text files of this repository and those that every Debian system has.
. "$(dirname "$0")/common.sh"

"$root/tests/tools/install-deps.sh" build
"$root/tests/tools/build.sh" --without-tests release tuskd tusk_demo

mapfile -t files < <(cd "$root" && printf '%s\n' README.md LICENSE && source_files '*.c' '*.h')
cd "$root"
unset "${!TUSK_@}" # what the caller's own broker is set to must not reach this one
exec build/release/bin/tusk-demo --tuskd build/release/bin/tuskd --data-in build \
    "${files[@]}" /usr/share/common-licenses
