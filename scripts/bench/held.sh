# Held reads, enrollments, overload. Sourced by scripts/bench.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with scripts/bench.sh and its other parts

waiters="${BENCH_WAITERS:-10000}"

# A server of its own each round: what memory it keeps is part of the figure of the next.
bench_waiters() {
    local round
    for ((round = 1; round <= rounds; round++)); do
        fresh_server sqlite waiters
        load_server waiters waiters --waiters "$waiters"
        end_server sqlite waiters
        say "round $round: $(tail -n 1 "$folder/waiters.json" | jq -c '[.devices, .callers | .resident_kib, .wake_millis.from_reply.p99]')"
    done
    waiters_section >"$folder/waiters.md"
}

waiters_section() {
    measured
    echo "$rounds rounds on SQLite, a server of its own each. First $waiters devices begin to wait, 1,000 a second, each with a connection, and are" \
        "woken by $waiters challenges created one after another in 64 flows; then $waiters callers wait for those, and are woken" \
        "by as many approvals. Later than 5 s would count as lost and end the run."
    echo
    echo "| $waiters held reads | devices | callers |"
    echo "|---|---|---|"
    both "the server's memory while it holds them, MiB" ".resident_kib / 1024" 0
    both "its memory before, MiB" "idle" 0
    both "woken after the cause was answered, ms: p50" .wake_millis.from_reply.p50 1
    both "**woken after the cause was answered, ms: p99**" .wake_millis.from_reply.p99 1
    both "woken after the cause was answered, ms: longest" .wake_millis.from_reply.max 1
    both "woken after the cause was asked for, ms: p99" .wake_millis.from_request.p99 1
    both "lost" .lost 0
}

both() {
    local text="$1" filter="$2" digits="$3"
    if [ "$filter" = idle ]; then
        echo "| $text | $(figure waiters ".idle_resident_kib / 1024" "$digits") | – |"
    else
        echo "| $text | $(figure waiters ".devices$([[ $filter == .* ]] && echo "|$filter")" "$digits") | $(figure waiters ".callers|$filter" "$digits") |"
    fi
}

bench_enroll() {
    local kind round
    for kind in "${databases[@]}"; do
        fresh_server "$kind" enroll
        for ((round = 1; round <= rounds; round++)); do
            load_server "enroll-$kind" enroll --enrollments "${BENCH_ENROLLMENTS:-4000}" --threads 1
            load_server "enroll-code-$kind" enroll --enrollments "${BENCH_ENROLLMENTS:-4000}" --threads 1 --confirmation code
        done
        end_server "$kind" enroll
    done
    enroll_section >"$folder/enroll.md"
}

enroll_section() {
    local names
    measured
    echo "$rounds rounds of ${BENCH_ENROLLMENTS:-4000} enrollments each, 64 at once, each of a new user with a new key; the device's key is made by the" \
        "generator on the same cores."
    echo
    heading "enrollment storm"
    columns enroll
    row "**enrollments per second**, two calls" .enrollments_per_second 0 "${names[@]}"
    latency_rows whole "both calls"
    columns enroll-code
    row "enrollments per second, with a code that is typed back, three calls" .enrollments_per_second 0 "${names[@]}"
    latency_rows whole "all three"
}

bench_overload() {
    local kind round
    for kind in "${databases[@]}"; do
        for ((round = 1; round <= rounds; round++)); do
            fresh_server "$kind" overload
            load_server "overload-$kind" overload --flows "${BENCH_OVERLOAD_FLOWS:-8000}" --seconds "$seconds"
            end_server "$kind" overload
        done
    done
    overload_section >"$folder/overload.md"
}

overload_section() {
    local names
    measured
    echo "$rounds rounds of $seconds s on a server of its own each: ${BENCH_OVERLOAD_FLOWS:-8000} sign-ins at once from as many" \
        "connections; who gets a 503 asks again after 250 ms. Any answer but the expected one and a 503 with \`Retry-After\` ends the run."
    echo
    heading "overload"
    columns overload
    row "503 with \`Retry-After\`, times" .shed 0 "${names[@]}"
    row "**until a 503, s: p99**" ".shed_millis.p99 / 1000" 2 "${names[@]}"
    row "until a 503, s: longest" ".shed_millis.max / 1000" 2 "${names[@]}"
    row "signed in meanwhile, per second" ".signed_in / .seconds" 0 "${names[@]}"
    row "**normal again after, s**" ".normal_again_millis / 1000" 2 "${names[@]}"
    row "the server's memory at most, MiB" ".peak_resident_kib / 1024" 0 "${names[@]}"
}
