#!/usr/bin/env bash
# Runs what deploy/ and docker-compose.yml say without a container engine, up to the approval by simulated phones.
# Usage: scripts/deploy-check.sh [--build]   (--build: compile by the Dockerfile's own steps; some minutes)
#
# The image's steps lay out its root folder; bubblewrap (Linux namespaces) stands in for the engine: read-only root, no
# capabilities, a user that is not root, the compose file's commands, environment, volumes and health checks, with
# PostgreSQL and HAProxy of this system's packages. What cannot be tried so is printed as "not tried"; docs/deploy.md
# keeps the list. To add a check: tests/deploy.
# Must never leave a program or a temporary folder behind, and never listen or connect beyond 127.0.0.1.
set -euo pipefail
cd "$(dirname "$0")/.."
installed="$PWD/target/deploy-check"
requirements=tests/deploy/requirements.txt

scripts/ensure-build-tools.sh
if [ "$(uname -s)" != Linux ]; then
    echo "deploy-check: needs Linux: containers are made of its namespaces" >&2
    exit 1
fi
if ! command -v python3 >/dev/null || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    scripts/install-packages.sh apt:python3-venv dnf:python3 apk:python3 pacman:python
fi
if ! command -v bwrap >/dev/null; then
    scripts/install-packages.sh apt:bubblewrap dnf:bubblewrap apk:bubblewrap pacman:bubblewrap
fi
if ! command -v haproxy >/dev/null && ! [ -x /usr/sbin/haproxy ]; then
    scripts/install-packages.sh apt:haproxy dnf:haproxy apk:haproxy pacman:haproxy
fi
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    scripts/install-packages.sh apt:postgresql
fi

mkdir -p "$installed"
if ! cmp -s "$requirements" "$installed/requirements.noted"; then
    rm -rf "$installed/venv"
    python3 -m venv "$installed/venv"
    "$installed/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
    cp "$requirements" "$installed/requirements.noted"
fi
# With the features that the tests are built with: what both link is compiled once.
cargo build --locked --workspace --bins

# Below /tmp whatever TMPDIR says: other users' programs must be able to walk there.
folder="$(mktemp -d /tmp/countersign-deploy.XXXXXX)"
check=""
# shellcheck disable=SC2317 # called by the traps
finish() {
    trap '' INT TERM HUP
    if [ -n "$check" ]; then
        # Its containers end with it, whatever ends it.
        kill -TERM "$check" 2>/dev/null || true
        wait "$check" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 "$installed/venv/bin/python" tests/deploy/deploy_check.py \
    "$folder" "${CARGO_TARGET_DIR:-target}/debug" "$@" </dev/null &
check=$!
status=0
wait "$check" || status=$?
check=""
exit "$status"
