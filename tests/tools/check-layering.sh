#!/usr/bin/env bash
# Who may include whom:
#
#   include/tusk <- shm <- broker    <- broker/inspect
#                       <- clientlib <- clientlib/cli, clientlib/demo (public header only)
#   tests include anything, bench the public header only
#
# Quoted includes name the file from the root. <atomic_ops.h> has one includer, shm/atom.h.
. "$(dirname "$0")/common.sh"

cd "$root"
source_files '*.c' '*.h' | xargs -r awk '
function allowed(file, header) {
    if (file ~ /^tests\//)
        return 1
    if (header ~ /^tusk\//)
        return 1
    if (file ~ /^include\//)
        return 0
    if (file ~ /^bench\//)
        return header ~ /^bench\//
    if (file ~ /^clientlib\/(cli|demo)\//) {
        split(file, part, "/")
        return index(header, part[1] "/" part[2] "/") == 1
    }
    if (header ~ /^shm\//)
        return 1
    if (file ~ /^clientlib\//)
        return header ~ /^clientlib\/[^\/]*$/
    if (file ~ /^broker\/inspect\//)
        return header ~ /^broker\//
    if (file ~ /^broker\//)
        return header ~ /^broker\// && header !~ /^broker\/inspect\//
    return 0
}
/^[ \t]*#[ \t]*include[ \t]/ {
    quoted = match($0, /"[^"]*"/)
    if (!quoted && !match($0, /<[^>]*>/))
        next
    header = substr($0, RSTART + 1, RLENGTH - 2)
    if (header == "atomic_ops.h" && FILENAME != "shm/atom.h") {
        printf "%s:%d: only shm/atom.h includes <atomic_ops.h>\n", FILENAME, FNR
        bad = 1
    } else if ((quoted || header ~ /^tusk\//) && !allowed(FILENAME, header)) {
        printf "%s:%d: must not include %s\n", FILENAME, FNR, header
        bad = 1
    } else if (quoted && system("test -f \"" header "\"") != 0) {
        printf "%s:%d: includes \"%s\", which is not a path from the root\n", FILENAME, FNR, header
        bad = 1
    }
}
END { exit bad }
'
