"""`frazil contracts`: check, list, show, compile, and plan a change against recorded traffic."""

from __future__ import annotations

import json as spelling
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frazil.cli import session
from frazil.cli.output import DryRun, Json, data, emit, progress, say, table
from frazil.errors import EXIT_NO, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from frazil.contract import Contract, Field
    from frazil.contract.source import Problem
    from frazil.engine.plan import Plan
    from frazil.project import Project

Name = Annotated[str | None, typer.Argument(metavar="CONTRACT", help="Default: the project's default contract.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Contracts: check, list, show, compile, plan a change.", no_args_is_help=True)
    for command in (check, listed, show, compiled, plan):
        group.command({"listed": "list", "compiled": "compile"}.get(command.__name__, command.__name__))(command)
    app.add_typer(group, name="contracts")


def check(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE…]", help="Default: every contract of the project.")] = None,
    json: Json = False,
) -> None:
    """Name every problem with its file, line and what to change. Exit 1 when there is one."""
    from frazil.contract.load import SUFFIX, check_file

    directory = None if files else session.settings().contracts_dir
    chosen = files or sorted(directory.glob(f"*{SUFFIX}") if directory is not None else [])
    problems = [problem for file in chosen for problem in check_file(file)]
    if chosen and not files and not problems:
        problems = list(_around(session.project()))
    if json:
        emit({"files": [str(file) for file in chosen], "problems": [asdict(problem) for problem in problems]})
    else:
        for problem in problems:
            data().print(str(problem), markup=False)
        good = len(chosen) - len({problem.file for problem in problems} & {str(file) for file in chosen})
        say(f"[green]{good} of {len(chosen)} contracts are good[/]" if chosen else f"no {SUFFIX} files in {directory}")
    if problems or not chosen:
        raise typer.Exit(EXIT_NO)


def _around(project: Project) -> Iterator[Problem]:
    """What the contracts do not agree with: the warehouse's sources, and the registry that would have to take their schemas."""
    from frazil.contract.avro import avro_text
    from frazil.contract.dbt_sources import FILE, check_drift
    from frazil.contract.source import Problem
    from frazil.registry import refused_change

    try:
        check_drift(project.settings.root, project.contracts.values())
    except ConfigError as drift:
        yield Problem(str(project.settings.root / FILE), 1, "", drift.message, drift.hint)
    if project.registry is None:
        return
    for contract in project.contracts.values():  # before a changed contract lands: would the registry take its schema as the next version?
        subject = project.subject(contract)
        refusal = project.registry.incompatible(subject, avro_text(contract))
        if refusal is not None:
            refused = refused_change(subject, refusal)
            yield Problem(str(contract.path), 1, "", f"[{refused.code}] {refused.message}", refused.hint)


def listed(json: Json = False) -> None:
    """All contracts with their versions, keys and event times."""
    rows = [_facts(contract) for contract in session.project().contracts.values()]
    if json:
        emit(rows)
        return
    table([{**row, "key": ", ".join(row["key"])} for row in rows], ["name", "version", "key", "event_time", "fields", "unknown", "hash"])


def show(name: Name = None, json: Json = False) -> None:
    """One contract: its fields and their rules."""
    contract = session.project().contract(name)
    if json:
        emit({**_facts(contract), "plan": spelling.loads(contract.plan)})
        return
    out = data()
    out.print(f"[bold]{contract.name}[/] {contract.version}  {contract.description}")
    out.print(
        f"key {', '.join(contract.key) or 'none'} · event time {contract.event_time or 'the time of receipt'}"
        f" · unknown fields: {contract.unknown}\n"
    )
    rows = [
        {"field": one.path, "type": one.kind, "required": "yes" if one.required else "", "rules": _rules(one), "personal": one.pii or ""}
        for one in contract.walk()
    ]
    table(rows, ["field", "type", "required", "rules", "personal"])


