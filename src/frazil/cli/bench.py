"""`frazil bench`: what the kernel does with a contract of one's own, beside the tools one would use instead."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import Json, data, emit, say, table


def register(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    contract: Annotated[str | None, typer.Option("--contract", "-c", help="Contract of the project, or a file *.odcs.yaml.")] = None,
    events: Annotated[int, typer.Option("--events", "-n", min=100, help="How many to generate.")] = 100_000,
    sample: Annotated[Path | None, typer.Option("--sample", exists=True, dir_okay=False, help="Your own events, NDJSON, instead.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every candidate, each in a fresh process.")] = 3,
    without: Annotated[list[str] | None, typer.Option("--without", help="Leave a candidate out; may be repeated.")] = None,
    page: Annotated[Path | None, typer.Option("--page", file_okay=False, help="Write a page with charts below this directory.")] = None,
    json: Json = False,
) -> None:
    """Measure the kernel and its peers on one contract: all do the same work once and are compared, then they take turns."""
    from frazil.bench.material import generated
    from frazil.bench.material import sample as sampled
    from frazil.bench.measure import SCHEDULE, Choice, measure, require_peers

    require_peers()
    known = sorted({peer for peers in SCHEDULE.values() for peer in peers})
    if unknown := set(without or ()) - set(known):
        raise typer.BadParameter(f"no candidate {', '.join(sorted(unknown))}; known: {', '.join(known)}", param_hint="--without")
    file = _file(contract)
    said = f"frazil bench --contract {contract or file.name}" + (f" --sample {sample.name}" if sample else f" --events {events}")
    with tempfile.TemporaryDirectory(prefix="frazil-bench-") as directory:
        place = Path(directory)
        say(f"contract {file}; making the input")
        job = sampled(file, sample, place) if sample is not None else generated(file, events, place)
        results = measure(job, place, Choice(rounds=rounds, without=tuple(without or ()), command=said, say=_told))
    if page is not None:
        from frazil.bench.page import write

        say(f"wrote {write(results, page)}")
    if json:
        emit(results)
        return
    _print(results)


def _file(contract: str | None) -> Path:
    """The contract's file: a path as it is, a name (or nothing) by the project."""
    if contract is not None and (contract.endswith((".yaml", ".yml")) or "/" in contract):
        return Path(contract)
    return Path(str(session.project().contract(contract).path))


def _told(line: str) -> None:
    from rich.markup import escape

    say(escape(line))


def _print(results: dict[str, Any]) -> None:
    given = results["input"]
    megabytes = f"{given['bytes'] / 1e6:.1f} MB"
    data().print(f"{given['events']:,} events, {given['bad']:,} bad, {given['duplicates']:,} repeats, {megabytes}", markup=False)
    operations = [
        {
            "operation": one["operation"],
            "candidate": row["candidate"],
            "ns_per_event": round(row["ns"]),
            "kernel_is_1": round(row["times"], 1),
        }
        for one in results["operations"]
        for row in sorted(one["candidates"], key=lambda row: float(row["ns"]))
    ]
    table(operations, ["operation", "candidate", "ns_per_event", "kernel_is_1"])
    chains = [
        {
            "whole chain": title,
            "candidate": row["candidate"],
            "cores": row["cores"],
            "cpu_s": row["cpu"]["median"],
            "wall_s": row["wall"]["median"],
            "first_cpu_s": row["first_cpu"],
            "resident_mib": row["rss_mb"]["first_call"],
            "kernel_is_1": row["times_cpu"],
        }
        for name, title in (("chain", "zstd 1"), ("encoding", "text ids, zstd 3, first call"))
        for row in results[name]
    ]
    table(chains, list(chains[0]))
