#!/usr/bin/env bash
# Runs the tests on SQLite and on a throw-away PostgreSQL; the last line is "N passed, N failed".
# Usage: scripts/test.sh [ARGUMENTS OF cargo test]   (none: the whole workspace)
# Must never turn a failure into success: the exit status is the test command's own, and a run
# without tests, or with ignored ones, fails too.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then set -- --workspace; fi

scripts/ensure-build-tools.sh
# Built first, so that the cluster does not stand idle, and a compiler's error shows at once.
cargo test --locked --no-run "$@"

# Most of the time of a test on PostgreSQL goes into making its database, some three hundred files: in memory that takes a
# third. Nothing is proven less by it: every sync is asked for and waited for, what the tests kill are processes, and what
# only a disk shows (power, errors, no room) is shown by scripts/proof.sh, which uses one.
memory=/dev/shm
if [ -z "${COUNTERSIGN_CLUSTER_PARENT:-}" ] && [ -w "$memory" ] &&
    [ "$(df --output=avail --block-size=1M "$memory" 2>/dev/null | tail -n 1)" -ge 4096 ]; then
    export COUNTERSIGN_CLUSTER_PARENT="$memory"
fi

report="$(mktemp "${TMPDIR:-/tmp}/countersign-tests.XXXXXX")"
trap 'rm -f "$report"' EXIT
status=0
scripts/with-postgres.sh cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$report" || status=$?

# Each test binary ends with: test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; …
sum_of() {
    sed -n -E "s/^test result: [a-zA-Z]+\.( .*)? ([0-9]+) $1;.*/\2/p" "$report" | awk '{ sum += $1 } END { print sum + 0 }'
}
passed="$(sum_of passed)"
failed="$(sum_of failed)"
ignored="$(sum_of ignored)"

if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    echo "The test command ended with status $status before it could count: that is one failure." >&2
    failed=1
fi
if [ "$ignored" -ne 0 ]; then
    echo "$ignored ignored tests: a test that nobody runs is removed or repaired." >&2
    status=1
fi
if [ $((passed + failed)) -eq 0 ]; then
    echo "No test was run." >&2
    status=1
fi
echo "$passed passed, $failed failed"
if [ "$failed" -ne 0 ] && [ "$status" -eq 0 ]; then status=1; fi
exit "$status"
