#!/usr/bin/env bash
# make demo: installs what is missing, builds, and runs the demo against a broker of its own.
. "$(dirname "$0")/common.sh"

"$root/tests/tools/install-deps.sh" build
"$root/tests/tools/build.sh" release tuskd tusk_demo
exec "$root/build/release/bin/tusk-demo" --tuskd "$root/build/release/bin/tuskd" "$@"
