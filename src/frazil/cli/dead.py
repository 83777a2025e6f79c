"""`frazil dead`: dead letters as work. List them by cause, look at one, repair and replay, take a replay back, discard."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from frazil.cli import session
from frazil.cli.output import DryRun, Json, cell, data, emit, say, table
from frazil.errors import EXIT_NO, ConfigError, ContractError

if TYPE_CHECKING:
    from frazil.batch import Batch, Place
    from frazil.contract import Contract
    from frazil.project import Project
    from frazil.sink.letters import Cause, Letters

ContractName = Annotated[str | None, typer.Option("--contract", "-c", help="Contract; default: the project's.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="Letters: log/partition/offset, or the offset alone.")]
Code = Annotated[str | None, typer.Option(help="Only letters whose first violation has this code.")]
At = Annotated[str | None, typer.Option("--path", help="Only letters whose first violation is at this JSON pointer.")]
Stage = Annotated[str | None, typer.Option(help="Only letters of this stage: parse, validate, identity, process.")]
Everything = Annotated[bool, typer.Option("--all", help="All open letters of the contract.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Dead letters: list, show, replay after a fix, undo a replay, discard.", no_args_is_help=True)
    for command in (listed, show, replay, undo, discard):
        group.command("list" if command is listed else command.__name__)(command)
    app.add_typer(group, name="dead")


@dataclass(frozen=True)
class Work:
    """A contract's letters at the moment they were read."""

    project: Project
    contract: Contract
    letters: Letters

    @classmethod
    def of(cls, name: str | None) -> Work:
        project = session.project()
        contract = project.contract(name)
        return cls(project, contract, _read(project, contract))

    def chosen(
        self, ids: list[str] | None, code: str | None, path: str | None, stage: str | None, everything: bool
    ) -> frozenset[Place] | None:
        """The open letters that were asked for; None: all. Raises ConfigError when nothing was asked for."""
        if not any((ids, code, path, stage, everything)):
            raise ConfigError("no letters were named", code="dead.no_selection", hint="name ids, --code, --path, --stage, or --all")
        if everything and not any((ids, code, path, stage)):
            return None
        from frazil.sink.letters import places

        rows = self.letters.open()
        wanted = {_place(text, places(rows)) for text in ids} if ids else None
        return frozenset(
            place
            for place, row in zip(places(rows), rows.select(["stage", "violations"]).to_pylist(), strict=True)
            if (wanted is None or place in wanted) and _is_of(row, code, path, stage)
        ) | frozenset(wanted or ())


def listed(
    contract: Annotated[list[str] | None, typer.Option("--contract", "-c", help="Only this contract; may be repeated.")] = None,
    each: Annotated[bool, typer.Option("--each", help="Every open letter instead of its cause.")] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Only so many causes, the most frequent.")] = None,
    json: Json = False,
) -> None:
    """Open dead letters, grouped by cause, the most frequent first."""
    project = session.project()
    names = contract or sorted(project.contracts)
    found = [Work(project, one, _read(project, one)) for one in map(project.contract, names)]
    if each:
        _each(found, as_json=json)
        return
    causes = [(work.contract.name, cause) for work in found for cause in work.letters.causes()]
    if json:
        emit([{"contract": name, **cause.as_dict()} for name, cause in causes])
        return
    if not causes:
        say("[green]no open dead letters[/]")
        return
    causes.sort(key=lambda one: -one[1].count)
    _show_causes(causes[:top])
    if top is not None and len(causes) > top:
        say(f"[dim]and {sum(one.count for _, one in causes[top:]):,} letters of {len(causes) - top} more causes[/]")
    flags = {_flag(project, name) for name, _ in causes[:top]}
    flag = flags.pop() if len(flags) == 1 else " --contract NAME"
    say(f"\n`frazil dead show OFFSET{flag}` shows one; `frazil dead replay --code CODE{flag} --patch '…' --dry-run` tries a repair")


def show(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Letters: log/partition/offset, or the offset alone.")],
    contract: ContractName = None,
    json: Json = False,
) -> None:
    """Everything known about letters: each violation, the record's own bytes, where it came from. Closed ones, too."""
    from frazil.sink.letters import places, shown

    work = Work.of(contract)
    rows = work.letters.newest()
    by_place = dict(zip(places(rows), rows.to_pylist(), strict=True))
    open_ones = set(places(work.letters.open()))
    for text in ids:
        place = _place(text, list(by_place))
        if place not in by_place:
            raise ConfigError(f"no letter at {text}", code="dead.unknown", hint="`frazil dead list --each` names them", id=text)
        letter = {"id": str(place), "open": place in open_ones, **by_place[place]}
        if json:
            emit({**letter, "violations": [shown(one) for one in letter["violations"] or []]})
        else:
            _show_letter(letter)


