# Complete sign-ins: closed loop beside the floor, and open loop on one node and across two. Sourced by scripts/bench.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # shared with scripts/bench.sh and its other parts

# The generator leaves the second core to the server.
generator_threads=1
paced_rate="${BENCH_RATE:-300}"
flow_tries="${BENCH_FLOWS:-64 128 256 512}"

sign_in() {
    local name="$1"
    shift
    load_server "$name" sign-in --threads "$generator_threads" --seconds "$seconds" "$@"
}

# How many flows suit the server best, of a few tries: sets flows.
search_flows() {
    local kind="$1" try rate best=0
    for try in $flow_tries; do
        sign_in "search-$kind-$try" --flows "$try" --users 1024
        rate="$(jq -r .sign_ins_per_second "$folder/search-$kind-$try.json")"
        say "$kind, $try flows: $rate/s"
        if awk "BEGIN { exit !($rate > $best) }"; then best="$rate" flows="$try"; fi
    done
}

bench_sign_in() {
    local kind round
    for kind in "${databases[@]}"; do
        fresh_server "$kind" "sign_in"
        search_flows "$kind"
        echo "$flows" >"$folder/flows-$kind"
        for ((round = 1; round <= rounds; round++)); do
            sign_in "sign-in-$kind" --flows "$flows" --users 1024
            make_database "$kind" floor
            load "floor-$kind" floor --flows "$flows" --database "$database_url" --seconds "$(((seconds + 1) / 2))"
            drop_database "$kind" floor
            say "$kind, round $round: $(tail -n 1 "$folder/sign-in-$kind.json" | jq .sign_ins_per_second)/s, floor" \
                "$(tail -n 1 "$folder/floor-$kind.json" | jq .floor_per_second)/s"
        done
        end_server "$kind" "sign_in"
        jq -s -c '.[]' "$folder/sign-in-$kind.json" | paste -d ' ' - "$folder/floor-$kind.json" |
            jq -s -c '_nwise(2) | {ratio: (100 * .[0].sign_ins_per_second / .[1].floor_per_second)}' >"$folder/ratio-$kind.json"
    done
    sign_in_section >"$folder/sign-in.md"
}

# The columns of both databases, as far as they were asked for.
columns() {
    local prefix="$1" kind
    names=()
    for kind in "${databases[@]}"; do names+=("$prefix-$kind"); done
}

heading() {
    local first="$1" name kind
    printf '| %s |' "$first"
    for kind in "${databases[@]}"; do
        case "$kind" in sqlite) name="SQLite, synchronous=FULL" ;; *) name="PostgreSQL $(postgres_version)" ;; esac
        printf ' %s |' "$name"
    done
    printf '\n|---|'
    for kind in "${databases[@]}"; do printf -- '---|'; done
    echo
}

postgres_version() {
    ask_postgres "$DATABASE_URL" "SHOW server_version" | cut -d ' ' -f 1
}

# Latencies of a kind in milliseconds, as rows.
latency_rows() {
    local which="$1" text="$2"
    row "$text, ms: p50" ".latency_millis.$which.p50" 1 "${names[@]}"
    row "$text, ms: p99" ".latency_millis.$which.p99" 1 "${names[@]}"
}

sign_in_section() {
    local names
    measured
    echo "$rounds rounds of $seconds s each, after 2 s of warm-up; 1,024 users; generator with $generator_threads thread;" \
        "the floor measured after each round. \`log.filter = \"$log_filter\"\`, else default settings."
    echo
    heading "closed loop"
    columns sign-in
    row "flows, the best of ${flow_tries// /, }" .flows 0 "${names[@]}"
    row "**complete sign-ins per second**" .sign_ins_per_second 0 "${names[@]}"
    latency_rows create "create"
    latency_rows pull "pull"
    latency_rows respond "respond"
    latency_rows response_to_caller "decision to waiting caller, at most"
    latency_rows whole "whole sign-in"
    row "the server's processor time per sign-in, µs" .server.processor_micros_per_sign_in 0 "${names[@]}"
    row "the generator's, µs" .generator.processor_micros_per_sign_in 0 "${names[@]}"
    row "the server's memory at most, MiB" ".server.peak_resident_kib / 1024" 0 "${names[@]}"
    columns floor
    row "the four calls echoed, per second" .echo_per_second 0 "${names[@]}"
    row "the six signatures alone, per second" .signatures_per_second 0 "${names[@]}"
    row "the two commands alone, per second" .batches_per_second 0 "${names[@]}"
    row "floor, per second" .floor_per_second 0 "${names[@]}"
    columns ratio
    row "**of the floor, %**" .ratio 0 "${names[@]}"
}

# Two nodes on one PostgreSQL: callers at the one, devices at the other.
bench_paced() {
    local kind round
    for kind in "${databases[@]}"; do
        fresh_server "$kind" paced
        for ((round = 1; round <= rounds; round++)); do sign_in "paced-$kind" --rate "$paced_rate" --arrivals poisson --seed "$round"; done
        if [ "$kind" = postgres ]; then
            local first="$server" first_url="$url"
            configure other "$database_url" paced
            start_server other
            for ((round = 1; round <= rounds; round++)); do
                load "paced-across" sign-in --url "$first_url" --device-url "$url" --api-key-file "$key_file" --pid "$first" \
                    --threads "$generator_threads" --seconds "$seconds" --rate "$paced_rate" --arrivals poisson --seed "$round"
            done
            stop "$server"
            server="$first"
        fi
        end_server "$kind" paced
    done
    paced_section >"$folder/paced.md"
}

paced_section() {
    local names
    measured
    echo "$rounds rounds of $seconds s each, after 2 s of warm-up: $paced_rate sign-ins per second begin as people do" \
        "(Poisson), at most 64 at once, latencies counted from when they should have begun."
    echo
    columns paced
    names+=(paced-across)
    heading "open loop, $paced_rate/s" | sed -e '1s/$/ PostgreSQL, callers at one node, devices at another |/' -e '2s/$/---|/'
    row "sign-ins per second" .sign_ins_per_second 0 "${names[@]}"
    row "decision to waiting caller, at most, ms: p50" .latency_millis.response_to_caller.p50 2 "${names[@]}"
    row "**decision to waiting caller, at most, ms: p99**" .latency_millis.response_to_caller.p99 2 "${names[@]}"
    row "from the device's reply to the waiting caller, ms: p99" .latency_millis.reply_to_caller.p99 2 "${names[@]}"
    latency_rows create "create"
    latency_rows respond "respond"
    latency_rows whole "whole sign-in"
    row "began more than 5 ms late" .began_late 0 "${names[@]}"
    row "the server's processor time per sign-in, µs" .server.processor_micros_per_sign_in 0 "${names[@]}"
}
