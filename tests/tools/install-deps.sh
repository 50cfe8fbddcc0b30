#!/usr/bin/env bash
# Installs the Debian packages that a step needs: install-deps.sh build|test|show|peers|profile
#
# peers: the libraries and servers that bench/peers/*.c name behind "Packages:", those of the names in
# PEERS only if that is set. Services that come with them are neither started nor enabled.
# Says what it installs before it does. With everything there it asks neither apt nor the network.
# When it can't install (no rights, no network, not Debian) it lists what is missing and exits 69.
. "$(dirname "$0")/common.sh"

build_packages=(cmake ninja-build gcc libc6-dev pkgconf libatomic-ops-dev liburing-dev libisal-dev)
show_packages=(python3-matplotlib)
profile_packages=(valgrind linux-perf python3)
test_packages=(g++ libcriterion-dev clang-format clang-tidy cppcheck spin strace "${show_packages[@]}")

lock_wait_s=600

# peer_packages: what the peers in PEERS, or all of them, name.
peer_packages() {
    local name names=() files=()
    IFS=', ' read -r -a names <<<"${PEERS-}"
    for name in "${names[@]}"; do
        [[ -f $root/bench/peers/$name.c ]] && files+=("$root/bench/peers/$name.c")
    done
    ((${#files[@]})) || files=("$root"/bench/peers/*.c)
    sed -n 's/^ \* Packages: *//p' "${files[@]}" | tr ' ' '\n' | grep -vx none | sort -u
}

step=${1-}
case $step in
build) wanted=("${build_packages[@]}") ;;
test) wanted=("${build_packages[@]}" "${test_packages[@]}") ;;
show) wanted=("${build_packages[@]}" "${show_packages[@]}") ;;
profile) wanted=("${build_packages[@]}" "${profile_packages[@]}") ;;
peers)
    mapfile -t wanted < <(peer_packages)
    wanted=("${build_packages[@]}" "${wanted[@]}")
    ;;
*) die 64 "usage: install-deps.sh build|test|show|peers|profile" ;;
esac

package_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing_collect() {
    local package
    missing=()
    for package in "${wanted[@]}"; do
        package_installed "$package" || missing+=("$package")
    done
}

give_up() {
    printf '%s\n' "$1" "Missing Debian packages:" "${missing[@]/#/    }" \
        "As root: apt-get install ${missing[*]}" >&2
    exit 69
}

# apt_run ARGUMENTS...: waits while another process holds one of apt's locks. apt itself waits
# for dpkg's lock only, not for the one of its package lists.
apt_run() {
    local output status deadline=$((SECONDS + lock_wait_s))
    while :; do
        status=0
        output=$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y \
            -o DPkg::Lock::Timeout="$lock_wait_s" -o APT::Update::Error-Mode=any \
            -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@" 2>&1) || status=$?
        if ((status != 0)) && [[ $output == *"Could not get lock"* ]] &&
            ((SECONDS < deadline)); then
            sleep 2
            continue
        fi
        break
    done
    if ((status != 0)); then
        grep -E '^(E|W|Err)' <<<"$output" | head -5 >&2 || true
    fi
    return "$status"
}

if ! command -v dpkg-query >/dev/null; then
    missing=("${wanted[@]}")
    give_up "This is not a Debian system; packages can't be looked up or installed here."
fi
missing_collect
((${#missing[@]})) || exit 0

if ((EUID == 0)); then
    as_root=()
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
    as_root=(sudo)
else
    give_up "Packages are missing, and there is neither root nor sudo to install them."
fi

# services_forbid: until the end of this script maintainer scripts start no service.
policy=/usr/sbin/policy-rc.d
services_forbid() {
    [[ ! -e $policy ]] || return 0
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
}

# services_disable PACKAGE...: nor does the next boot.
services_disable() {
    local unit
    [[ -d /run/systemd/system ]] || return 0
    while read -r unit; do
        "${as_root[@]}" systemctl disable --quiet "${unit##*/}" 2>/dev/null || true
    done < <(dpkg-query -L "$@" 2>/dev/null | grep -E '/systemd/system/[^@/]+\.service$')
}

say "Installing Debian packages: ${missing[*]}"
installing=("${missing[@]}")
[[ $step != peers ]] || services_forbid
if ! apt_run install --no-install-recommends "${missing[@]}"; then
    say "Trying again with fresh package lists."
    apt_run update || say "The package lists could not be refreshed."
    apt_run install --no-install-recommends "${missing[@]}" || true
fi
[[ $step != peers ]] || services_disable "${installing[@]}"
missing_collect
((${#missing[@]})) && give_up "Not everything could be installed (no network, no rights?)."
exit 0