def compiled(
    name: Annotated[str | None, typer.Argument(metavar="CONTRACT", help="Default: every contract of the project.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Directory to write to; default: stdout, as one JSON object; on a terminal only names."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Derive the kernel's plan and the Arrow, Iceberg and JSON schemas; write the warehouse's `sources.yml` where there is one."""
    from frazil.contract import dbt_sources
    from frazil.contract.derive import compile_artefacts

    project = session.project()
    sources = dbt_sources.write(project.settings.root, project.contracts.values(), dry_run=dry_run)
    if sources is not None:
        say(f"{'would write' if dry_run else 'wrote'} {sources}")
    contracts = [project.contract(name)] if name else list(project.contracts.values())
    artefacts = {file: text for contract in contracts for file, text in compile_artefacts(contract).items()}
    if out is None and sys.stdout.isatty():
        say(f"derived {', '.join(artefacts)}; `--out DIR` writes them")
        return
    if out is None:
        emit(artefacts)
        return
    for file, text in artefacts.items():
        say(f"{'would write' if dry_run else 'wrote'} {out / file}")
        if not dry_run:
            out.mkdir(parents=True, exist_ok=True)
            (out / file).write_text(text)


def plan(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE|CONTRACT]", help="The changed contract; by its name: the project's own file.")
    ] = None,
    contract: Annotated[str | None, typer.Option("--contract", "-c", help="Which contract; default: by the file's name.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Most records to judge again, the newest.")] = 1_000_000,
    json: Json = False,
) -> None:
    """Judge recorded traffic under a changed contract and compare with the verdicts it was given. Changes nothing.

    Exit 1 when records that were good would become bad, the table cannot take the change, or the contract's `compatibility`
    forbids it. Each difference of the rules can be told, and held against `compatibility`, only while the changed file lies beside
    the project's own; of the project's own file the verdicts are compared.
    """
    from frazil.contract.load import load_file
    from frazil.engine.plan import planned

    project = session.project()
    if file is not None and str(file) in project.contracts and not file.exists():
        file, contract = None, str(file)
    changed = load_file(file) if file is not None else None
    name = contract or (changed.name if changed is not None else None)
    if file is not None and file.resolve() in {Path(one.path).resolve() for one in project.contracts.values() if one.path}:
        changed = None  # it was changed in place: the rules before are known by the verdicts they gave
        if not json:
            say("[dim]the project's own file: compared with the verdicts that records were given, not rule by rule[/]")
    with progress("records") as bar:
        task = bar.add_task("judging", total=None)
        result = planned(project, name, changed, last=last, judged=lambda count: bar.advance(task, count))
    if json:
        emit(result.as_dict())
    else:
        _show_plan(result)
    if not result.allowed:
        raise typer.Exit(EXIT_NO)


def _show_plan(result: Plan) -> None:
    out = data()
    out.print(f"{result.contract}: {result.records:,} recorded, judged again under version {result.version}")
    for name in ("still_good", "still_bad", "newly_good", "newly_bad"):
        out.print(f"  {name.replace('_', ' '):<12}{getattr(result, name):>12,}")
    out.print(f"  table       {result.table_change}", markup=False)
    for change in result.changes:
        verdict = f"refused: compatibility is {result.compatibility}" if change["refused"] else ""
        out.print(f"  {change['effect']:<12}{change['path'] or 'contract'}: {change['message']}  {verdict}".rstrip(), markup=False)
    for cause in result.causes:
        out.print(
            f"\n[{cause['code']}] {cause['count']:,} x newly bad at {cause['path'] or 'the record'}: {cause['message']}", markup=False
        )
        out.print(f"  for example offset {cause['offset']}: {cause['value']}", markup=False)


def _facts(contract: Contract) -> dict[str, Any]:
    return {
        "name": contract.name,
        "version": contract.version,
        "key": list(contract.key),
        "event_time": contract.event_time,
        "fields": sum(1 for _ in contract.walk()),
        "unknown": contract.unknown,
        "hash": contract.hash[:12],
        "path": contract.path,
    }


def _rules(one: Field) -> str:
    """The field's rules in few words."""
    said = [one.format or "", f"pattern {one.pattern}" if one.pattern else "", f"one of {len(one.enum)}" if one.enum else ""]
    low = ">" if one.exclusive_minimum else ">="
    high = "<" if one.exclusive_maximum else "<="
    said += [f"{low} {one.minimum}" if one.minimum is not None else "", f"{high} {one.maximum}" if one.maximum is not None else ""]
    said += [f"length {_range(one.min_length, one.max_length)}" if (one.min_length, one.max_length) != (None, None) else ""]
    said += [f"items {_range(one.min_items, one.max_items)}" if (one.min_items, one.max_items) != (None, None) else ""]
    said += [f"({one.precision}, {one.scale})" if one.precision is not None else "", f"epoch {one.unit}" if one.unit else ""]
    said += [f"zone {one.zone}" if one.zone else ""]
    return ", ".join(part for part in said if part)


def _range(low: int | None, high: int | None) -> str:
    return f"{'' if low is None else low}..{'' if high is None else high}"
