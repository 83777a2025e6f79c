"""Durable appends to the embedded log: runs the kernel's example `log_append` and keeps its figures in `benchmarks/log.json`.

`python -m benchmarks.log [--seconds 3] [--directory DIR]`; the page of `make bench` takes them up.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from frazil.bench import clock

HERE = Path(__file__).resolve().parent
_TIMES = r"p50\s+(?P<p50_ms>[\d.]+)\s+p95\s+(?P<p95_ms>[\d.]+)\s+p99\s+(?P<p99_ms>[\d.]+) ms"
RUN = re.compile(rf"\s*(?P<threads>\d+) x (?P<records>\d+)\s+(?P<records_per_second>\d+) records/s\s+{_TIMES}")
DISK = re.compile(rf"1 MiB \+ fdatasync\s+{_TIMES}")
EXAMPLE = ("cargo", "run", "--quiet", "--locked", "--release", "-p", "data-processor-core", "--example", "log_append", "--")


def figures(said: str) -> dict[str, Any]:
    """What the example printed, as numbers; the disk's are the worse of before and after.

    Raises:
        ValueError: It printed something else.
    """
    runs = [
        {name: int(text) if text.isdigit() else float(text) for name, text in found.groupdict().items()}
        for found in map(RUN.match, said.splitlines())
        if found
    ]
    disks = [{name: float(text) for name, text in found.groupdict().items()} for found in DISK.finditer(said)]
    if not runs or not disks:
        raise ValueError(f"no figures in what log_append printed: {said[:500]!r}")
    return {"runs": runs, "disk": max(disks, key=lambda disk: disk["p99_ms"])}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--directory", type=Path, default=HERE.parent / "target", help="on the disk to measure")
    chosen = parser.parse_args()
    machine = clock.machine()
    done = subprocess.run(
        [*EXAMPLE, str(chosen.seconds), str(chosen.directory)], cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True
    )
    sys.stdout.write(done.stdout)
    stamped = {"measured": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine, **figures(done.stdout)}
    (HERE / "log.json").write_text(json.dumps(stamped, indent=1) + "\n")


if __name__ == "__main__":
    main()
