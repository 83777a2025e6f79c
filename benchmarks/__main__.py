"""`python -m benchmarks [--events N] [--rounds N]`: measures, writes `benchmarks/results.json` and `docs/benchmarks.md`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import events
from frazil.bench import page
from frazil.bench.measure import Choice, measure, require_peers
from frazil.errors import FrazilError

HERE = Path(__file__).resolve().parent


def chosen(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=int(os.environ.get("BENCH_EVENTS", "1000000")))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=3, help="calls per process; the first is reported apart")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")
    parser.add_argument("--page-only", action="store_true", help="write the page anew from the results that are there")
    return parser.parse_args(arguments)


def of_another_run(name: str) -> dict[str, Any] | None:
    """Figures of `python -m benchmarks.http`, `.log` or `.kafka`, where there are any."""
    file = HERE / f"{name}.json"
    found: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return found


def main(arguments: list[str]) -> int:
    given, began = chosen(arguments), time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    if not given.page_only:
        try:
            require_peers()
            say(f"making {given.events:,} events")
            job = events.generate(given.events)
            usual = (given.rounds, given.calls) == (3, 3)
            exact = f"python -m benchmarks --events {given.events} --rounds {given.rounds} --calls {given.calls}"
            command = f"BENCH_EVENTS={given.events} make bench" if usual else exact
            choice = Choice(given.rounds, given.calls, command=command, profile=os.environ.get("BENCH_PROFILE", "release"), say=say)
            results = measure(job, events.CACHE, choice)
        except FrazilError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        given.results.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(given.results.read_text())
    others = {name: of_another_run(name) for name in ("http", "log", "kafka")}
    say(f"wrote {page.write(results, given.docs, **others)}")
    for row in results["founding"]:
        print(f"{row['operation']:30} {row['kernel_ns']:9,.0f} {row['python_ns']:11,.0f} ns/event {row['times']:6.1f}x")
    for row in results["chain"]:
        spent = f"{row['cpu']['median']:7.2f} s CPU {row['wall']['median']:7.2f} s wall, first {row['first_cpu']:.2f} s CPU"
        print(f"chain, {row['cores']} core(s), {row['candidate']:10} {spent}, {row['times_cpu']:.1f} times the kernel's")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
