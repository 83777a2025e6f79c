"""Runs summed up: medians with the least and the most, per event."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any, Final

from frazil.bench.job import Job

Run = dict[str, Any]
Runs = dict[tuple[str, str, int], list[Run]]

# operation -> what is measured, and the laps that make it up: the first of these that a candidate has
OPERATIONS: Final[tuple[tuple[str, str, tuple[tuple[str, ...], ...]], ...]] = (
    ("JSON parsing", "stages", (("parse",),)),
    ("schema validation", "stages", (("judge",), ("parse", "validate"))),
    ("transformation", "stages", (("transform",),)),
    ("Iceberg Parquet writing", "stages", (("write",),)),
    ("deduplication", "stages", (("dedupe",),)),
    ("hand-over to Arrow", "stages", (("handover",),)),
    ("shuffled keys, parsed and validated", "shuffled", (("judge",),)),
    ("CSV to validated batches", "csv", (("judge",),)),
    ("Avro to validated batches", "avro", (("judge",),)),
    ("Parquet to validated batches", "parquet", (("judge",),)),
    ("a batch of the log judged", "process", (("process",),)),
)
FOUNDING: Final = ("JSON parsing", "schema validation", "transformation", "Iceberg Parquet writing")
_OF_A_CHAIN: Final = ("parse", "validate", "transform", "dedupe", "write")


def tables(runs: Runs, job: Job) -> dict[str, Any]:
    """`founding`, `operations`, `chain`, `encoding`."""
    operations = [row for row in (_operation(runs, job, *one) for one in OPERATIONS) if row["candidates"]]
    founding = []
    for row in operations:
        by_name = {one["candidate"]: one for one in row["candidates"]}
        if row["operation"] in FOUNDING and "python" in by_name:
            ours, python = by_name["kernel"]["ns"], by_name["python"]["ns"]
            founding.append({"operation": row["operation"], "kernel_ns": ours, "python_ns": python, "times": python / ours})
    return {
        "founding": founding,
        "operations": operations,
        "chain": _against_kernel([*_chains(runs, "chain"), *_summed_chains(runs)]),
        "encoding": _against_kernel(list(_chains(runs, "encoding"))),
    }


def _warm(run: Run) -> list[Run]:
    """The calls after the first; the first where it is alone."""
    passes: list[Run] = run["passes"]
    return passes[1:] or passes


def _operation(runs: Runs, job: Job, name: str, what: str, ways: tuple[tuple[str, ...], ...]) -> Run:
    """One operation of all candidates that do it, in ns of CPU per event on one core."""
    rows = []
    for (of, candidate, _), several in runs.items():
        if of != what:
            continue
        way = next((one for one in ways if set(one) <= set(several[0]["passes"][0]["cpu"])), None)
        if way is None:
            continue
        count = _events(what, several[0], job)
        spent = [sum(one["cpu"][lap] for lap in way) / count * 1e9 for run in several for one in _warm(run)]
        rows.append({"candidate": candidate, "ns": statistics.median(spent), "least": min(spent), "most": max(spent)})
    ours = next((row["ns"] for row in rows if row["candidate"] == "kernel"), None)
    for row in rows:
        row["times"] = row["ns"] / ours if ours else None
    return {"operation": name, "events": _events(what, None, job), "candidates": rows}


def _events(what: str, run: Run | None, job: Job) -> int:
    if what == "process":
        return run["counts"]["processed"] if run else job.events
    return job.events if what == "stages" else job.format_events


def _chains(runs: Runs, what: str) -> Iterable[Run]:
    for (of, candidate, cores), several in runs.items():
        if of == what:
            warm = [one for run in several for one in _warm(run)]
            first = [run["passes"][0] for run in several]
            yield _chain(candidate, cores, several, warm, first)


def _chain(candidate: str, cores: int, several: list[Run], warm: list[Run], first: list[Run]) -> Run:
    row: Run = {"candidate": candidate, "cores": cores}
    for kind in ("cpu", "wall"):
        spent = [sum(one[kind].get(lap, 0.0) for lap in ("chain", *_OF_A_CHAIN)) for one in warm]
        row[kind] = {"median": statistics.median(spent), "least": min(spent), "most": max(spent)}
        row[f"first_{kind}"] = statistics.median(sum(one[kind].get(lap, 0.0) for lap in ("chain", *_OF_A_CHAIN)) for one in first)
    row["start_cpu"] = statistics.median(run["start_cpu"] for run in several)
    row["rss_mb"] = {name: max(run["rss_mb"][name] for run in several) for name in ("imported", "first_call", "peak")}
    row["bytes"] = several[0]["bytes"]
    return row


def _summed_chains(runs: Runs) -> Iterable[Run]:
    """Candidates whose chain is their stages, one after the other."""
    for candidate in ("pyarrow", "python"):
        several = runs.get(("stages", candidate, 1))
        if several:
            warm = [one for run in several for one in _warm(run)]
            yield _chain(candidate, 1, several, warm, [run["passes"][0] for run in several])


def _against_kernel(rows: list[Run]) -> list[Run]:
    ours = {row["cores"]: row for row in rows if row["candidate"] == "kernel"}
    for row in rows:
        same = ours[row["cores"]]
        row["times_cpu"] = row["cpu"]["median"] / same["cpu"]["median"]
        row["times_wall"] = row["wall"]["median"] / same["wall"]["median"]
        row["times_first_cpu"] = row["first_cpu"] / same["first_cpu"]
    return sorted(rows, key=lambda row: row["cores"])
