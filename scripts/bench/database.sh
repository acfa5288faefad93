# The start, what a sign-in costs the database, and a large database. Sourced by scripts/bench.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # shared with scripts/bench.sh and its other parts

large="${BENCH_LARGE:-1000000}"

resident_kib() {
    awk '/^VmRSS:/ { print $2 }' "/proc/$1/status" 2>/dev/null || ps -o rss= -p "$1"
}

bench_start() {
    local kind round
    for kind in "${databases[@]}"; do
        fresh_server "$kind" start
        load_server warm sign-in --flows 16 --users 16 --sign-ins 200 --warm-up 0
        stop "$server"
        # More often than others: it takes no time.
        for ((round = 1; round <= rounds * 2; round++)); do
            start_server start
            sleep 1
            echo "{\"ready_millis\":$ready_millis,\"resident_kib\":$(resident_kib "$server")}" >>"$folder/start-$kind.json"
            stop "$server"
        done
        drop_database "$kind" start
    done
    start_section >"$folder/start.md"
}

start_section() {
    local names
    measured
    echo "$((rounds * 2)) starts on a database that exists; idle: a second after it was ready. The binary has" \
        "$(wc -c <"$built/countersign" | awk '{ printf "%.1f MB", $1 / 1e6 }')."
    echo
    heading "start"
    columns start
    row "**from exec to the first 200 of \`/readyz\`, ms**" .ready_millis 0 "${names[@]}"
    row "**idle memory, MiB**" ".resident_kib / 1024" 1 "${names[@]}"
}

# What the database has done so far, as one JSON object.
spent() {
    local kind="$1" name="$2"
    if [ "$kind" = postgres ]; then
        # A session that has nothing more to do tells what it has counted after 10 s.
        sleep 11
        ask_postgres "$database_url" "SELECT json_build_object('transactions', xact_commit, 'inserted', tup_inserted,
            'updated', tup_updated, 'wal_bytes', pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'),
            'size_bytes', pg_database_size(datname), 'written_bytes', 0) FROM pg_stat_database WHERE datname = current_database()"
    else
        jq -n -c --argjson size "$(stat -c %s "$folder/$name/countersign.db" 2>/dev/null || stat -f %z "$folder/$name/countersign.db")" \
            --argjson written "$(awk '/^write_bytes:/ { print $2 }' "/proc/$server/io" 2>/dev/null || echo 0)" \
            '{size_bytes: $size, written_bytes: $written}'
    fi
}

# Statements of one run, counted in PostgreSQL's own log; the run itself is not timed.
count_statements() {
    local from to
    ask_postgres "$database_url" "ALTER SYSTEM SET log_statement = 'all'" >/dev/null
    ask_postgres "$database_url" "SELECT pg_reload_conf()" >/dev/null
    sleep 1
    from="$(log_bytes)"
    load_server statements sign-in --rate 300 --users 64 --sign-ins "$1" --warm-up 0
    to="$(log_bytes)"
    ask_postgres "$database_url" "ALTER SYSTEM RESET log_statement" >/dev/null
    ask_postgres "$database_url" "SELECT pg_reload_conf()" >/dev/null
    ask_postgres "$database_url" "SELECT count(*) FROM regexp_matches(pg_read_file('server.log', $from, $((to - from))), 'LOG:  (execute|statement)', 'g')"
}

log_bytes() {
    ask_postgres "$database_url" "SELECT size FROM pg_stat_file('server.log')"
}

# cost_of KIND NAME ARGUMENT…: runs, and adds to NAME.json per sign-in what was spent since `spent_before`. The few
# users that the generator enrolls before are counted with it.
cost_of() {
    local kind="$1" name="$2" after
    shift 2
    load_server "$name-run" sign-in --threads 1 --warm-up 0 "$@"
    after="$(spent "$kind" cost)"
    jq -n -c --argjson before "$spent_before" --argjson after "$after" --argjson run "$(tail -n 1 "$folder/$name-run.json")" \
        '$after | with_entries(.value = (.value - $before[.key]) / $run.sign_ins)' >>"$folder/$name.json"
    spent_before="$after"
}

bench_cost() {
    local kind round few=16 spent_before sign_ins=$((seconds * 500))
    for kind in "${databases[@]}"; do
        fresh_server "$kind" cost
        spent_before="$(spent "$kind" cost)"
        for ((round = 1; round <= rounds; round++)); do
            cost_of "$kind" "cost-paced-$kind" --flows "$few" --users "$few" --rate "$paced_rate" --sign-ins "$sign_ins"
            cost_of "$kind" "cost-full-$kind" --flows 128 --users 128 --sign-ins "$sign_ins"
        done
        if [ "$kind" = postgres ]; then statements="$(count_statements 1000)"; fi
        end_server "$kind" cost
    done
    cost_section >"$folder/cost.md"
}

