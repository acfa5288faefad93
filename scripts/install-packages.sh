#!/usr/bin/env bash
# Installs system packages with whatever package manager this machine has.
# Usage: scripts/install-packages.sh apt:NAME[,NAME] dnf:NAME apk:NAME pacman:NAME brew:NAME
# Must never prompt without a terminal: it works as root or through sudo, or says what is missing.
# To support one more package manager, add one line to the table at the end.
set -euo pipefail

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        echo "countersign: not root and no sudo; please run this yourself: $*" >&2
        return 1
    elif [ -t 2 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# Prints the names given for one package manager, one per line.
names_for() {
    local manager="$1" argument
    shift
    for argument in "$@"; do
        case "$argument" in
        "$manager":*) tr ',' '\n' <<<"${argument#*:}" ;;
        esac
    done
}

install_with() {
    local manager="$1"
    shift
    # Word splitting is wanted: package names hold no spaces.
    # shellcheck disable=SC2046
    set -- $(names_for "$manager" "$@")
    echo "countersign: installing $* with $manager" >&2
    case "$manager" in
    # Another apt may hold the lock for a while; waiting for it is bounded.
    apt)
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq install --yes --no-install-recommends "$@"
        ;;
    dnf) as_root dnf install --assumeyes --quiet "$@" ;;
    apk) as_root apk add --no-cache --quiet "$@" ;;
    pacman) as_root pacman --sync --refresh --needed --noconfirm "$@" ;;
    brew) brew install --quiet "$@" ;;
    esac
}

# Progress goes to stderr, so that the output of the calling script stays its own.
exec 1>&2 </dev/null
for candidate in apt:apt-get dnf:dnf apk:apk pacman:pacman brew:brew; do
    if command -v "${candidate#*:}" >/dev/null; then
        install_with "${candidate%%:*}" "$@"
        exit
    fi
done
echo "countersign: no known package manager; please install one of: $*" >&2
exit 1
