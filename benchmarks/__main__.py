"""`python -m benchmarks [--events N] [--rounds N]`: checks that all do the same job, measures, writes results and page."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import clock, events, report

ROOT = Path(__file__).resolve().parent.parent
NAMES = {"kernel": "frazil kernel", "duckdb": "DuckDB 2.0", "polars": "polars"}
MOST_SINGLE = 200_000
"""Events of the single operations: plain Python is slow and holds every event as a dict."""


def alone(*arguments: object) -> Any:
    """One measurement in a fresh process."""
    cores = str(arguments[2])
    environment = os.environ | {"POLARS_MAX_THREADS": cores, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.one", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def same_job(given: events.Input) -> None:
    """All candidates land the same rows, and as many as the generator says."""
    seen = {what: alone("facts", given.events, 2, 1, what) for what in NAMES}
    for what, found in seen.items():
        if found["facts"] != seen["kernel"]["facts"] or found["counts"]["good"] != given.good:
            raise SystemExit(f"{what} did another job than the kernel:\n{found}\n{seen['kernel']}\n{given}")
    counts = seen["kernel"]["counts"]
    if (counts["dead"], counts["duplicates"]) != (given.bad, given.duplicates):
        raise SystemExit(f"the kernel set other records aside than the generator broke: {counts}, {given}")


def chains(given: events.Input, rounds: int, calls: int) -> list[dict[str, Any]]:
    """Interleaved rounds, on one core and on two."""
    runs: dict[tuple[str, int], list[Any]] = {}
    widest = min(2, len(os.sched_getaffinity(0)))
    for number in range(rounds):
        for cores in range(1, widest + 1):
            for what in NAMES:
                print(f"round {number + 1} of {rounds}: {NAMES[what]} on {cores}", file=sys.stderr)
                runs.setdefault((what, cores), []).append(alone(what, given.events, cores, calls))
    rows = []
    for (what, cores), of_candidate in runs.items():
        middle = {
            kind: statistics.median(warm[kind] for run in of_candidate for warm in (run["warm"] or [run["first"]]))
            for kind in ("cpu", "wall")
        }
        rows.append({
            "name": NAMES[what], "cores": cores, **middle,
            "first_cpu": statistics.median(run["first"]["cpu"] for run in of_candidate),
            "peak_rss_mb": max(run["peak_rss_mb"] for run in of_candidate),
            "result": of_candidate[0]["result"],
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=int(os.environ.get("BENCH_EVENTS", "1000000")))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=3, help="calls per process; the first is reported apart")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    chosen = parser.parse_args()
    machine = clock.machine()
    given = events.generate(chosen.events)
    single = events.generate(min(chosen.events, MOST_SINGLE))
    print("comparing what the candidates write", file=sys.stderr)
    same_job(given)
    print("single operations", file=sys.stderr)
    results = {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine,
        "profile": os.environ.get("BENCH_PROFILE", "release"),
        "command": f"BENCH_EVENTS={chosen.events} make bench",
        "input": {name: value for name, value in asdict(given).items() if not name.endswith("path")},
        "operations_events": single.events,
        "operations": alone("operations", single.events, 1, 3),
        "chain": chains(given, chosen.rounds, chosen.calls),
    }
    http = ROOT / "benchmarks" / "http.json"
    if http.exists():
        results["http"] = json.loads(http.read_text())
    (ROOT / "benchmarks" / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, chosen.docs)
    for row in results["operations"]:
        print(f"{row['operation']:55} {row['kernel_ns']:9,.0f} {row['python_ns']:11,.0f} ns/event {row['times']:6.1f}x")
    for row in results["chain"]:
        spent = f"{row['cpu']:7.2f} s CPU {row['wall']:7.2f} s wall, first {row['first_cpu']:.2f} s CPU"
        print(f"chain, {row['cores']} core(s), {row['name']:15} {spent}")


if __name__ == "__main__":
    main()