def replay(
    ids: Ids = None,
    contract: ContractName = None,
    patch: Annotated[str | None, typer.Option(help="Repair fields: 'value = number(value); delete(/debug)'.")] = None,
    value_file: Annotated[Path | None, typer.Option(help="Whole new values: one record, or lines ID<TAB>value.")] = None,
    code: Code = None,
    path: At = None,
    stage: Stage = None,
    everything: Everything = False,
    name: Annotated[str | None, typer.Option(help="Name of the replay, for undo; default: made from the time.")] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Land letters at their original positions after a fix: of the contract, of the code, or by --patch.

    Safe to repeat and to run beside processing. Exit 1 when some letters are still bad; they stay open.
    """
    from frazil import flow, lineage
    from frazil.engine.patience import PatientProcessor
    from frazil.sink import repair

    work = Work.of(contract)
    wanted = work.chosen(ids, code, path, stage, everything)
    project, one = work.project, work.contract
    parts = (_mend(patch, value_file), PatientProcessor(project.processor(one)), project.keys(one), project.dead_letters, project.sink(one))
    if dry_run:
        plan = repair.plan(wanted, *parts)
        _told(plan.as_dict(), plan.still, as_json=json)
        raise typer.Exit(EXIT_NO if plan.still_bad else 0)
    page = cast("repair.Replay", flow.replay)  # it names the protocol of processors, which a sink cannot know
    with lineage.repair(project.settings, "replay", one.name) as told:
        done = repair.replay(page, wanted, *parts, id=name or _fresh_name())
        told(done.snapshot_id, done.landed)
    project.dead_letters.adopt(project.sink(one))
    _told(done.as_dict(), done.still, as_json=json)
    if not json and done.snapshot_id is not None:
        say(f"`frazil dead undo {done.id}{_flag(project, one.name)}` takes it back")
    if done.still_bad:
        raise typer.Exit(EXIT_NO)


def undo(
    id: Annotated[str, typer.Argument(metavar="REPLAY", help="Name of the replay.")],
    contract: ContractName = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take back a replay by a new commit: its rows become open letters again, but for those a later duplicate names."""
    from frazil import lineage
    from frazil.sink import repair

    work = Work.of(contract)
    project, sink = work.project, work.project.sink(work.contract)
    if dry_run:
        from frazil.table import files

        rows = files.found(project.lake.raw(work.contract), ["_offset"], files.equal("_replay", id)).num_rows
        emit({"id": id, "rows": rows}) if json else say(f"{rows:,} rows landed by {id} would be taken back; nothing was changed")
        return
    with lineage.repair(project.settings, "undo", work.contract.name) as told:
        done = repair.undo(project.lake, sink, project.dead_letters, id)
        told(done.snapshot_id, None)
    project.dead_letters.adopt(sink)
    if json:
        emit(done.as_dict())
    elif done.snapshot_id is None and not done.kept:
        say(f"raw_{work.contract.name} has nothing of a replay {id}; `frazil tables history {work.contract.name} --json` names its replays")
    else:
        say(f"{done.rows:,} rows taken back, {done.reopened:,} duplicates open again, {len(done.kept):,} rows kept")
    if done.snapshot_id is None:
        raise typer.Exit(EXIT_NO)


def discard(
    reason: Annotated[str, typer.Option(help="Why; kept with the letters.")],
    ids: Ids = None,
    contract: ContractName = None,
    code: Code = None,
    path: At = None,
    stage: Stage = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Close letters for good, with a reason. They stay readable and count as dead."""
    from frazil.sink import repair
    from frazil.sink.letters import places

    work = Work.of(contract)
    wanted = work.chosen(ids, code, path, stage, everything)
    chosen = frozenset(places(work.letters.open(wanted)))
    if dry_run:
        emit({"letters": len(chosen), "reason": reason}) if json else say(f"{len(chosen):,} letters would be closed; nothing was changed")
        return
    project, sink = work.project, work.project.sink(work.contract)
    done = repair.discard(project.lake, sink, project.dead_letters, chosen, reason)
    project.dead_letters.adopt(sink)
    emit(done.as_dict()) if json else say(f"{done.letters:,} letters closed: {done.reason}")
    if not done.letters:
        raise typer.Exit(EXIT_NO)


def _flag(project: Project, name: str) -> str:
    """What a printed command needs to mean this contract: nothing where it is the project's default."""
    try:
        meant = project.contract(None).name
    except ContractError:
        meant = None
    return "" if name == meant else f" --contract {name}"


def _read(project: Project, contract: Contract) -> Letters:
    from frazil.sink.repair import settled

    sink = project.sink(contract)
    return settled(lambda: project.dead_letters.at(sink.head()))


def _mend(patch: str | None, value_file: Path | None) -> Callable[[Batch], Batch]:
    from frazil.sink import mend

    mends: list[Callable[[Batch], Batch]] = []
    if value_file is not None:
        mends.append(mend.Replacement.read(value_file))
    if patch is not None:
        mends.append(mend.Patch.parse(patch))
    return mend.chained(*mends) if mends else mend.unchanged


def _place(text: str, known: list[Place]) -> Place:
    """A letter's place: spelled out, or its offset where that names one letter only."""
    from frazil.batch import Place

    if text.isdigit():
        found = [place for place in known if place.offset == int(text)]
        if len(found) == 1:
            return found[0]
        says = "no letter has" if not found else f"{len(found)} letters have"
        raise ConfigError(f"{says} offset {text}", code="dead.unknown", hint="`frazil dead list --each` names them", offset=int(text))
    try:
        return Place.parse(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} does not name a letter", code="dead.bad_id", hint="write log/partition/offset, or the offset"
        ) from error


def _is_of(row: dict[str, Any], code: str | None, path: str | None, stage: str | None) -> bool:
    first = (row["violations"] or [{"code": None, "path": None}])[0]
    wanted = ((code, first["code"]), (path, first["path"]), (stage, row["stage"]))
    return all(asked is None or asked == there for asked, there in wanted)


def _fresh_name() -> str:
    return f"replay-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def _told(facts: dict[str, Any], still: tuple[Cause, ...], *, as_json: bool) -> None:
    if as_json:
        emit(facts)
        return
    for key in ("id", "selected", "lands", "landed", "duplicates", "still_bad"):
        if key in facts:
            data().print(f"{key.replace('_', ' '):<12}{cell(facts[key])}", markup=False)
    if facts.get("not_open"):
        data().print(f"not open    {', '.join(facts['not_open'][:5])}", markup=False)
    if still:
        data().print()
        _show_causes([("", cause) for cause in still])


def _show_causes(causes: list[tuple[str, Cause]]) -> None:
    rows = [
        {
            "contract": name,
            "count": cause.count,
            "code": cause.code,
            "path": cause.path or "-",
            "example": cause.example.offset,
            "says": cause.message,
            "value": (cause.value or "")[:60],
        }
        for name, cause in causes
    ]
    columns = ["contract", "count", "code", "path", "example", "says", "value"]
    table(rows, columns if any(name for name, _ in causes) else columns[1:])


def _each(found: list[Work], *, as_json: bool) -> None:
    from frazil.sink.letters import places

    rows = []
    for work in found:
        letters = work.letters.open()
        for place, row in zip(places(letters), letters.to_pylist(), strict=True):
            first = (row["violations"] or [{}])[0]
            known = {"contract": work.contract.name, "id": str(place), "offset": place.offset, "stage": row["stage"]}
            rows.append({**known, "code": first.get("code"), "path": first.get("path"), "value": row["value"]})
    if as_json:
        for row in rows:
            emit(row)
    else:
        shown = [{**row, "value": cell(row["value"])[:60]} for row in rows]
        table(shown, ["contract", "offset", "stage", "code", "path", "value"])


def _show_letter(letter: dict[str, Any]) -> None:
    from frazil.batch import headers_of

    out = data()
    out.print(f"{letter['id']}  {letter['contract']} {letter['contract_version']}", markup=False, style="bold")
    state = "open" if letter["open"] else "closed"
    out.print(f"{state}, stage {letter['stage']}, received {cell(letter['_received_at'])}, commit {letter['_commit']}", markup=False)
    if letter["source"] and letter["source"]["line"] is not None:
        out.print(f"from {letter['source']['format']}, line {letter['source']['line']}", markup=False)
    for one in letter["violations"] or []:
        out.print(f"\n\\[{one['code']}] {one['path'] or 'the record'}: ", end="", style="yellow")
        out.print(str(one["message"]), markup=False)
        if one["value"] is not None:
            out.print(f"  value {one['value']}", markup=False)
        if one["hint"]:
            out.print(f"  hint: {one['hint']}", markup=False)
    for name, value in headers_of(letter["headers"]):
        out.print(f"header {name}: {cell(value)}", markup=False)
    if letter["value"] is not None:
        out.print("\n" + cell(letter["value"]), markup=False)
    out.print()
