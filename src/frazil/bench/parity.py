"""Whether candidates did the same job: counts of records, and sums of hashes over every column of what they made, read by DuckDB.

A sum of hashes does not depend on the order of rows and adds up over pieces; a value, a row more or less changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frazil.bench.leaves import Leaf, event_time, leaves
from frazil.contract import Contract
from frazil.errors import FrazilError

if TYPE_CHECKING:
    import duckdb

Digest = dict[str, list[int]]
"""By column: values that are there, and the sum of their hashes; `(row)`: rows, and the sum over all columns together."""


class ParityError(FrazilError):
    """A candidate did another job than the others: its time would mean nothing."""

    code = "bench.not_the_same"


class Found:
    """What one candidate found; digests are only made when asked for, since they cost more than the work."""

    def __init__(self, contract: Contract, *, digesting: bool) -> None:
        self.contract, self.digesting = contract, digesting
        self.counts: dict[str, int] = {}
        self.digests: dict[str, Digest] = {}

    def count(self, name: str, number: int) -> None:
        """Records of a sort; adds up."""
        self.counts[name] = self.counts.get(name, 0) + number

    def table(self, name: str, make: Callable[[], Any], *, flat: bool = False) -> None:
        """Rows that a stage made: anything that DuckDB reads (Arrow, polars). `flat`: nested columns have dotted names."""
        if self.digesting:
            import duckdb

            made = make()
            with duckdb.connect() as connection:
                connection.register("made", made)
                self._add(name, digest(connection, "made", self.contract, flat=flat))

    def files(self, name: str, place: Path) -> None:
        """Parquet files below a directory."""
        if self.digesting:
            import duckdb  # not at the top: its memory would count as the candidate's

            with duckdb.connect() as connection:
                source = f"read_parquet('{place}/**/*.parquet', hive_partitioning = false)"
                self._add(name, digest(connection, source, self.contract))

    def _add(self, name: str, more: Digest) -> None:
        known = self.digests.setdefault(name, {})
        for column, (number, hashes) in more.items():
            before = known.get(column, [0, 0])
            known[column] = [before[0] + number, before[1] + hashes]


def digest(connection: duckdb.DuckDBPyConnection, source: str, contract: Contract, *, flat: bool = False) -> Digest:
    """Counts and sums of hashes of all columns of a relation."""
    connection.execute("set timezone = 'UTC'")
    names = {one.dotted: _alike(connection, source, one, flat) for one in leaves(contract)}
    time = event_time(contract)
    if time is not None:
        at = names[time.dotted]
        present = {row[0] for row in connection.sql(f"describe select * from {source}").fetchall()}
        if "event_date" in present:  # what was derived must fit what it was derived from
            micros = "epoch_us(event_date::timestamp)"
            names["event_date"] = f"case when {at} - {micros} between 0 and 86399999999 then event_date::date::varchar else 'wrong' end"
            names["event_hour"] = "event_hour::integer"
    sums = [f"count({one}), coalesce(sum(hash({one})::hugeint) filter (where ({one}) is not null), 0)::varchar" for one in names.values()]
    row = "count(*), coalesce(sum(hash({})::hugeint), 0)::varchar".format(", ".join(names.values()))
    [found] = connection.sql(f"select {', '.join([*sums, row])} from {source}").fetchall()
    pairs = zip(found[::2], found[1::2], strict=True)
    return {name: [int(number), int(hashes)] for name, (number, hashes) in zip([*names, "(row)"], pairs, strict=True)}


def _alike(connection: duckdb.DuckDBPyConnection, source: str, leaf: Leaf, flat: bool) -> str:
    """The column in a spelling that is the same for every candidate."""
    named = f'"{leaf.dotted}"' if flat else ".".join(f'"{name}"' for name in leaf.path)
    seen = connection.sql(f"select typeof({named}) from {source} limit 1").fetchall()
    kind = seen[0][0] if seen else "VARCHAR"
    match leaf.field.kind:
        case "uuid" if kind == "BLOB":
            return f"lower(hex({named}))"
        case "uuid":
            return f"lower(replace({named}::varchar, '-', ''))"
        case "timestamp":
            return f"epoch_us({named}::timestamptz)"
        case "date":
            return f"{named}::date"
        case "decimal":
            return f"{named}::decimal({leaf.field.precision}, {leaf.field.scale})::varchar"
        case "number":
            return f"{named}::double"
        case "integer":
            return f"{named}::bigint"
        case "boolean":
            return f"{named}::boolean"
    return f"{named}::varchar"


def same(name: str, counts: dict[str, int], expected: dict[str, int]) -> None:
    """Refuse a candidate that counted otherwise.

    Raises:
        ParityError: `bench.not_the_same`, with what it counted and what it should have.
    """
    wrong = {what: (number, expected[what]) for what, number in counts.items() if what in expected and number != expected[what]}
    if wrong:
        said = ", ".join(f"{what}: {number:,} instead of {due:,}" for what, (number, due) in wrong.items())
        raise _refused(name, said)


def same_rows(name: str, made: dict[str, Digest], oracle: dict[str, Digest]) -> None:
    """Refuse a candidate whose rows differ from the oracle's, naming the columns. Stages that one of them lacks are not compared.

    Raises:
        ParityError: `bench.not_the_same`.
    """
    for stage, theirs in made.items():
        ours = oracle.get(stage, {})
        columns = [column for column in theirs if column in ours and theirs[column] != ours[column]]
        if columns:
            raise _refused(name, f"other values than the kernel's in {stage}: {', '.join(columns)}")


def _refused(name: str, said: str) -> ParityError:
    return ParityError(
        f"{name} did another job: {said}",
        hint="its time would mean nothing; leave it out with `--without`, or look at what it read",
        candidate=name,
    )
