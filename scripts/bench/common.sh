# What the parts of scripts/bench.sh share: servers of their own, runs of the generator, medians, tables.
# Sourced by scripts/bench.sh. Must never touch a server, a database or a process that it did not start itself.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # shared with scripts/bench.sh and its other parts

deadline_seconds=30
children=()

# Ends a child and waits until it has gone.
stop() {
    local child="$1"
    kill -TERM "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
}

# shellcheck disable=SC2317 # called by the traps
finish() {
    local child
    trap '' INT TERM HUP
    for child in "${children[@]}"; do stop "$child"; done
    rm -rf "$folder"
}

now_millis() {
    local now="$EPOCHREALTIME"
    echo $((${now/[.,]/} / 1000))
}

# Reads numbers, one a line; prints "MEDIAN (SMALLEST–LARGEST)" with that many digits behind the point.
spread() {
    sort -n | awk -v digits="$1" '{ n[NR] = $1 } END {
        if (NR == 0) { print "–"; exit }
        median = NR % 2 ? n[(NR + 1) / 2] : (n[NR / 2] + n[NR / 2 + 1]) / 2
        printf "%.*f (%.*f–%.*f)\n", digits, median, digits, n[1], digits, n[NR] }'
}

median() {
    spread 3 | cut -d ' ' -f 1
}

ratio() {
    awk "BEGIN { printf \"%.0f %%\", 100 * $1 / $2 }"
}

machine() {
    local model=""
    if [ -r /proc/cpuinfo ]; then
        model="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
    elif command -v sysctl >/dev/null; then
        model="$(sysctl -n machdep.cpu.brand_string)"
    fi
    echo "$(getconf _NPROCESSORS_ONLN) cores, ${model:-processor unknown}, $(uname -sm)"
}

# What else the machine was doing, where it tells: a figure of a busy machine is too low.
load_average() {
    if [ -r /proc/loadavg ]; then cut -d ' ' -f 1 /proc/loadavg; else echo unknown; fi
}

commit() {
    local id
    id="$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)"
    if git diff --quiet HEAD -- crates migrations Cargo.toml Cargo.lock 2>/dev/null; then echo "$id"; else echo "$id, with changes"; fi
}

# The first line of every section. `busy`: the load average when the part began.
measured() {
    echo "Measured on $(date -u +%Y-%m-%d): $(machine); commit $(commit); $(rustc --version | cut -d ' ' -f 1,2)${1:+; $1};" \
        "load average before it began: $busy."
}

# Replaces what stands between two marks of the page.
write_section() {
    local name="$1" file="$folder/$1.md"
    if ! grep -qxF "<!-- bench $name begin -->" "$page"; then
        echo "bench: $page has no marks for $name" >&2
        return 1
    fi
    awk -v begin="<!-- bench $name begin -->" -v end="<!-- bench $name end -->" -v file="$file" '
        $0 == begin { print; print ""; while ((getline line < file) > 0) print line; print ""; skips = 1; next }
        $0 == end { skips = 0 }
        !skips { print }' "$page" >"$folder/page"
    cat "$folder/page" >"$page"
}

# An empty database of a kind under a name; sets database_url. SQLite: a file; PostgreSQL: of the cluster that
# scripts/with-postgres.sh started, with that cluster's default durability.
make_database() {
    local kind="$1" name="$2"
    case "$kind" in
    sqlite)
        mkdir -p "$folder/$name"
        database_url="sqlite://$folder/$name/countersign.db"
        ;;
    postgres)
        psql --quiet --no-psqlrc "$DATABASE_URL" --command "DROP DATABASE IF EXISTS bench_$name" \
            --command "CREATE DATABASE bench_$name" 2>>"$folder/psql.log"
        database_url="${DATABASE_URL%/*}/bench_$name"
        ;;
    esac
}

# Asks a database of PostgreSQL.
ask_postgres() {
    psql --quiet --no-psqlrc --tuples-only --no-align --set ON_ERROR_STOP=1 "$1" --command "$2"
}

drop_database() {
    local kind="$1" name="$2"
    case "$kind" in
    sqlite) rm -rf "${folder:?}/$name" ;;
    postgres) psql --quiet --no-psqlrc "$DATABASE_URL" --command "DROP DATABASE bench_$name" ;;
    esac
}

