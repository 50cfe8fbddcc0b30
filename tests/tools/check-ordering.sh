#!/usr/bin/env bash
# Every ordering between two sides has a tag, such as [R1]. This checks, in shm, broker and
# clientlib, that
#
#   - a tag is declared once, in the contract comment of a module ("*   [R1] from() -> to(): what");
#   - what is cited is declared, and what is declared is cited in code, outside contract comments;
#   - no tag has only one side: "[R1] release" needs an "[R1] acquire" and the other way round
#     (a tag that is cited as neither stands for a fence);
#   - a release store or an acquire load names its tag, on its line or at most two lines away.
. "$(dirname "$0")/common.sh"

cd "$root"
source_files '*.c' '*.h' | grep -E '^(shm|broker|clientlib)/' | xargs -r awk '
function complain(where, text) {
    print where ": " text
    bad = 1
}
function tags_of(line, number, in_contract,    tag, word) {
    while (match(line, /\[[A-Z]+[0-9]+\]( (release|acquire))?/)) {
        tag = substr(line, RSTART + 1, RLENGTH - 1)
        line = substr(line, RSTART + RLENGTH)
        word = tag
        sub(/\].*/, "", tag)
        sub(/^[^ ]* ?/, "", word)
        if (!(tag in cited))
            cited[tag] = file ":" number
        if (!in_contract) {
            sited[tag] = 1
            tagged[number] = 1
            if (word != "" && !((tag, word) in side))
                side[tag, word] = file ":" number
        }
    }
}
function file_check(    i, contract, tag) {
    contract = 0
    split("", tagged)
    for (i = 1; i <= lines; i++) {
        if (line[i] ~ /^\/\*/)
            contract = 1
        if (contract && line[i] ~ /^ \* +\[[A-Z]+[0-9]+\] /) {
            match(line[i], /\[[A-Z]+[0-9]+\]/)
            tag = substr(line[i], RSTART + 1, RLENGTH - 2)
            if (tag in declared)
                complain(file ":" i, "[" tag "] is declared at " declared[tag] " already")
            else
                declared[tag] = file ":" i
        } else {
            tags_of(line[i], i, contract && line[i] !~ /^\/\*.*\*\/$/)
        }
        if (line[i] ~ /\*\//)
            contract = 0
    }
    if (file == "shm/atom.h")
        return
    for (i = 1; i <= lines; i++) {
        if (line[i] ~ /atom_[a-z0-9_]*(load_acquire|store_release)\(/ && !(i in tagged) &&
            !((i - 1) in tagged) && !((i - 2) in tagged) && !((i + 1) in tagged) &&
            !((i + 2) in tagged))
            complain(file ":" i, "a release or an acquire without a tag")
    }
}
FNR == 1 {
    if (lines)
        file_check()
    lines = 0
    file = FILENAME
}
{ line[++lines] = $0 }
END {
    if (lines)
        file_check()
    delete declared["R1"] # the example of shm/atom.h
    for (tag in cited)
        if (!(tag in declared) && tag != "R1")
            complain(cited[tag], "[" tag "] is cited and nowhere declared")
    for (tag in declared) {
        if (!(tag in sited))
            complain(declared[tag], "[" tag "] is declared and nowhere cited")
        if (((tag, "release") in side) && !((tag, "acquire") in side))
            complain(side[tag, "release"], "[" tag "] has a release and no acquire")
        if (((tag, "acquire") in side) && !((tag, "release") in side))
            complain(side[tag, "acquire"], "[" tag "] has an acquire and no release")
    }
    exit bad
}
' | LC_ALL=C sort
