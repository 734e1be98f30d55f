#!/usr/bin/env bash
# Fuzzes one target coverage-guided, or all in turn. Needs a C++ compiler for libFuzzer. Installs the pinned
# cargo-fuzz under target/ if it is missing. What is found stays in target/fuzz/NAME/; a failure is reported
# with its input there.
#
#   TARGET=decode RUNS=2000000 SECONDS_MOST=0 tests/fuzz/run.sh
#
# Prints a line per target: runs, coverage, inputs, processor seconds.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.13.2
folder=${CARGO_TARGET_DIR:-target}
runs=${RUNS:-100000}
longest=${SECONDS_MOST:-0}

fuzz=$(command -v cargo-fuzz || true)
if [ -z "$fuzz" ]; then
    fuzz=$folder/tools/bin/cargo-fuzz
    if [ ! -x "$fuzz" ]; then
        echo "installing cargo-fuzz $version under $folder/tools"
        cargo install cargo-fuzz --version "$version" --locked --quiet --root "$folder/tools"
    fi
fi

# The address sanitizer needs a nightly compiler, and without unsafe code there is little for it to find. Tracing
# compares takes two thirds of the time, and what it finds are magics, which the dictionary has.
"$fuzz" fuzz build -s none --no-trace-compares --fuzz-dir tests/fuzz --target-dir "$folder/fuzz"
programs=$(echo "$folder"/fuzz/*/release)

targets=${TARGET:-$(ls tests/fuzz/corpus)}
failed=0
for target in $targets; do
    seeds=("tests/fuzz/corpus/$target")
    [ "$target" != decode ] || seeds+=(src/observe/decode/fixtures)
    found=$folder/fuzz/found/$target
    mkdir -p "$found/inputs"
    log=$found/log
    # A record of the longest Kinesis shard is far longer, but what a longer input reaches, a short one does. A
    # target with a program of its own takes short texts.
    program=$programs/$target longest_input=256
    [ -x "$program" ] || program=$programs/any longest_input=8192
    code=0
    TIMEFORMAT='%U'
    took=$({ time TARGET=$target "$program" "$found/inputs" "${seeds[@]}" -runs="$runs" -max_total_time="$longest" \
        -max_len="$longest_input" -len_control=20 -timeout=30 -rss_limit_mb=1024 -print_final_stats=1 \
        -dict=tests/fuzz/dictionary -artifact_prefix="$found/" >"$log" 2>&1 || code=$?; } 2>&1; echo " $code")
    code=${took##* }
    last=$(grep -E ' cov: [0-9]+' "$log" | tail -n 1)
    done_runs=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
    printf '%-20s %10s runs  cov %s  ft %s  corpus %s  %s processor s%s\n' "$target" "${done_runs:-?}" \
        "$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' <<<"$last")" "$(sed -n 's/.* ft: \([0-9]*\).*/\1/p' <<<"$last")" \
        "$(sed -n 's/.* corp: \([^ ]*\).*/\1/p' <<<"$last")" "$(head -n 1 <<<"${took% *}")" \
        "$([ "$code" -eq 0 ] || echo "  FAILED, see $found")"
    [ "$code" -eq 0 ] || failed=1
done
exit "$failed"
