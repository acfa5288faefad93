#!/usr/bin/env bash
# Breaks the server on purpose, patch by patch, and demands that the harness finds it (docs/proof.md, "Sabotage").
# Usage: scripts/proof-sabotage.sh [NAME...]       (crates/proof/sabotage/NAME.patch; all if none is named)
#
# Each patch names above its diff what is broken, which promise that breaks, and by which command it is caught. Each
# command first has to pass with the server as it is: else a catch would mean nothing. The patches are built one at a time,
# in a copy of HEAD with a build folder of its own; the harness is always that of HEAD, unpatched. A catch is the violation
# that the patch says is told ("Told: ", a part of its text): not another one, an error, a crash, or a server that does not
# even start. Takes an hour or two.
# To add a patch: a file there; nothing here.
set -euo pipefail
cd "$(dirname "$0")/.."
patches="$PWD/crates/proof/sabotage"

# Some attacks need a PostgreSQL; the script runs itself again with one.
if [ -z "${DATABASE_URL:-}" ]; then
    scripts/ensure-build-tools.sh
    exec scripts/with-postgres.sh "$0" "$@"
fi

names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
    for patch in "$patches"/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi
for name in "${names[@]}"; do
    if ! grep -q '^Caught by: ' "$patches/$name.patch" || ! grep -q '^Told: ' "$patches/$name.patch"; then
        echo "sabotage: $name: there is no such patch, or it does not say by what it is caught, and what is told" >&2
        exit 2
    fi
done

# A copy of what is committed. Files keep their time where they stay the same, so that a second run builds little.
folder="${CARGO_TARGET_DIR:-$PWD/target}/sabotage"
tree="$folder/tree"
mkdir -p "$folder"
if [ -d "$tree" ]; then
    git -C "$tree" checkout --quiet --force --detach "$(git rev-parse HEAD)"
    git -C "$tree" clean --quiet --force -d
else
    git worktree prune
    git worktree add --quiet --detach "$tree" HEAD
fi
export CARGO_TARGET_DIR="$folder/target"
said="$folder/said.txt"

# The commands of a patch, one a line.
commands() { sed -n 's/^Caught by: //p' "$patches/$1.patch"; }

build() { (cd "$tree" && cargo build --locked --quiet "$@"); }

# What a violation must say to be that of the patch.
told() { sed -n 's/^Told: //p' "$patches/$1.patch"; }

# Runs one command against a server; its verdict: held, caught (something like $3 was told), or nothing.
verdict() {
    local server="$1" command="$2" told="${3:-}" status=0 arguments
    read -r -a arguments <<<"$command"
    case "${arguments[0]}" in
    countersign-proof)
        "$folder/countersign-proof" "${arguments[@]:1}" --server "$server" >"$said" 2>&1 || status=$?
        # 2 says that it could not judge.
        if [ "$status" -eq 0 ]; then
            echo held
        elif [ "$status" -eq 1 ] && grep ': VIOLATION ' "$said" | grep -F -- "$told" >/dev/null; then
            echo caught
        else
            echo nothing
        fi
        ;;
    cargo)
        (cd "$tree" && "${arguments[@]}") >"$said" 2>&1 || status=$?
        if [ "$status" -eq 0 ] && grep -q '^test result: ok. [1-9]' "$said"; then
            echo held
        elif [ "$status" -eq 101 ] && grep '^test .* FAILED$' "$said" | grep -F -- "$told" >/dev/null; then
            echo caught
        else
            echo nothing
        fi
        ;;
    *) echo nothing ;;
    esac
}

# What was found like that first, in a line.
finding() { grep -E ': VIOLATION |^test .* FAILED$' "$said" | grep -m 1 -F -- "$1" | sed 's/.*: VIOLATION //' | cut -c 1-240; }

fail() {
    echo "sabotage: $1" >&2
    tail -n 20 "$said" >&2
    exit 1
}

echo "sabotage: the server as it is"
build -p countersign -p countersign-proof
cp "$CARGO_TARGET_DIR/debug/countersign" "$folder/unbroken"
cp "$CARGO_TARGET_DIR/debug/countersign-proof" "$folder/countersign-proof"

# Once for each command, before it is believed to catch anything.
declare -A passes
must_pass() {
    if [ -n "${passes[$1]:-}" ]; then return; fi
    if [ "$(verdict "$folder/unbroken" "$1")" != held ]; then fail "the server as it is does not pass: $1"; fi
    passes[$1]=yes
    echo "sabotage: the server as it is passes $1"
}

missed=()
restore() { git -C "$tree" checkout --quiet --force -- .; }
trap restore EXIT
for name in "${names[@]}"; do
    mapfile -t attacks < <(commands "$name")
    for command in "${attacks[@]}"; do must_pass "$command"; done
    git -C "$tree" apply "$patches/$name.patch"
    # Both are named, so that what they share is built as before.
    build -p countersign -p countersign-proof --bin countersign || fail "$name: does not build"
    caught=""
    for command in "${attacks[@]}"; do
        began="$SECONDS"
        if [ "$(verdict "$CARGO_TARGET_DIR/debug/countersign" "$command" "$(told "$name")")" = caught ]; then
            caught=yes
            echo "sabotage: $name: caught by $command in $((SECONDS - began)) s: $(finding "$(told "$name")")"
        else
            echo "sabotage: $name: NOT CAUGHT by $command:" >&2
            tail -n 5 "$said" >&2
            caught=""
            break
        fi
    done
    if [ -z "$caught" ]; then missed+=("$name"); fi
    restore
done

echo "sabotage: $((${#names[@]} - ${#missed[@]})) of ${#names[@]} caught"
[ "${#missed[@]}" -eq 0 ]
