#!/usr/bin/env bash
# Runs a command with DATABASE_URL naming a throw-away PostgreSQL cluster.
# Usage: scripts/with-postgres.sh COMMAND [ARGUMENT...]
#
# If DATABASE_URL already names a PostgreSQL, that one is used and nothing is started. Otherwise the
# cluster lives in a temporary folder (inside COUNTERSIGN_CLUSTER_PARENT, if that is set), runs as an
# unprivileged user, listens on 127.0.0.1 only, on a port of its own, with a generated password. The role
# may create databases: each test makes its own.
#
# Must never leave a server or a folder behind, whatever ends this script (kill -9 included), and
# must never weaken durability (no fsync=off): the tests are about what survives.
set -euo pipefail
scripts="$(cd "$(dirname "$0")" && pwd)"

if [ $# -eq 0 ]; then
    echo "usage: $0 COMMAND [ARGUMENT...]" >&2
    exit 2
fi
case "${DATABASE_URL:-}" in
postgres://* | postgresql://*) exec "$@" ;;
esac

# Prints the folder that holds initdb, pg_ctl and postgres; distributions keep them off the PATH.
server_folder() {
    local folder
    for folder in \
        "$(pg_config --bindir 2>/dev/null || true)" \
        /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql*/ \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
        "$(dirname "$(command -v initdb 2>/dev/null || true)")"; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ] && [ -x "$folder/postgres" ]; then
            echo "$folder"
            return
        fi
    done
    return 1
}

if ! server_folder >/dev/null; then
    "$scripts/install-packages.sh" apt:postgresql dnf:postgresql-server apk:postgresql pacman:postgresql brew:postgresql@17
fi
if ! bin="$(server_folder)"; then
    echo "countersign: PostgreSQL's server programs were not found" >&2
    exit 1
fi

# PostgreSQL refuses to run as root.
server_user=""
if [ "$(id -u)" -eq 0 ]; then
    if id postgres >/dev/null 2>&1; then server_user=postgres; else server_user=nobody; fi
fi
# Descriptor 9 keeps this script's cleaner waiting (below); no server may inherit it. It is closed for
# the started program alone: a redirection of the whole function would hold a copy while traps run.
as_server_user() {
    if [ -z "$server_user" ]; then
        "$@" 9>&-
    elif command -v runuser >/dev/null; then
        runuser -u "$server_user" -- "$@" 9>&-
    else
        su -s /bin/sh "$server_user" -c "$(printf '%q ' "$@")" 9>&-
    fi
}

# As root a private TMPDIR would be closed to the server's user.
parent="${TMPDIR:-/tmp}"
if [ -n "$server_user" ]; then parent=/tmp; fi
parent="${COUNTERSIGN_CLUSTER_PARENT:-$parent}"
cluster="$(mktemp -d "$parent/countersign-postgres.XXXXXX")"

# Stops the server and removes the folder. Safe to call when either is already gone.
remove_cluster() {
    local server
    if [ -s "$cluster/data/postmaster.pid" ]; then
        server="$(head -n 1 "$cluster/data/postmaster.pid")"
        # "immediate" aborts all sessions: nobody will need this data again.
        as_server_user "$bin/pg_ctl" --pgdata="$cluster/data" --mode=immediate --timeout=20 --silent stop ||
            kill -KILL "$server" || true
    fi
    rm -rf "$cluster"
}

# One place cleans up for every way this script can end: the keeper waits until the last writer of
# the pipe is gone. This script is the only writer, so even kill -9 wakes the keeper; itself it
# ignores the signals that a terminal sends to everybody.
mkfifo "$cluster/alive"
(
    trap '' INT TERM HUP
    cat >/dev/null || true
    remove_cluster
) <"$cluster/alive" &
keeper=$!
exec 9>"$cluster/alive"
# shellcheck disable=SC2317 # called by the trap
finish() {
    exec 9>&-
    wait "$keeper" || true
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

password="$(LC_ALL=C od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
(umask 077 && echo "$password" >"$cluster/password")
if [ -n "$server_user" ]; then chown -R "$server_user" "$cluster"; fi
cd "$cluster"
# --no-sync concerns only the files of the empty cluster, not how it later commits.
if ! as_server_user "$bin/initdb" --pgdata="$cluster/data" --username=countersign --pwfile="$cluster/password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync >"$cluster/initdb.log" 2>&1; then
    cat "$cluster/initdb.log" >&2
    exit 1
fi

# The server itself finds out whether a port is free: it binds or fails, so two runs at once cannot
# both believe that they own one. The range lies below those that systems lend to outgoing connections.
start_server() {
    local attempt
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        port=$((15000 + RANDOM % 15000))
        if as_server_user "$bin/pg_ctl" --pgdata="$cluster/data" --log="$cluster/data/server.log" \
            --wait --timeout=60 --silent \
            --options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' -c max_connections=300" \
            start >/dev/null 2>&1; then
            return
        fi
        if ! grep -q 'could not bind' "$cluster/data/server.log"; then break; fi
    done
    echo "countersign: PostgreSQL did not start (attempt $attempt); its log says:" >&2
    cat "$cluster/data/server.log" >&2
    return 1
}
start_server
cd "$OLDPWD"

# The command gets a process group of its own, so that a signal to this script can end all of it,
# grandchildren too, instead of waiting until it has finished by itself.
set -m
DATABASE_URL="postgres://countersign:$password@127.0.0.1:$port/postgres" "$@" </dev/null 9>&- &
command=$!
set +m
# shellcheck disable=SC2317 # called by the traps
end_command() {
    trap '' INT TERM HUP
    kill -TERM -- "-$command" 2>/dev/null || true
    wait "$command" 2>/dev/null || true
    exit "$1"
}
trap 'end_command 130' INT
trap 'end_command 143' TERM HUP
status=0
wait "$command" || status=$?
exit "$status"
