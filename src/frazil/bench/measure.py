"""A whole run: all candidates do the same work once and are compared, then they are timed in turns."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from frazil.bench import clock, parity
from frazil.bench.job import Job
from frazil.bench.leaves import beyond_peers, key
from frazil.bench.one import FORMATS
from frazil.bench.tables import tables
from frazil.errors import ConfigError, FrazilError

Run = dict[str, Any]
PEERS: Final = ("python", "orjson", "msgspec", "pydantic", "polars", "duckdb", "pyarrow")
PACKAGES: Final = ("data-processor-rs", "orjson", "msgspec", "pydantic", "polars", "duckdb", "pyarrow", "fastavro")
EXTRA: Final = ("orjson", "msgspec", "polars", "fastavro")
SCHEDULE: Final[dict[str, tuple[str, ...]]] = {
    "stages": PEERS,
    "process": ("reference",),
    "shuffled": ("python", "msgspec", "pydantic", "polars", "duckdb"),
    "csv": ("python", "polars", "duckdb", "pyarrow"),
    "avro": ("fastavro", "polars"),
    "parquet": ("polars", "duckdb", "pyarrow"),
    "chain": ("polars", "duckdb"),
    "encoding": ("polars", "duckdb"),
}
ONE_CALL: Final = ("python", "orjson", "msgspec", "pydantic", "fastavro", "reference")
"""They work line by line: a call on everything warms up in its first lines, and plain Python is slow."""


@dataclass(frozen=True)
class Choice:
    """How to measure.

    `rounds`: how often every candidate takes its turn, each time in a fresh process. `calls`: calls in that process, of which the first is
    reported apart. `without`: candidates to leave out. `say`: takes lines of progress.
    """

    rounds: int = 3
    calls: int = 3
    without: tuple[str, ...] = ()
    command: str = "frazil bench"
    profile: str = "installed"
    say: Callable[[str], None] = lambda line: None


@dataclass
class Measurement:
    """The runs of all candidates so far."""

    job: Job
    path: Path
    choice: Choice
    runs: dict[tuple[str, str, int], list[Run]] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def alone(self, what: str, candidate: str, cores: int, calls: int, *, digesting: bool = False) -> Run:
        """One measurement in a fresh process.

        Raises:
            FrazilError: `bench.candidate_failed`: its process ended with an error.
        """
        arguments = [str(self.path), what, candidate, str(cores), str(calls), *(["digest"] if digesting else [])]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"POLARS_MAX_THREADS": str(cores)}
        command = [sys.executable, "-m", "frazil.bench.one", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
            raise FrazilError(
                f"{candidate} failed at {what}: {said[:300]}",
                code="bench.candidate_failed",
                hint="leave it out with `--without`, or report it with the contract",
                candidate=candidate,
            )
        found: Run = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    def schedule(self) -> list[tuple[str, str]]:
        """What is measured with whom: the kernel always, peers where they do that work."""
        why, listed = beyond_peers(self.job.contract), []
        if why is not None:
            self._leave_out("all", "every peer", f"cannot be made from this contract: {why}")
        for what, peers in SCHEDULE.items():
            if what in FORMATS and not self._read(what):
                continue
            listed.append((what, "kernel"))
            kept = () if why is not None and what != "process" else peers
            listed += [(what, peer) for peer in kept if peer not in self.choice.without]
        return listed

    def _read(self, format: str) -> bool:
        from frazil.bench.candidates.kernel import reads

        return format in self.job.formats and reads(format)

    def _leave_out(self, what: str, candidate: str, why: str) -> None:
        self.choice.say(f"left out: {candidate} ({what}): {why}")
        self.left_out.append({"what": what, "candidate": candidate, "why": why})

    def compare(self, listed: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Everybody does the work once; who cannot is left out, who does another job ends the run.

        Raises:
            ParityError: `bench.not_the_same`.
            FrazilError: `bench.candidate_failed`: the kernel itself failed.
        """
        kept, oracle = [], {}
        for what, candidate in listed:
            self.choice.say(f"comparing {what}: {candidate}")
            try:
                run = self.alone(what, candidate, clock.usable_cores(), 1, digesting=True)
            except FrazilError as error:
                if candidate == "kernel":
                    raise
                self._leave_out(what, candidate, error.message)
                continue
            parity.same(candidate, run["counts"], self._expected(what, candidate))
            if candidate == "kernel":
                oracle[what] = run["digests"]
                if what == "chain":
                    parity.same_rows("kernel's chain", run["digests"], oracle["stages"])
            parity.same_rows(candidate, run["digests"], oracle[what])
            kept.append((what, candidate))
        return kept

    def _expected(self, what: str, candidate: str) -> dict[str, int]:
        job = self.job
        if what == "shuffled" or what in FORMATS:
            return {"valid": job.format_events}
        return {"valid": job.valid, "good": job.good, "bad": job.bad if job.sure or candidate == "kernel" else 0}

    def time(self, kept: list[tuple[str, str]]) -> None:
        """Rounds in turns; the chain on one core and on two, the rest on one."""
        widest = min(2, clock.usable_cores())
        for number in range(self.choice.rounds):
            for what, candidate in kept:
                if what == "process" and number:
                    continue
                for cores in range(1, widest + 1) if what in ("chain", "encoding") else (1,):
                    self.choice.say(f"round {number + 1} of {self.choice.rounds}: {what}, {candidate}, {cores} core{'s' * (cores > 1)}")
                    calls = 1 if what == "encoding" or candidate in ONE_CALL else self.choice.calls
                    run = self.alone(what, candidate, cores, calls)
                    parity.same(candidate, run["counts"], self._expected(what, candidate))
                    self.runs.setdefault((what, candidate, cores), []).append(run)


def require_peers() -> None:
    """Refuse to begin without the packages of the extra.

    Raises:
        ConfigError: `bench.no_peers`, with the names of those that are missing.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the peers are not installed: {', '.join(missing)}",
            code="bench.no_peers",
            hint="pip install 'frazil[bench]'",
            missing=missing,
        )


def measure(job: Job, place: Path, choice: Choice) -> dict[str, Any]:
    """Compare, time and sum up. `place` is a directory for what the candidates share.

    Returns:
        JSON-ready results: machine, versions, input, `founding`, `operations`, `chain`, `encoding`, `left_out`.

    Raises:
        ConfigError: `bench.no_peers`.
        ParityError: `bench.not_the_same`: a candidate did another job; nothing was timed.
        FrazilError: `bench.candidate_failed`: the kernel failed.
    """
    require_peers()
    began, machine = time.monotonic(), clock.machine()
    measurement = Measurement(job, job.save(place / f"job-{job.events}.json"), choice)
    measurement.time(measurement.compare(measurement.schedule()))
    kept = ("events", "bad", "duplicates", "bytes", "format_events", "sure")
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine,
        "versions": {name: version(name) for name in PACKAGES},
        "profile": choice.profile,
        "command": choice.command,
        "seconds": round(time.monotonic() - began),
        "rounds": choice.rounds,
        "calls": choice.calls,
        "contract": {"name": job.contract.name, "fields": sum(1 for _ in job.contract.walk()), "key": key(job.contract)},
        "input": {name: getattr(job, name) for name in kept} | {"good": job.good, "valid": job.valid},
        **tables(measurement.runs, job),
        "left_out": measurement.left_out,
    }
