#!/usr/bin/env bash
# Fuzzes each target from its corpus (docs/proof.md, "Fuzzing"), and says where an input is that breaks its property.
# Usage: scripts/fuzz.sh [SECONDS FOR EACH TARGET, 60 if none] [TARGET...]
# Must never change a corpus: what is new stays in fuzz/found, and is brought in by hand (the last lines say how).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo_fuzz_version=0.13.2

seconds="${1:-60}"
if [ $# -gt 0 ]; then shift; fi
if [ $# -eq 0 ]; then
    for program in fuzz/fuzz_targets/*.rs; do set -- "$@" "$(basename "$program" .rs)"; done
fi

scripts/ensure-build-tools.sh
# Only the fuzzer needs this compiler: it counts the branches that an input takes.
if ! cargo +nightly --version >/dev/null 2>&1; then
    rustup toolchain install nightly --profile minimal
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install cargo-fuzz --locked --version "$cargo_fuzz_version"
fi

# No unsafe code of ours is built, so no sanitizer has anything to find: the properties are what is asserted. And the
# code is the one that runs elsewhere, so nothing may ask whether it is fuzzed.
options=(--sanitizer none --no-cfg-fuzzing)
broken=()
for target in "$@"; do
    features=()
    case "$target" in
    provider | webhook_url) features=(--features push) ;;
    bodies | config) features=(--features server) ;;
    esac
    mkdir -p "fuzz/found/$target"
    echo "== $target, $seconds s"
    cargo +nightly fuzz run "${options[@]}" ${features[@]+"${features[@]}"} "$target" \
        "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -dict="fuzz/dictionaries/$target.dict" || broken+=("$target")
done
if [ ${#broken[@]} -ne 0 ]; then
    for target in "${broken[@]}"; do
        echo "fuzz: $target is broken by the newest of: fuzz/artifacts/$target/" >&2
        echo "fuzz: mend it, and copy the input to fuzz/corpus/$target/ with a name that says what it is" >&2
    done
    exit 1
fi
echo "fuzz: $# targets, nothing found"
