#!/usr/bin/env bash
# Measures what docs/performance.md says, on this machine, and writes it there.
# Usage: scripts/bench.sh [PART…]; without a part all of them:
#   start sign-in paced waiters enroll overload cost large push
#
# Builds the release programs and starts them on free ports of 127.0.0.1 and on databases of its own: a fresh SQLite
# file, and a throw-away PostgreSQL (scripts/with-postgres.sh) with the durability that it has by default. It ends with
# an error if anything went wrong in a run: a figure of a broken run is none. Nothing else should be running.
#
# To try it: BENCH_ROUNDS (5), BENCH_SECONDS (8, of each run), BENCH_FLOWS ("64 128 256 512"), BENCH_RATE (300),
# BENCH_WAITERS (10000), BENCH_ENROLLMENTS (4000), BENCH_OVERLOAD_FLOWS (8000), BENCH_LARGE (1000000), BENCH_PUSHES,
# BENCH_DATABASES ("sqlite postgres"), BENCH_BUILT (a folder with programs that are already built), BENCH_PAGE.
#
# To add a part: a function bench_PART in a file of scripts/bench/ that writes $folder/PART.md, its marks in the page,
# its name in `parts`. Must never leave a program or a temporary folder behind, nor put load on anything but loopback.
# shellcheck disable=SC2034 # the parts use what is set here
set -euo pipefail
cd "$(dirname "$0")/.."
parts=(start sign-in paced waiters enroll overload cost large push)
asked=("$@")
if [ ${#asked[@]} -eq 0 ]; then asked=("${parts[@]}"); fi
for part in "${asked[@]}"; do
    if ! printf '%s\n' "${parts[@]}" | grep -qxF -- "$part"; then
        echo "bench: no part $part; there are: ${parts[*]}" >&2
        exit 2
    fi
done
read -r -a databases <<<"${BENCH_DATABASES:-sqlite postgres}"
if [ "${asked[*]}" != push ] && [ -z "${BENCH_INSIDE:-}" ] && [[ " ${databases[*]} " == *" postgres "* ]]; then
    # DATABASE_URL of the caller is not for us: the cluster must be one of our own, with its defaults.
    DATABASE_URL="" BENCH_INSIDE=1 exec scripts/with-postgres.sh "$PWD/scripts/bench.sh" "${asked[@]}"
fi

page="${BENCH_PAGE:-docs/performance.md}"
rounds="${BENCH_ROUNDS:-5}"
seconds="${BENCH_SECONDS:-8}"
log_filter=warn
folder="$(mktemp -d "${TMPDIR:-/tmp}/countersign-bench.XXXXXX")"
for file in common push sign-in held database; do
    # shellcheck source=/dev/null
    source "scripts/bench/$file.sh"
done
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The held reads of both sides are files; the limit of the shell is usually 1,024.
ulimit -n "$(ulimit -Hn)"
scripts/ensure-build-tools.sh
if ! command -v jq >/dev/null; then scripts/install-packages.sh apt:jq dnf:jq apk:jq pacman:jq brew:jq; fi
if [ -n "${BENCH_BUILT:-}" ]; then
    built="$BENCH_BUILT"
else
    cargo build --locked --release --package countersign --package countersign-load --package countersign-simulator
    built="${CARGO_TARGET_DIR:-target}/release"
fi

if [ "${asked[*]}" != push ]; then make_keys; fi
for part in "${asked[@]}"; do
    say "$part"
    busy="$(load_average)"
    began="$(now_millis)"
    "bench_${part//-/_}"
    write_section "$part"
    cat "$folder/$part.md"
    say "$part took $((($(now_millis) - began) / 1000)) s"
done
