#!/bin/sh
# Fuzzes each target for SECONDS_EACH seconds (60) with coverage guidance; needs only cargo, a C++ compiler and the registry.
# Usage: fuzz/run.sh [TARGET…]
set -eu
cd "$(dirname "$0")"
if ! command -v c++ >/dev/null; then
    echo "SKIPPED: make fuzz needs a C++ compiler (libFuzzer is C++)" >&2
    exit 0
fi
# Coverage is an LLVM pass that stable rustc takes, too.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
env -u RUSTFLAGS cargo run --locked --quiet --release --bin seeds -- corpus >/dev/null
targets=${*:-$(ls targets | sed 's/\.rs$//')}
# Only the targets: what writes seeds has no fuzzer to link with.
cargo build --locked --quiet --release --target "$host" $(printf -- '--bin %s ' $targets)
for target in $targets; do
    mkdir -p "artifacts/$target" "corpus/$target"
    echo "== $target: ${SECONDS_EACH:-60} s"
    "target/$host/release/$target" "corpus/$target" -max_total_time="${SECONDS_EACH:-60}" -timeout=5 -rss_limit_mb=2048 \
        -max_len=16384 -print_final_stats=1 -artifact_prefix="artifacts/$target/" 2>&1 | tail -n "${LINES_EACH:-8}" || exit 1
    if [ -n "$(ls -A "artifacts/$target")" ]; then
        echo "FOUND: fuzz/artifacts/$target" >&2
        exit 1
    fi
done