cost_section() {
    local names=()
    measured
    echo "$rounds rounds of $((seconds * 500)) sign-ins. What the database did per sign-in, the server's background work included: at $paced_rate/s (open loop), where few share a commit, and as fast as" \
        "128 flows go, where many do. PostgreSQL: \`pg_stat_database\`, \`pg_current_wal_lsn()\`; SQLite: the file, and what the kernel counted as written by the process (\`/proc/PID/io\`)."
    echo
    echo "| per sign-in | at $paced_rate/s | 128 flows |"
    echo "|---|---|---|"
    if [[ " ${databases[*]} " == *" postgres "* ]]; then
        names=(cost-paced-postgres cost-full-postgres)
        row "PostgreSQL: transactions" .transactions 2 "${names[@]}"
        row "rows inserted" .inserted 1 "${names[@]}"
        row "rows updated" .updated 1 "${names[@]}"
        row "WAL, bytes" .wal_bytes 0 "${names[@]}"
        row "tables and indexes grow by, bytes" .size_bytes 0 "${names[@]}"
        echo "| statements, also of transactions (\`log_statement = all\`, 1,000 sign-ins and 64 enrollments) | $(awk "BEGIN { printf \"%.1f\", $statements / 1000 }") | – |"
    fi
    if [[ " ${databases[*]} " == *" sqlite "* ]]; then
        names=(cost-paced-sqlite cost-full-sqlite)
        row "SQLite: written, bytes" .written_bytes 0 "${names[@]}"
        row "the file grows by, bytes" .size_bytes 0 "${names[@]}"
    fi
}

# Puts a past into the database behind the server's back: users with a device each, and as many sign-ins.
fill() {
    local kind="$1" name="$2" high
    # Between 4.6 and 9.3 hours ago: the upper half of the milliseconds, one less.
    high="$(printf '%06x' $((($(now_millis) >> 24) - 1)))"
    if [ "$kind" = sqlite ]; then
        sed -e "s/:count/$large/g" -e "s/:high/$high/g" scripts/bench/fill.sqlite.sql |
            sqlite3 -bail "$folder/$name/countersign.db" >/dev/null
    else
        psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --set count="$large" --set high="$high" --file scripts/bench/fill.postgres.sql "$database_url" >/dev/null
    fi
}

# Two servers, one on an empty and one on a large database; the runs take turns.
bench_large() {
    local kind round empty empty_url large_server large_url
    if ! command -v sqlite3 >/dev/null; then
        scripts/install-packages.sh apt:sqlite3 dnf:sqlite apk:sqlite pacman:sqlite brew:sqlite
    fi
    for kind in "${databases[@]}"; do
        make_database "$kind" large
        configure large "$database_url"
        make_client large
        say "$kind: filling"
        fill "$kind" large
        start_server large
        large_server="$server" large_url="$url"
        fresh_server "$kind" empty
        empty="$server" empty_url="$url"
        for ((round = 1; round <= rounds; round++)); do
            server="$empty" url="$empty_url" key_file="$folder/empty.key"
            load_server "empty-$kind" sign-in --threads 1 --rate "$paced_rate" --seconds "$seconds" --seed "$round" --arrivals poisson
            server="$large_server" url="$large_url" key_file="$folder/large.key"
            load_server "large-$kind" sign-in --threads 1 --rate "$paced_rate" --seconds "$seconds" --seed "$round" --arrivals poisson
        done
        if [ "$kind" = sqlite ]; then
            wc -c <"$folder/large/countersign.db" >"$folder/size-$kind"
        else
            ask_postgres "${DATABASE_URL%/*}/bench_large" "SELECT pg_database_size(current_database())" >"$folder/size-$kind"
        fi
        stop "$empty"
        stop "$large_server"
        drop_database "$kind" empty
        drop_database "$kind" large
    done
    large_section >"$folder/large.md"
}

large_section() {
    local kind
    measured
    echo "$rounds rounds of $seconds s at $paced_rate sign-ins per second on two servers in turns, one on an empty database, one on a database with" \
        "$large users with a device and an ended sign-in each (challenge, delivery, two events, enrollment), written there by SQL" \
        "(\`scripts/bench/fill.*.sql\`)."
    echo
    echo "| latency, ms | empty: p50 | large: p50 | ratio of the medians | empty: p99 | large: p99 |"
    echo "|---|---|---|---|---|---|"
    for kind in "${databases[@]}"; do
        large_row "$kind" whole "whole sign-in, $kind, $(awk '{ printf "%.1f GB", $1 / 1e9 }' "$folder/size-$kind")"
        large_row "$kind" create "create, $kind"
        large_row "$kind" pull "pull, $kind"
        large_row "$kind" respond "respond, $kind"
    done
}

large_row() {
    local kind="$1" which="$2" text="$3" empty_median large_median
    empty_median="$(jq -r ".latency_millis.$which.p50" "$folder/empty-$kind.json" | median)"
    large_median="$(jq -r ".latency_millis.$which.p50" "$folder/large-$kind.json" | median)"
    echo "| $text | $(figure "empty-$kind" ".latency_millis.$which.p50" 2) | $(figure "large-$kind" ".latency_millis.$which.p50" 2) |" \
        "$(ratio "$large_median" "$empty_median") | $(figure "empty-$kind" ".latency_millis.$which.p99" 1) |" \
        "$(figure "large-$kind" ".latency_millis.$which.p99" 1) |"
}
