#!/usr/bin/env bash
# Runs the proofs, on SQLite and a throw-away PostgreSQL, and prints their figures ("proof: …").
# Usage: scripts/proof.sh [small|full]
#
# small: minutes, a part of .ci/run. full (the default): hours. Results are kept in docs/proof.md.
# Fails with the first attack that breaks a promise, or that has no result. To add an attack: its line in both sizes.
set -euo pipefail
cd "$(dirname "$0")/.."
size="${1:-full}"
case "$size" in
small) kills=100 races=40 seeds=10000 every=8 outages=2 fills=2 ;;
full) kills=10000 races=100000 seeds=1000000 every=1 outages=200 fills=20 ;;
*)
    echo "usage: $0 [small|full]" >&2
    exit 2
    ;;
esac

# Everything below needs the database; the script runs itself again with one.
if [ -z "${DATABASE_URL:-}" ]; then
    scripts/ensure-build-tools.sh
    exec scripts/with-postgres.sh "$0" "$size"
fi

# The full figures are of what is installed, the small ones of what the tests have built anyway.
if [ "$size" = full ]; then
    cargo build --locked --release --workspace --bins
    built="${CARGO_TARGET_DIR:-target}/release"
else
    cargo build --locked --workspace --bins
    built="${CARGO_TARGET_DIR:-target}/debug"
fi
attack="$built/countersign-proof"

# A second verifier, where tests/interop is installed (make interop).
judge=()
python=target/interop/venv/bin/python
if [ -x "$python" ]; then judge=(--python "$PWD/$python" --verifier "$PWD/tests/interop/audit_verify.py"); fi

"$attack" simulate --seeds "$seeds"
"$attack" http --connections 10 --mutations 40
for database in sqlite postgres; do
    "$attack" kill --database "$database" --kills "$kills" "${judge[@]}"
    "$attack" races --database "$database" --rounds "$races" "${judge[@]}"
done
"$attack" postgres --rounds "$outages" "${judge[@]}"
# Where they cannot be made it is said, and the figures above still count.
if command -v strace >/dev/null; then
    for step in approve enroll revoke; do
        for database in sqlite postgres; do
            "$attack" syscalls --database "$database" --step "$step" --every "$every" "${judge[@]}"
        done
        for fault in eio enospc; do
            "$attack" syscalls --database sqlite --step "$step" --fault "$fault" --every "$every" "${judge[@]}"
        done
    done
else
    echo "proof: syscalls: NOT ATTACKED: strace is not installed"
fi
if [ "$(id -u)" -eq 0 ] && [ "$(uname -s)" = Linux ]; then
    "$attack" disk --mib 64 --rounds "$fills" "${judge[@]}"
else
    echo "proof: disk: NOT ATTACKED: mounting a tmpfs needs root"
fi
if [ "$size" = small ]; then exit 0; fi

# Generated requests and spoilt tokens, which `make interop` does small.
scripts/interop.sh full

# What the tests do small, in full.
cargo test --locked --workspace --no-run --test it
COUNTERSIGN_PROOF=full cargo test --locked --workspace --test it -- \
    proof:: nodes:: audit::tampering barrier:: indistinguishable:: fatigue:: flood:: locks:: --nocapture --test-threads=1
# The same barriers one layer below, where also the leases of pushes can be seen.
COUNTERSIGN_PROOF=full cargo test --locked -p countersign-store --test contract -- \
    has_returned all_were_revoked --test-threads=1
