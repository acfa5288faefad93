#!/usr/bin/env bash
# Lets independent clients send to the stand-ins of the push providers, and decrypt what our server sends.
# Usage: scripts/interop.sh [small|full]
#
# full: what is generated is generated many times, for docs/proof.md; hours.
# Builds both programs, installs the clients (tests/interop/requirements.txt, package-lock.json) below
# target/interop, starts stand-ins on free ports of 127.0.0.1, and runs the scripts of tests/interop. It
# fails at the first check that does not hold. To add a client: its script there, its line at the end.
# Must never leave a program or a temporary folder behind, and never reach a real provider.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts=tests/interop
installed="$PWD/target/interop"
deadline_seconds=30
size="${1:-small}"

scripts/ensure-build-tools.sh
if ! command -v python3 >/dev/null || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    scripts/install-packages.sh apt:python3-venv dnf:python3 apk:python3 pacman:python brew:python
fi
if ! command -v npm >/dev/null; then
    scripts/install-packages.sh apt:nodejs,npm dnf:nodejs,npm apk:nodejs,npm pacman:nodejs,npm brew:node
fi

# Installs anew when a list has changed. What was installed is noted last, so half an installation is none.
mkdir -p "$installed"
if ! cmp -s "$scripts/requirements.txt" "$installed/requirements.noted"; then
    rm -rf "$installed/venv"
    python3 -m venv "$installed/venv"
    "$installed/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        --requirement "$scripts/requirements.txt"
    cp "$scripts/requirements.txt" "$installed/requirements.noted"
fi
if ! cmp -s "$scripts/package-lock.json" "$installed/package-lock.noted"; then
    rm -rf "$installed/node"
    mkdir "$installed/node"
    cp "$scripts/package.json" "$scripts/package-lock.json" "$installed/node/"
    npm ci --prefix "$installed/node" --ignore-scripts --no-audit --no-fund --no-update-notifier --silent
    cp "$scripts/package-lock.json" "$installed/package-lock.noted"
fi
# With the features that the tests are built with: what both link is compiled once.
cargo build --locked --workspace --bins
built="$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)"

folder="$(mktemp -d "${TMPDIR:-/tmp}/countersign-interop.XXXXXX")"
children=()
# shellcheck disable=SC2317 # called by the traps
finish() {
    trap '' INT TERM HUP
    # The last one first: a script ends the server that it has started, while its stand-ins still answer.
    local index
    for ((index = ${#children[@]} - 1; index >= 0; index--)); do
        kill -TERM "${children[index]}" 2>/dev/null || true
        wait "${children[index]}" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Starts a stand-in, and waits until it has said in one line of JSON that it is ready: $folder/NAME.json.
# Each script gets one of its own.
start() {
    local name="$1" waited=0
    shift
    : >"$folder/$name.json"
    "$built/countersign-simulator" "$@" --json >"$folder/$name.json" 2>"$folder/$name.log" </dev/null &
    children+=("$!")
    until grep -q '}$' "$folder/$name.json"; do
        if [ "$waited" -ge $((deadline_seconds * 20)) ] || ! kill -0 "${children[${#children[@]} - 1]}" 2>/dev/null; then
            echo "interop: $name did not start:" >&2
            cat "$folder/$name.log" >&2
            return 1
        fi
        sleep 0.05
        waited=$((waited + 1))
    done
}

# Runs a script as a child, so that a signal to this one ends it, too. Its id is forgotten once it has
# ended: it may be somebody else's by then.
run() {
    local status=0
    "$@" </dev/null &
    children+=("$!")
    wait "$!" || status=$?
    unset "children[${#children[@]}-1]"
    return "$status"
}

topics=(--topic org.example.authenticator --topic org.example.other)
start apns-node apns "${topics[@]}"
start apns-aioapns apns "${topics[@]}"
start apns-server apns
start fcm-google-auth fcm
start fcm-server fcm
start webpush-pywebpush webpush
start webpush-server webpush
start webhook-server webhook
mkdir -m 700 "$folder/server" "$folder/audit" "$folder/webhooks" "$folder/openapi"

python="$installed/venv/bin/python"
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 NODE_PATH="$installed/node/node_modules"
run node "$scripts/apns_node.js" "$folder/apns-node.json"
run "$python" "$scripts/apns_aioapns.py" "$folder/apns-aioapns.json"
run "$python" "$scripts/fcm_google_auth.py" "$folder/fcm-google-auth.json"
run "$python" "$scripts/webpush_pywebpush.py" "$folder/webpush-pywebpush.json"
run "$python" "$scripts/server_http_ece.py" "$built/countersign" "$folder/server" \
    "$folder/apns-server.json" "$folder/fcm-server.json" "$folder/webpush-server.json"
run "$python" "$scripts/audit_python.py" "$built/countersign" "$folder/audit"
run "$python" "$scripts/webhooks_standardwebhooks.py" "$built/countersign" "$folder/webhooks" \
    "$folder/webhook-server.json" "$folder/webhook-messages.json"
run node "$scripts/webhooks_standardwebhooks.js" "$folder/webhook-messages.json"
if [ "$size" = full ]; then examples=200 tokens=100000; else examples=3 tokens=2000; fi
run "$python" "$scripts/openapi_schemathesis.py" "$built/countersign" "$folder/openapi" "$examples"
run "$built/countersign-proof" tokens --count "$tokens" --out "$folder/tokens.jsonl"
run node "$scripts/tokens_node.js" "$folder/tokens.jsonl" "$folder/tokens.node"
run "$python" "$scripts/tokens_python.py" "$folder/tokens.jsonl" "$folder/tokens.node"
if [ "$size" = full ]; then exit 0; fi

# A script that cannot fail proves nothing: with a provider that is down each must fail, and say with what.
notices_an_outage() {
    if run "$@" >"$folder/noticed" 2>&1 || ! grep -q 503 "$folder/noticed"; then
        echo "FAIL interop: an outage goes unnoticed by $2" >&2
        cat "$folder/noticed" >&2
        return 1
    fi
    echo "ok   interop: an outage is noticed by $2"
}
echo '{"*": [{"do": "status", "code": 503}]}' >"$folder/outage"
start apns-outage apns "${topics[@]}" --script "$folder/outage"
start fcm-outage fcm --script "$folder/outage"
start webpush-outage webpush --script "$folder/outage"
notices_an_outage node "$scripts/apns_node.js" "$folder/apns-outage.json"
notices_an_outage "$python" "$scripts/apns_aioapns.py" "$folder/apns-outage.json"
notices_an_outage "$python" "$scripts/fcm_google_auth.py" "$folder/fcm-outage.json"
notices_an_outage "$python" "$scripts/webpush_pywebpush.py" "$folder/webpush-outage.json"
echo "interop: all clients agree"
