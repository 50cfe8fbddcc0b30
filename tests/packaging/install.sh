#!/usr/bin/env bash
# Proves that what is installed can be used, by installing into a directory of its own and building
# somebody else's program against it: install.sh BUILD_DIR WORK_DIR CC CMAKE VERSION
#
# - the shared library exports, and the static one defines, what the header declares, no more;
# - libtusk needs nothing but libc at run time and has a versioned soname;
# - pkg-config and the CMake package both find it, and the program runs;
# - the example of the README is a program that does what the README says.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=$1 work=$2 cc=$3 cmake=$4 version=$5
prefix=$work/prefix

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

# Functions that a public header declares, one per line.
declared() {
    sed -e 's://.*::' "$1" | tr '\n' ' ' | sed -e 's:/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/: :g' |
        grep -oE '[^;{}]*;' | grep -v 'static inline' |
        grep -oE '\<tusk_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u
}

same() {
    diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") >&2 ||
        fail "$1 does not define exactly what its header declares (< header, > library)"
}

# symbols NAME HEADER
symbols() {
    local names
    names=$(declared "$prefix/include/tusk/$2")
    [[ -n $names ]] || fail "found no functions in $2"
    same "lib$1.so" "$names" "$(nm -D --defined-only "$lib/lib$1.so" | awk '{print $3}' | sort -u)"
    same "lib$1.a" "$names" \
        "$(nm -g --defined-only "$lib/lib$1.a" | awk 'NF == 3 {print $3}' | sort -u)"
}

# compile SOURCE PROGRAM PACKAGE..., with what pkg-config says; it quotes for the shell.
compile() {
    local source=$1 program=$2 flags=()
    shift 2
    eval "flags=($(pkg-config --cflags --libs "$@"))"
    "$cc" -std=c11 -Wall -Werror "$source" "${flags[@]}" -o "$program"
}

rm -rf "$work"
mkdir -p "$work/project"
"$cmake" --install "$build" --prefix "$prefix" >"$work/install.log"
lib=$(dirname "$(find "$prefix" -name libtusk.so)")

symbols tusk tusk.h
needed=$(readelf -d "$lib/libtusk.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
[[ $needed == libc.so.6 ]] || fail "libtusk.so needs '$needed', expected libc.so.6 alone"
readelf -d "$lib/libtusk.so" | grep -q "(SONAME).*\[libtusk.so.${version%%.*}\]" ||
    fail "libtusk.so has no soname libtusk.so.${version%%.*}"
symbols tuskbroker broker.h

export PKG_CONFIG_PATH=$lib/pkgconfig
cp "$here/program.c" "$here/embedded.c" "$work/project"
sed "s/@PROJECT_VERSION@/$version/" "$here/CMakeLists.txt.in" >"$work/project/CMakeLists.txt"
[[ $(pkg-config --modversion tusk) == "$version" ]] || fail "pkg-config gives another version"
compile "$here/program.c" "$work/by-pkg-config" tusk
compile "$here/embedded.c" "$work/embedded-by-pkg-config" tuskbroker tusk
"$cmake" -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$cc" >"$work/configure.log"
"$cmake" --build "$work/project/build" >"$work/build.log"
for program in by-pkg-config project/build/shared project/build/static; do
    output=$(LD_LIBRARY_PATH=$lib "$work/$program")
    [[ $output == "$version" ]] || fail "$program prints '$output', expected $version"
done
tmpfs_dir=$(mktemp -d /dev/shm/tusk-test.XXXXXX)
trap 'rm -rf "$tmpfs_dir"' EXIT
for program in embedded-by-pkg-config project/build/embedded project/build/embedded_static; do
    rm -rf "$work/store"
    mkdir "$work/store"
    output=$(LD_LIBRARY_PATH=$lib "$work/$program" "$work/store" "$tmpfs_dir")
    [[ $output == "0 0" ]] || fail "$program prints '$output', expected '0 0'"
done

sed -n '/^```c$/,/^```$/p' "$here/../../README.md" | sed '1d;$d' >"$work/example.c"
compile "$work/example.c" "$work/example" tusk
output=$(LD_LIBRARY_PATH=$lib "$prefix/bin/tusk" run -- "$work/example")
[[ $output == "0: hello" ]] || fail "the README's example prints '$output', expected '0: hello'"

"$prefix/bin/tusk" --version | grep -qF "$version" || fail "the installed tusk doesn't run"
"$prefix/bin/tuskd" --version | grep -qF "$version" || fail "the installed tuskd doesn't run"
"$prefix/bin/tusk-inspect" --version | grep -qF "$version" ||
    fail "the installed tusk-inspect doesn't run"
