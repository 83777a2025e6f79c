"""One measurement in a process of its own: `python -m frazil.bench.one JOB WHAT CANDIDATE CORES CALLS [digest]`, JSON on stdout.

WHAT is `stages`, `chain`, `encoding` (the chain with text ids and zstd 3), `shuffled`, `process`, `csv`, `avro`, `parquet`.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frazil.bench import clock
from frazil.bench.job import Job
from frazil.bench.parity import Found

Work = Callable[[clock.Laps, Found, Path], None]
_MODULES = {"kernel": "kernel", "python": "python", "duckdb": "duck", "polars": "polar", "pyarrow": "arrow", "reference": "python"}
FORMATS = ("csv", "avro", "parquet")


def work(job: Job, what: str, candidate: str, cores: int) -> Work:
    """What is to be done, imported and bound."""
    name = _MODULES.get(candidate, "libraries")
    if candidate == "kernel" and what in ("chain", "encoding"):
        name = "landing"
    module = importlib.import_module(f"frazil.bench.candidates.{name}")
    more = (cores,) if candidate == "duckdb" else ()
    match what:
        case "stages" if name == "libraries":
            return lambda laps, found, place: module.run(candidate, job, laps, found, place)
        case "stages":
            return lambda laps, found, place: module.run(job, laps, found, place, *more)
        case "shuffled" if name == "libraries":
            return lambda laps, found, place: module.judge(candidate, job, job.shuffled, laps, found)
        case "shuffled":
            return lambda laps, found, place: module.judge(job, job.shuffled, laps, found, *more)
        case "process":
            return lambda laps, found, place: module.process(job, laps, found)
        case "chain" | "encoding":
            return _chain(job, module, candidate, cores, peers_encoding=what == "encoding")
    if candidate in ("python", "fastavro"):
        judge = module.judge_avro if what == "avro" else module.judge_csv
        return lambda laps, found, place: judge(job, laps, found)
    return lambda laps, found, place: module.judge_format(job, what, laps, found, *more)


def _chain(job: Job, module: Any, candidate: str, cores: int, *, peers_encoding: bool) -> Work:
    threads = (cores,) if candidate in ("kernel", "duckdb") else ()

    def chain(laps: clock.Laps, found: Found, place: Path) -> None:
        with laps("chain"):
            module.chain(job, place, *threads, found, peers_encoding=peers_encoding)
        found.files("write", place)

    return chain


def measure(job: Job, what: str, candidate: str, cores: int, calls: int, *, digesting: bool) -> dict[str, Any]:
    """Every call's seconds by stage; what the last found; memory after imports, after the first call, and at most."""
    do = work(job, what, candidate, cores)
    if candidate == "pyarrow":
        importlib.import_module("pyarrow").set_cpu_count(cores)
    started = time.process_time()  # of the process: its start and all imports
    before, passes, peaks = clock.peak_rss_mb(), [], []
    for _ in range(calls):
        laps, found, place = clock.Laps(), Found(job.contract, digesting=digesting), Path(tempfile.mkdtemp(prefix="frazil-bench-"))
        try:
            do(laps, found, place / "out")
            written = sum(file.stat().st_size for file in place.rglob("*.parquet"))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        passes.append({"cpu": laps.cpu, "wall": laps.wall})
        peaks.append(clock.peak_rss_mb())
    rss = {"imported": round(before), "first_call": round(peaks[0]), "peak": round(peaks[-1])}
    facts = {"counts": found.counts, "digests": found.digests, "bytes": written}
    return {"passes": passes, "rss_mb": rss, "start_cpu": started, **facts}


def main() -> None:
    path, what, candidate, cores, calls = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    clock.pin(cores)
    os.environ["POLARS_MAX_THREADS"] = str(cores)
    print(json.dumps(measure(Job.load(path), what, candidate, cores, calls, digesting=sys.argv[6:] == ["digest"])))


if __name__ == "__main__":
    main()
