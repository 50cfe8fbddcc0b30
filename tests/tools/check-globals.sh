#!/usr/bin/env bash
# Libraries that several users share in one process keep no state of their own outside of what they
# give out: check-globals.sh LIBRARY [NAME...]
#
# Lists the writable data of the shared library but what the compiler and the linker put there and
# what is allowed by NAME, and fails if there is any.
. "$(dirname "$0")/common.sh"

library=${1-}
[[ -n $library ]] || die 64 "usage: check-globals.sh LIBRARY [NAME...]"
shift
allowed=" completed.0 __dso_handle __TMC_END__ __cpu_features2 __cpu_model $* "
found=$(objdump -t "$library" | awk '/ O \.(data|bss|tdata|tbss)[ \t]/ { print $NF }')
bad=0
for name in $found; do
    if [[ $allowed != *" $name "* ]]; then
        say "${library##*/} has a global: $name" >&2
        bad=1
    fi
done
exit "$bad"
