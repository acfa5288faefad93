#!/usr/bin/env bash
# Changes what .cargo/mutants.toml names, one thing at a time, and demands that a test notices (docs/proof.md, "Mutants").
# Usage: scripts/mutants.sh [ARGUMENTS OF cargo mutants]   (none: all of it; --re FILE: one file, since -f only adds
# to what the settings name; --in-diff FILE: a change)
# Must never touch the tree: each mutant lives in a copy.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo_mutants_version=27.1.0

scripts/ensure-build-tools.sh
if ! cargo mutants --version >/dev/null 2>&1; then
    cargo install cargo-mutants --locked --version "$cargo_mutants_version"
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/mutants"
mkdir -p "$CARGO_TARGET_DIR"
CARGO_TARGET_DIR="$(realpath "$CARGO_TARGET_DIR")"
# A mutant is built again and again: nobody debugs it, and only what changed is compiled.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=1
# Ends with 2 where a mutant survives, with 3 where one makes its tests hang.
cargo mutants -j1 --output "$CARGO_TARGET_DIR" "$@"
