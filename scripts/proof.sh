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
small)
    rules=1 kills=100 races=40 seeds=10000 every=12 outages=1 fills=1
    cuts=(--cuts 3 --images 2 --controls 1 --lives 3 --life-millis 2000 --flows 4) jumps=3600,-3600 drift=5 skewed=5
    ;;
full)
    rules=100 kills=10000 races=100000 seeds=1000000 every=1 outages=200 fills=20
    cuts=(--cuts 500 --images 6 --controls 6 --lives 12) jumps=3600,-3600,31536000,-31536000 drift=60 skewed=1000
    ;;
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

# Whether strace may be put to a process that it has not started: 124 says that it stayed until it was ended.
can_trace() {
    local traced status=0
    command -v strace >/dev/null || return 1
    sleep 5 &
    traced=$!
    timeout 1 strace -qq -o /dev/null -p "$traced" 2>/dev/null || status=$?
    kill "$traced" 2>/dev/null || true
    [ "$status" -eq 124 ]
}

# Whether a file system may be mounted here.
can_mount() {
    local folder status=0
    if [ "$(id -u)" -ne 0 ] || [ "$(uname -s)" != Linux ]; then return 1; fi
    folder="$(mktemp -d "${TMPDIR:-/tmp}/countersign-proof.XXXXXX")"
    mount -t tmpfs -o size=1m proof "$folder" 2>/dev/null && umount "$folder" || status=$?
    rmdir "$folder"
    [ "$status" -eq 0 ]
}

# Whether a server's clock can be moved: by libfaketime, which is installed if that goes without asking.
can_move_time() {
    local found=(/usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib64/faketime/libfaketimeMT.so.1 /usr/lib/faketime/libfaketimeMT.so.1)
    for library in "${found[@]}"; do
        if [ -e "$library" ]; then return 0; fi
    done
    [ "$(uname -s)" = Linux ] && scripts/install-packages.sh apt:faketime dnf:libfaketime apk:libfaketime pacman:libfaketime
}

# What strace has to make happen.
system_calls() {
    local step fault
    if ! can_trace; then
        # It is said, and the other figures still count.
        echo "proof: syscalls: NOT ATTACKED: strace is not installed, or may not trace"
        return
    fi
    for step in approve enroll revoke; do
        "$attack" syscalls --database "$1" --step "$step" --every "$every" "${judge[@]}"
        if [ "$1" = sqlite ]; then
            for fault in eio enospc; do
                "$attack" syscalls --database sqlite --step "$step" --fault "$fault" --every "$every" "${judge[@]}"
            done
        fi
    done
}

on() {
    "$attack" rules --database "$1" --rounds "$rules" "${judge[@]}"
    "$attack" kill --database "$1" --kills "$kills" "${judge[@]}"
    "$attack" races --database "$1" --rounds "$races" "${judge[@]}"
    system_calls "$1"
    if "$moves_time"; then
        "$attack" time --database "$1" --jump-seconds "$jumps" --drift-seconds "$drift" --skewed "$skewed" "${judge[@]}"
    else
        echo "proof: time: NOT ATTACKED: libfaketime is not installed"
    fi
}

# The disk's power, by a record that strace makes.
power_cuts() {
    if can_trace; then
        "$attack" power "${cuts[@]}" "${judge[@]}"
    else
        echo "proof: power: NOT ATTACKED: strace is not installed, or may not trace"
    fi
}

on_sqlite() {
    "$attack" http --connections 10 --mutations 40
    "$attack" forge --rounds "$rules"
    on sqlite
    power_cuts
    if can_mount; then
        "$attack" disk --mib 64 --rounds "$fills" "${judge[@]}"
    else
        echo "proof: disk: NOT ATTACKED: a tmpfs cannot be mounted here"
    fi
}

on_postgres() {
    on postgres
    "$attack" postgres --rounds "$outages" "${judge[@]}"
    # One alone, with its control, takes more than a minute, for two clusters and each standby's copy: not a part of small.
    if [ "$size" = full ]; then "$attack" failover --failovers 50 --controls 5 "${judge[@]}"; fi
    "$attack" simulate --seeds "$seeds"
}

moves_time=false
if can_move_time; then moves_time=true; fi

# Most of the time of an attack is waiting: small ones go side by side. The figures of full ones are each its own.
if [ "$size" = small ]; then
    on_sqlite &
    sqlite=$!
    on_postgres &
    postgres=$!
    status=0
    wait "$sqlite" || status=$?
    wait "$postgres" || status=$?
    exit "$status"
fi
on_sqlite
on_postgres

# Generated requests and spoilt tokens, which `make interop` does small.
scripts/interop.sh full

# What the tests do small, in full.
cargo test --locked --workspace --no-run --test it
COUNTERSIGN_PROOF=full cargo test --locked --workspace --test it -- \
    proof:: nodes:: audit::tampering barrier:: indistinguishable:: fatigue:: flood:: locks:: --nocapture --test-threads=1
# The same barriers one layer below, where also the leases of pushes can be seen.
COUNTERSIGN_PROOF=full cargo test --locked -p countersign-store --test contract -- \
    has_returned all_were_revoked --test-threads=1
