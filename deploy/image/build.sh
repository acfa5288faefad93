#!/bin/bash
# The compiling steps of deploy/Dockerfile. Usage: build.sh dependencies|programs, in the root of the sources, with
# cargo's profile in PROFILE.
# Must never be run in a working copy: the first step removes sources.
set -euo pipefail
build() {
    cargo build --locked --profile "${PROFILE:-release}" --package countersign --package countersign-simulator
}

case "${1:-}" in
dependencies)
    if [ -e .git ]; then
        echo "build.sh: this is a working copy; its sources would be lost" >&2
        exit 1
    fi
    # Every package gets an empty library and an empty program: one of the two is what its manifest expects.
    for package in crates/* tests; do
        mkdir -p "$package/src"
        : >"$package/src/lib.rs"
        echo 'fn main() {}' >"$package/src/main.rs"
    done
    build
    find crates tests -name '*.rs' -delete
    ;;
programs)
    # The sources may be older than what the step before has built from the empty ones; cargo goes by their time.
    find crates migrations -type f -exec touch {} +
    build
    ;;
*)
    echo "usage: $0 dependencies|programs" >&2
    exit 2
    ;;
esac
