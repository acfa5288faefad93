#!/usr/bin/env bash
# Runs the proofs in full, on SQLite and a throw-away PostgreSQL, and prints their figures ("proof: …").
# The same tests run small in `make test`. Results are kept in docs/proof.md.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/ensure-build-tools.sh
cargo test --locked --workspace --no-run --test it
COUNTERSIGN_PROOF=full scripts/with-postgres.sh \
    cargo test --locked --workspace --test it -- proof:: nodes:: audit::tampering barrier:: indistinguishable:: --nocapture --test-threads=1
# The same barriers one layer below, where also the leases of pushes can be seen.
COUNTERSIGN_PROOF=full scripts/with-postgres.sh \
    cargo test --locked -p countersign-store --test contract -- has_returned all_were_revoked --test-threads=1
