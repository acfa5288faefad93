#!/usr/bin/env bash
# Everything that can be judged without running the program: format, lints, documents, dependencies.
# To add a check, add one line; a check must give the same answer offline and in ten years.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo_deny_version=0.20.2

scripts/ensure-build-tools.sh
if ! cargo deny --version >/dev/null 2>&1; then
    cargo install cargo-deny --locked --version "$cargo_deny_version"
fi
set -x

cargo fmt --all --check
# A workspace of its own.
cargo fmt --manifest-path fuzz/Cargo.toml --check

# Licences, sources, and the arrows between our crates (deny.toml; for core's own tree crates/core/deny.toml).
# Advisories are left out: their database is fetched from the network and changes daily, so the same
# commit would pass today and fail tomorrow. Ask for them when you choose a version: cargo deny check advisories
cargo deny --locked --workspace check bans licenses sources
cargo deny --locked --manifest-path crates/core/Cargo.toml check bans

cargo clippy --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# The patches that break the server on purpose still fit it (scripts/proof-sabotage.sh builds them).
for patch in crates/proof/sabotage/*.patch; do
    git apply --check "$patch"
done

# The scripts themselves, where the tool is at hand.
if command -v shellcheck >/dev/null; then
    shellcheck scripts/*.sh scripts/bench/*.sh deploy/image/*.sh .ci/run
fi
