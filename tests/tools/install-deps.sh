#!/usr/bin/env bash
# Installs the Debian packages that a step needs: install-deps.sh build|test|show
#
# Says what it installs before it does. With everything there it asks neither apt nor the network.
# When it can't install (no rights, no network, not Debian) it lists what is missing and exits 69.
. "$(dirname "$0")/common.sh"

build_packages=(cmake ninja-build gcc libc6-dev pkgconf libatomic-ops-dev liburing-dev libisal-dev)
test_packages=(g++ libcriterion-dev clang-format clang-tidy cppcheck spin strace)

lock_wait_s=600

case ${1-} in
build) wanted=("${build_packages[@]}") ;;
test) wanted=("${build_packages[@]}" "${test_packages[@]}") ;;
show) wanted=("${build_packages[@]}" gnuplot-nox) ;;
*) die 64 "usage: install-deps.sh build|test|show" ;;
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

say "Installing Debian packages: ${missing[*]}"
if ! apt_run install --no-install-recommends "${missing[@]}"; then
    say "Trying again with fresh package lists."
    apt_run update || say "The package lists could not be refreshed."
    apt_run install --no-install-recommends "${missing[@]}" || true
fi
missing_collect
((${#missing[@]})) && give_up "Not everything could be installed (no network, no rights?)."
exit 0
