#!/usr/bin/env bash
# make soak-NAME: builds and runs one soak, a test at full size: soak.sh NAME
#
# Sizes come from the environment, see the program's head comment; what it leaves on disk while it
# runs lies in TMPDIR (/var/tmp).
. "$(dirname "$0")/common.sh"

name=${1-}
build=$root/build/release
"$root/tests/tools/install-deps.sh" test
"$root/tests/tools/build.sh" release
program=$build/bin/soak-$name
if [[ ! -x $program ]]; then
    known=("$build"/bin/soak-*)
    die 64 "there is no soak '$name', but: ${known[*]##*/soak-}"
fi
TMPDIR=${TMPDIR:-/var/tmp} TUSKD=$build/bin/tuskd TUSK_CLI=$build/bin/tusk \
    TUSK_SOURCE_DIR=$root exec "$program"
