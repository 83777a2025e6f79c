"""One measurement in a process of its own: `python -m benchmarks.one WHAT COUNT CORES ROUNDS`, JSON on stdout."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import clock


def chain(what: str, given: Any, cores: int) -> Callable[[Path], dict[str, int]]:
    """The whole chain of one candidate."""
    if what == "kernel":
        from benchmarks import kernel_way

        return lambda place: kernel_way.chain(given.path, place, cores)
    from benchmarks import peers

    if what == "duckdb":
        return lambda place: peers.duckdb_chain(given.path, place, cores)
    if what == "polars":
        return lambda place: peers.polars_chain(given.clean_path, place)
    raise ValueError(f"no candidate {what!r}")


def main() -> None:
    what, count, cores, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    clock.pin(cores)
    os.environ["POLARS_MAX_THREADS"] = str(cores)
    from benchmarks import events

    given = events.generate(count)
    if what == "operations":
        from benchmarks.operations import Operations

        print(json.dumps(Operations(given).measure(rounds)))
        return
    if what == "facts":
        from benchmarks.parity import facts

        with tempfile.TemporaryDirectory() as scratch:
            candidate = sys.argv[5]
            counts = chain(candidate, given, cores)(Path(scratch) / "out")
            print(json.dumps({"counts": counts, "facts": facts(Path(scratch) / "out")}))
        return
    times = []
    for _ in range(rounds):
        scratch_dir = tempfile.mkdtemp()
        run = chain(what, given, cores)
        spent, result = clock.timed(lambda run=run, place=scratch_dir: run(Path(place) / "out"))
        times.append(spent)
        shutil.rmtree(scratch_dir)
    print(json.dumps({"first": times[0], "warm": times[1:], "result": result, "peak_rss_mb": clock.peak_rss_mb()}))


if __name__ == "__main__":
    main()
