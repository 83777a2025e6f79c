"""Properties of landing: what was processed is in the table, whole or not at all, once, whatever stops in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.contract import Contract, Field
from frazil.flow import pump
from frazil.process.python import PythonProcessor
from frazil.sink.dead_letters import IcebergDeadLetters
from frazil.sink.iceberg import IcebergSink
from frazil.sink.memory import MemoryKeys, MemorySink
from frazil.table.commit import Change, swap
from frazil.table.history import history
from frazil.table.maintenance import expire
from tests.fated import fated
from tests.landing import (
    NOON,
    ORDERS,
    Judge,
    ListLog,
    event,
    landed,
    open_lake,
    place_of,
    raw_batch,
    scratch,
    set_aside,
    sink_and_keys,
    totals_of,
)

records = st.one_of(
    st.builds(lambda key, amount, day: event(key, amount, day=day), st.integers(1, 6), st.integers(1, 2), st.integers(-2, 0)),
    st.sampled_from([None, b"", b"{", b"\xff", event(9, 5_000)]),
)
batches = st.lists(st.lists(records, min_size=1, max_size=6), min_size=1, max_size=4)


def expected(values: list[bytes | None]) -> dict[int, bytes]:
    """Offsets that land and their bytes, decided one by one."""
    firsts: dict[bytes, int] = {}
    for offset, value in enumerate(values):
        if value is not None and value.startswith(b'{"') and b"5000" not in value:
            firsts.setdefault(value[:53], offset)
    return {offset: values[offset] or b"" for offset in firsts.values()}


def typed(value: bytes) -> dict[str, Any]:
    fields = json.loads(value)
    return {"event_id": str(UUID(fields["event_id"])), "amount": fields["amount"], "note": fields["note"]}


@pytest.mark.prop(13)
@settings(max_examples=15)
@given(batches)
def test_every_processed_batch_is_in_the_table(values: list[list[bytes | None]]) -> None:
    with scratch() as root:
        sink, keys = sink_and_keys(root)
        log = ListLog()
        for batch in values:
            log.append(*batch)
            commit = pump(log, Judge(), keys, sink)
            assert commit is not None
            assert commit.landed + commit.dead + commit.duplicates == len(batch)
        wanted = expected(log.partitions["0"])
        rows = [
            (row["_offset"], {"event_id": str(row["event_id"]), "amount": row["amount"], "note": row["note"]}) for row in landed(sink.lake)
        ]
        assert rows == [(offset, typed(wanted[offset])) for offset in sorted(wanted)], "each once"
        places = [place_of(letter) for letter in set_aside(sink.lake)]
        assert sorted(place.offset for place in places) == sorted(set(range(len(log.partitions["0"]))) - set(wanted)), "each record once"


@pytest.mark.prop(14)
@settings(max_examples=12)
@given(batches)
def test_readers_see_all_of_a_commit_or_nothing(values: list[list[bytes | None]]) -> None:
    """Another process reads between every two steps: rows, letters, books and position always belong together."""
    with scratch() as root:
        sink, keys = sink_and_keys(root)
        reader = IcebergSink(open_lake(root), ORDERS)
        log, states = ListLog(), [look(reader)]

        def around(send: Callable[[], Any]) -> Any:
            assert look(reader) == states[-1], "files and manifests alone show nothing"
            return send()

        catalog = fated(sink.lake)
        for batch in values:
            log.append(*batch)
            catalog.fates = [around] * 9  # whatever is swapped on the way, nothing may show before the last
            head = sink.head()
            decision = keys.decide(Judge()(log.read(after=head.position, limit=100) or raw_batch([])), head)
            assert look(reader) == states[-1]
            commit = sink.append(decision, head)
            now = look(reader)
            assert now["rows"] == states[-1]["rows"] + commit.landed
            assert now["letters"] == states[-1]["letters"] + commit.dead + commit.duplicates
            assert now["totals"][0] == now["rows"] + now["letters"] == int(commit.position.logs[log.log_id]["0"][0]) + 1
            states.append(now)


def look(reader: IcebergSink) -> dict[str, Any]:
    head = reader.head()
    return {
        "rows": len(landed(reader.lake)),
        "letters": len(set_aside(reader.lake)),
        "totals": totals_of(head),
        "position": head.position,
    }


class Crash(BaseException):
    """The process is gone."""


def dies_before(send: Callable[[], Any]) -> Any:
    raise Crash


def dies_after(send: Callable[[], Any]) -> Any:
    send()
    raise Crash


@pytest.mark.prop(15)
@settings(max_examples=20)
@given(
    values=st.lists(records, min_size=1, max_size=14),
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    deaths=st.lists(st.sampled_from([dies_before, dies_after, None]), max_size=8),
)
def test_a_restart_neither_loses_nor_repeats(values: list[bytes | None], cuts: list[int], deaths: list[Callable[..., Any] | None]) -> None:
    with scratch() as root:
        log, lives, deaths = ListLog({"0": list(values)}), 0, list(deaths)
        done = False
        while not done:
            sink, keys = sink_and_keys(root)
            sink.lake.raw(ORDERS)
            sink.lake.dead_letters()
            catalog = fated(sink.lake)
            lives += 1
            try:
                while not done:
                    fate = deaths.pop() if deaths else None
                    catalog.fates = [fate] if fate else []
                    done = pump(log, Judge(), keys, sink, limit=cuts[lives % len(cuts)]) is None
            except Crash:
                continue
        assert [row["_offset"] for row in landed(sink.lake)] == sorted(expected(values))
        assert sorted(letter["_offset"] for letter in set_aside(sink.lake)) == sorted(set(range(len(values))) - set(expected(values)))
        assert totals_of(sink.head())[0] == len(values)
        assert sink.head().position.last(log.log_id, "0") == len(values) - 1


@pytest.mark.prop(42)
@settings(max_examples=10)
@given(st.lists(st.one_of(st.lists(records, min_size=1, max_size=3), st.sampled_from(["maintain", "expire"])), min_size=1, max_size=10))
def test_every_commit_is_in_the_audit_log(steps: list[Any]) -> None:
    with scratch() as root:
        sink, keys = sink_and_keys(root)
        lake, log, commits = sink.lake, ListLog(), []
        name = lake.raw_name(ORDERS)
        for step in steps:
            if step == "maintain":
                done = swap(lake, lake.raw(ORDERS), Change("maintenance"))
                commits.append((done.snapshot.snapshot_id, "maintenance", 0, 0))
            elif step == "expire":
                IcebergDeadLetters(lake, lag=0).adopt(sink)  # what is not adopted is not expired
                expire(lake, name, keep=1, hourly_for=timedelta())
                assert len(lake.raw(ORDERS).snapshots()) <= 1
            else:
                log.append(*step)
                commit = pump(log, Judge(), keys, sink)
                assert commit is not None
                commits.append((commit.version, "pump", commit.landed, len(step)))
        entries = history(lake, name)
        told = [(one.snapshot_id, one.kind, one.as_dict()["rows_added"], one.moved.records if one.moved else 0) for one in entries]
        assert told == commits
        assert all(one.position is not None and one.markers is not None and one.markers.writer for one in entries)


# ---------------------------------------------------------------- the same key: other content, the same content in other bytes

NESTED = Contract(
    "visits",
    "1",
    (
        Field("id", "/id", "string", required=True),
        Field("at", "/at", "timestamp", required=True),
        Field("n", "/n", "number"),
        Field("price", "/price", "decimal", precision=12, scale=2),
        Field(
            "who",
            "/who",
            "object",
            fields=(Field("name", "/who/name", "string"), Field("tags", "/who/tags", "array", items=Field("*", "/who/tags/*", "string"))),
        ),
        Field("payload", "/payload", "json"),
    ),
    key=("/id", "/who/name"),
    event_time="/at",
)
texts = st.sampled_from(["", "a", "ä", "\x00", "longer than most texts here"])
plain_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), texts),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
visits = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b"]), "at": st.integers(0, 2).map(lambda day: (NOON - timedelta(days=day)).isoformat())},
    optional={
        "n": st.sampled_from([0, 1.5, -0.0, 1e300]),
        "price": st.sampled_from([1, 2.5, 0]),
        "who": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {}, optional={"name": st.sampled_from(["x", None]), "tags": st.one_of(st.none(), st.lists(texts, max_size=2))}
            ),
        ),
        "payload": plain_json,
        "unknown": plain_json,
    },
)


def spelled(value: Any, rotate: int, indent: int | None) -> bytes:
    """The same JSON value in other bytes: members in another order, other white space, escaped text."""

    def turned(node: Any) -> Any:
        if isinstance(node, dict):
            pairs = [(name, turned(member)) for name, member in node.items()]
            return dict(pairs[rotate % len(pairs) :] + pairs[: rotate % len(pairs)]) if pairs else {}
        return [turned(item) for item in node] if isinstance(node, list) else node

    return json.dumps(turned(value), indent=indent, ensure_ascii=indent is None).encode()


@settings(max_examples=25)
@given(visit=visits, rotate=st.integers(0, 5), indent=st.sampled_from([None, 2]))
def test_the_same_event_in_other_bytes_is_a_duplicate(visit: dict[str, Any], rotate: int, indent: int | None) -> None:
    with scratch() as root:
        sink, keys = sink_and_keys(root, NESTED)
        log = ListLog({"0": [spelled(visit, 0, None), spelled(visit, rotate, indent)]})
        for limit in (1, 1):
            commit = pump(log, PythonProcessor(NESTED), keys, sink, limit=limit)
        assert commit is not None
        assert (commit.duplicates, commit.dead) == (1, 0)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(visits, st.integers(0, 5), st.sampled_from([None, 2])), min_size=1, max_size=8),
    st.integers(1, 4),
    st.sampled_from([1, 1 << 20]),
)
def test_the_index_of_the_table_decides_as_record_by_record(drawn: list[Any], cut: int, max_bytes: int) -> None:
    """The vectorised index, with a cache that holds everything or nothing, against the plain one in memory.

    Without a cache only the partitions of a batch are looked at, so there a key has one event time.
    """
    with scratch() as root:
        days = {} if max_bytes > 1 else {"at": NOON.isoformat()}
        values: list[bytes | None] = [spelled(visit | days, rotate, indent) for visit, rotate, indent in drawn]
        sink, keys = sink_and_keys(root, NESTED, max_bytes=max_bytes)
        memory, oracle, judge = MemorySink(), MemoryKeys(NESTED), PythonProcessor(NESTED)
        for first in range(0, len(values), cut):
            judged = judge(raw_batch(values[first : first + cut], first=first))
            head, other = sink.head(), memory.head()
            mine, theirs = keys.decide(judged, head), oracle.decide(judged, other)
            for name in ("rows", "dead", "duplicates"):
                assert getattr(mine, name).to_pylist() == getattr(theirs, name).to_pylist(), name
            keys.advance(head, sink.append(mine, head))
            memory.append(theirs, other)
        assert max_bytes > 1 or len(keys) == 0, "nothing fits, nothing is kept"