# Makes NAME.toml for a server, and once NAME.keys and NAME.key (an API key). A second node of a server is another name
# with the same third argument.
configure() {
    local name="$1" url="$2" of="${3:-$1}"
    port=$((20000 + RANDOM % 10000))
    if [ "$of" = "$name" ]; then echo "$port" >"$folder/$name.issuer"; fi
    cat >"$folder/$name.toml" <<END
[server]
listen = "127.0.0.1:$port"
public_url = "http://127.0.0.1:$(cat "$folder/$of.issuer")"
drain_seconds = 0
shutdown_seconds = 5
[metrics]
listen = ""
[log]
filter = "$log_filter"
[database]
url = "$url"
[signing]
key_file = "$folder/keys.json"
END
    chmod 600 "$folder/$name.toml"
    echo "$port" >"$folder/$name.port"
}

# The keys are made by a start on SQLite: on PostgreSQL the server makes none.
make_keys() {
    make_database sqlite keys
    configure keys "$database_url"
    start_server keys
    stop "$server"
}

# Makes the API client of a server, and its schema.
make_client() {
    local name="$1"
    "$built/countersign" --config "$folder/$name.toml" --json api-client create --name load \
        --scopes enrollments,challenges 2>>"$folder/$name.log" | jq -er .api_key >"$folder/$name.key"
}

is_ready() {
    local answer=""
    # In a subshell: its descriptor closes with it, and a refused connection is only a status.
    answer="$( (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /readyz HTTP/1.0\r\nhost: a\r\n\r\n' >&3 && head -n 1 <&3) 2>/dev/null || true)"
    [[ "$answer" == *" 200 "* ]]
}

# Starts the server of a name; sets server (its process), url and ready_millis.
start_server() {
    local name="$1" began
    port="$(cat "$folder/$name.port")"
    url="http://127.0.0.1:$port"
    began="$(now_millis)"
    "$built/countersign" --config "$folder/$name.toml" serve >>"$folder/$name.log" 2>&1 </dev/null &
    server=$!
    children+=("$server")
    until is_ready "$port"; do
        if ! kill -0 "$server" 2>/dev/null || [ $(($(now_millis) - began)) -gt $((deadline_seconds * 1000)) ]; then
            echo "bench: the server did not start:" >&2
            tail -n 5 "$folder/$name.log" >&2
            return 1
        fi
    done
    ready_millis=$(($(now_millis) - began))
}

# A server on an empty database, with an API client: sets server, url, key_file, database_url.
fresh_server() {
    local kind="$1" name="$2"
    make_database "$kind" "$name"
    configure "$name" "$database_url"
    make_client "$name"
    key_file="$folder/$name.key"
    start_server "$name"
}

end_server() {
    local kind="$1" name="$2"
    stop "$server"
    drop_database "$kind" "$name"
}

# Runs the generator and adds its JSON to NAME.json. What it says on failure is shown, and ends the bench.
load() {
    local name="$1"
    shift
    if ! "$built/countersign-load" --json "$@" >>"$folder/$name.json" 2>"$folder/load.err" </dev/null; then
        echo "bench: countersign-load $1 failed: $(cat "$folder/load.err")" >&2
        return 1
    fi
}

# The same, against the server that runs.
load_server() {
    local name="$1" command="$2"
    shift 2
    load "$name" "$command" --url "$url" --api-key-file "$key_file" --pid "$server" "$@"
}

# figure NAME FILTER DIGITS: the median and spread of a figure of all runs of a name; – if there are none.
figure() {
    if [ -s "$folder/$1.json" ]; then jq -r "$2" "$folder/$1.json" | spread "$3"; else echo "–"; fi
}

# row TEXT FILTER DIGITS NAME…: a line of a table, one column a name.
row() {
    local text="$1" filter="$2" digits="$3" name
    shift 3
    printf '| %s |' "$text"
    for name in "$@"; do printf ' %s |' "$(figure "$name" "$filter" "$digits")"; done
    echo
}

say() {
    echo "bench: $*" >&2
}
