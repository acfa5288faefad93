# Pushes over one HTTP/2 connection: ours and h2load's in turns. Sourced by scripts/bench.sh.
# Must never put load on anything but the stand-in that it starts.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # shared with scripts/bench.sh and its other parts

pushes="${BENCH_PUSHES:-100000}"
# As many as the dispatcher takes from the database at once.
in_flight=256
stand_in=""

# Starts the stand-in of APNs, and waits until it has said in one line of JSON that it is ready.
start_apns() {
    local waited=0
    : >"$folder/apns.json"
    # It only counts what comes: remembering is not what is measured. Its checks stay on.
    "$built/countersign-simulator" apns --history 0 --json >"$folder/apns.json" 2>"$folder/apns.log" </dev/null &
    stand_in=$!
    children+=("$stand_in")
    until grep -q '}$' "$folder/apns.json"; do
        if [ "$waited" -ge $((deadline_seconds * 20)) ] || ! kill -0 "$stand_in" 2>/dev/null; then
            echo "bench: the stand-in did not start:" >&2
            cat "$folder/apns.log" >&2
            return 1
        fi
        sleep 0.05
        waited=$((waited + 1))
    done
}

# Runs a command; adds what it printed to FILE.out, and to FILE.cpu the microseconds of the processor that it and
# the stand-in took per push. The latter are 0 where there is no /proc.
measure() {
    local file="$folder/$1" before after spent
    shift
    before="$(stand_in_ticks)"
    TIMEFORMAT='%U %S'
    { time "$@" >>"$file.out" 2>"$file.err" </dev/null; } 2>"$file.time" || {
        cat "$file.out" "$file.err" >&2
        return 1
    }
    after="$(stand_in_ticks)"
    spent=$((after - before))
    awk -v spent="$spent" -v hertz="$(getconf CLK_TCK)" -v pushes="$pushes" \
        '{ print ($1 + $2) * 1e6 / pushes, spent / hertz * 1e6 / pushes }' "$file.time" >>"$file.cpu"
}

stand_in_ticks() {
    if [ -r "/proc/$stand_in/stat" ]; then
        awk '{ print $14 + $15 }' "/proc/$stand_in/stat"
    else
        echo 0
    fi
}

# One run of h2load with so many requests and so many of them at once; its requests per second.
h2load_run() {
    local name="$1" requests="$2" at_once="$3" said
    measure "$name" h2load --clients=1 --requests="$requests" --max-concurrent-streams="$at_once" \
        --data="$folder/body" "${headers[@]}" "$url"
    said="$(tail -n 20 "$folder/$name.out")"
    if ! grep -q "^status codes: $requests 2xx, " <<<"$said"; then
        echo "bench: h2load was refused: $said" >&2
        return 1
    fi
    sed -n -E 's/^finished in .*, ([0-9.]+) req\/s,.*/\1/p' <<<"$said"
}

# The number of MEMBER in our JSON output.
member() {
    sed -n -E "s/.*\"$1\":([0-9.]+).*/\1/p" "$folder/ours.out"
}

bench_push() {
    local at_once best=0 best_at=0 figure round busy
    busy="$(load_average)"
    if ! command -v h2load >/dev/null; then
        scripts/install-packages.sh apt:nghttp2-client dnf:nghttp2 apk:nghttp2 pacman:nghttp2 brew:nghttp2
    fi
    start_apns
    "$built/countersign-load" request --stand-in "$folder/apns.json" --body "$folder/body" >"$folder/request"
    headers=()
    {
        read -r url
        while IFS= read -r line; do headers+=("--header=$line"); done
    } <"$folder/request"

    # How many at once suits h2load best, for a comparison on its own terms.
    for at_once in 10 32 100 256 1000; do
        figure="$(h2load_run search "$pushes" "$at_once")"
        echo "bench: h2load, $at_once at once: $figure/s" >&2
        if awk "BEGIN { exit !($figure > $best) }"; then best="$figure" best_at="$at_once"; fi
    done

    for ((round = 1; round <= rounds; round++)); do
        measure ours "$built/countersign-load" push --stand-in "$folder/apns.json" --json \
            --pushes "$pushes" --in-flight "$in_flight"
        member accepted_per_second | tail -n 1 >>"$folder/ours.figures"
        h2load_run same "$pushes" "$in_flight" >>"$folder/same.figures"
        h2load_run best "$pushes" "$best_at" >>"$folder/best.figures"
        echo "bench: round $round: ours $(tail -n 1 "$folder/ours.figures")/s, h2load $(tail -n 1 "$folder/same.figures")/s," \
            "with $best_at at once $(tail -n 1 "$folder/best.figures")/s" >&2
    done
    if [ "$(member connections | sort -u)" != 1 ]; then
        echo "bench: a run took more than one connection" >&2
        return 1
    fi
    push_section "$best_at" "$busy" >"$folder/push.md"
    stop "$stand_in"
}

# The figures of one row: pushes per second, and the processor's time at both ends.
push_row() {
    local name="$1" text="$2" latency="$3"
    echo "| $text | $(spread 0 <"$folder/$name.figures") | $latency |" \
        "$(cut -d ' ' -f 1 "$folder/$name.cpu" | spread 1) | $(cut -d ' ' -f 2 "$folder/$name.cpu" | spread 1) |"
}

push_section() {
    local best_at="$1" busy="$2" ours same best
    ours="$(median <"$folder/ours.figures")"
    same="$(median <"$folder/same.figures")"
    best="$(median <"$folder/best.figures")"
    cat <<END
Measured on $(date -u +%Y-%m-%d): $(machine); commit $(commit); $(rustc --version | cut -d ' ' -f 1,2); $(h2load --version); load average before it began: $busy. $rounds rounds of $pushes pushes each.

| one connection | pushes per second | latency, ms | processor time per push here, µs | at the stand-in, µs |
|---|---|---|---|---|
$(push_row ours "our sender, $in_flight in flight" "p50 $(member p50 | spread 1), p99 $(member p99 | spread 1)")
$(push_row same "h2load, $in_flight in flight" "–")
$(push_row best "h2load, $best_at in flight, its best of one try each" "–")

Our sender does $(ratio "$ours" "$same") of what h2load does with as many in flight, and $(ratio "$ours" "$best") of its best try. The aims are 5,000 pushes per second and half of h2load.
END
}
