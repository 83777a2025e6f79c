"""Deduplication in the kernel: exact inside a batch, by 128 bits against a cache, equality by typed values."""

from __future__ import annotations

import uuid
from typing import Any

import data_processor_rs as kernel
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

TEXT_CODE = pa.dictionary(pa.int32(), pa.string())
PARTS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab", "é"]))
PAIRS = st.lists(st.tuples(PARTS, st.one_of(st.none(), st.integers(0, 2))), max_size=40)


def batch(pairs: list[tuple[str | None, int | None]], text: pa.DataType = TEXT_CODE) -> pa.RecordBatch:
    arrays = [pa.array([a for a, _ in pairs], text), pa.array([b for _, b in pairs], pa.int64()), pa.array(range(len(pairs)), pa.int64())]
    return pa.record_batch(arrays, names=["a", "b", "row"])


def rows_left(rows: pa.RecordBatch, key: list[str]) -> list[int]:
    return pa.record_batch(kernel.deduplicate(rows, key)).column("row").to_pylist()


def firsts(keys: list[Any]) -> list[int]:
    return [at for at, key in enumerate(keys) if key not in keys[:at]]


@given(PAIRS, st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), TEXT_CODE]))
def test_the_first_of_each_key_stays_in_order(pairs: list[tuple[str | None, int | None]], text: pa.DataType) -> None:
    assert rows_left(batch(pairs, text), ["a", "b"]) == firsts(pairs)
    assert rows_left(batch(pairs, text), ["a"]) == firsts([a for a, _ in pairs])


@given(PAIRS)
def test_deduplicating_twice_is_deduplicating_once(pairs: list[tuple[str | None, int | None]]) -> None:
    once = kernel.deduplicate(batch(pairs), ["a", "b"])
    assert rows_left(pa.record_batch(once), ["a", "b"]) == rows_left(batch(pairs), ["a", "b"])


@given(PAIRS, st.integers(0, 40))
def test_a_cut_and_a_cache_find_the_duplicates_of_the_whole(pairs: list[tuple[str | None, int | None]], cut: int) -> None:
    cut = min(cut, len(pairs))
    head, tail = batch(pairs[:cut]), batch(pairs[cut:], pa.string())
    cache = kernel.KeyCache()
    cache.add(head, ["a", "b"], 7)
    first, tag = (pa.array(x).to_pylist() for x in cache.probe(tail, ["a", "b"]))
    for at, pair in enumerate(pairs[cut:]):
        assert tag[at] == (7 if pair in pairs[:cut] else -1)
        assert first[at] == (pairs[cut:].index(pair) if pair in pairs[cut : cut + at] else -1)


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=12), max_size=6), st.sets(st.integers(0, 5)))
def test_a_cache_is_a_map_from_key_to_its_first_tag(added: list[list[int | None]], kept: set[int]) -> None:
    cache, model = kernel.KeyCache(), dict[int | None, int]()
    uuids = {n: uuid.UUID(int=n << 64 | 5).bytes for n in range(10)}

    def spelled(keys: list[int | None]) -> pa.RecordBatch:
        return pa.record_batch([pa.array([None if n is None else uuids[n] for n in keys], pa.binary(16))], names=["id"])

    for tag, keys in enumerate(added):
        cache.add(spelled(keys), ["id"], tag)
        for key in keys:
            model.setdefault(key, tag)
    everything: list[int | None] = [None, *range(10)]
    assert len(cache) == len(model)
    assert pa.array(cache.probe(spelled(everything), ["id"])[1]).to_pylist() == [model.get(key, -1) for key in everything]
    cache.retain(sorted(kept))
    model = {key: tag for key, tag in model.items() if tag in kept}
    assert len(cache) == len(model)
    assert pa.array(cache.probe(spelled(everything), ["id"])[1]).to_pylist() == [model.get(key, -1) for key in everything]


def test_a_cache_stays_within_fifty_bytes_per_key() -> None:
    cache = kernel.KeyCache()
    for tag in range(10):
        ids = pa.array([uuid.UUID(int=tag * 20_000 + at).bytes for at in range(20_000)], pa.binary(16))
        cache.add(pa.record_batch([ids], names=["id"]), ["id"], tag)
    assert len(cache) == 200_000
    assert cache.size_bytes < 200_000 * 50
    cache.retain([3])
    assert len(cache) == 20_000
    assert cache.size_bytes < 20_000 * 50


def test_parts_of_a_key_do_not_run_together() -> None:
    rows = pa.record_batch([pa.array(["ab", "a", "a"]), pa.array(["c", "bc", None]), pa.array([0, 1, 2])], names=["a", "b", "row"])
    assert rows_left(rows, ["a", "b"]) == [0, 1, 2]


def test_without_a_key_nothing_is_a_duplicate() -> None:
    rows = batch([("a", 1), ("a", 1)])
    assert rows_left(rows, []) == [0, 1]
    cache = kernel.KeyCache()
    cache.add(rows, [], 1)
    assert [pa.array(x).to_pylist() for x in cache.probe(rows, [])] == [[-1, -1], [-1, -1]]


def test_a_nested_key_is_named_with_dots() -> None:
    context = pa.array([{"country": "de"}, {"country": "fr"}, None, {"country": "de"}, {"country": None}])
    rows = pa.record_batch([context, pa.array(range(5))], names=["context", "row"])
    assert rows_left(rows, ["context.country"]) == [0, 1, 2]  # a missing parent is a missing child


@pytest.mark.prop(12)
def test_an_unknown_key_column_is_named_with_the_known_ones() -> None:
    with pytest.raises(kernel.PlanError) as caught:
        kernel.deduplicate(batch([]), ["c"])
    assert caught.value.code == "key.unknown_column"
    assert caught.value.context["column"] == "c"
    assert "a, b, row" in caught.value.hint


def test_a_nested_column_is_no_key() -> None:
    rows = pa.record_batch([pa.array([{"x": 1}])], names=["s"])
    with pytest.raises(kernel.PlanError, match="nested"):
        kernel.deduplicate(rows, ["s"])


LEFT = {
    "text": pa.array(["a", None, "b"], TEXT_CODE),
    "number": pa.array([float("nan"), 0.0, 1.5]),
    "nested": pa.array([{"x": 1, "y": "p"}, None, {"x": None, "y": "q"}], pa.struct([("x", pa.int32()), ("y", TEXT_CODE)])),
    "list": pa.array([["a", None], [], None], pa.list_(pa.string())),
    "id": pa.array([b"0" * 16, None, b"1" * 16], pa.binary(16)),
}
RIGHT = {
    "text": pa.array(["a", None, "b"], pa.large_string()),
    "number": pa.array([float("nan"), -0.0, 1.5]),
    "nested": pa.array(
        [{"x": 1, "y": "p", "z": None}, None, {"x": None, "y": "q", "z": None}],
        pa.struct([("x", pa.int64()), ("y", pa.string()), ("z", pa.bool_())]),
    ),
    "list": pa.array([["a", None], [], None], pa.large_list(pa.large_string())),
    "id": pa.array([b"0" * 16, None, b"1" * 16], pa.binary(16)),
}


def equal(left: pa.RecordBatch, right: pa.RecordBatch, columns: list[str]) -> list[bool]:
    return pa.array(kernel.equal_rows(left, right, columns)).to_pylist()


@pytest.mark.parametrize("name", sorted(LEFT))
def test_equality_is_of_values_not_of_layout(name: str) -> None:
    left, right = pa.record_batch(LEFT), pa.record_batch(RIGHT)
    assert equal(left, right, [name]) == [True, True, True]
    turned = right.take(pa.array([1, 2, 0]))
    assert equal(left, turned, [name]) == [False, False, False]


def test_one_different_column_makes_the_row_different() -> None:
    left = pa.record_batch(LEFT)
    right = left.set_column(0, "text", pa.array(["a", "x", "b"], TEXT_CODE))
    assert equal(left, right, sorted(LEFT)) == [True, False, True]
    assert equal(left, right, ["number", "id"]) == [True, True, True]


def test_equality_sees_slices() -> None:
    left = pa.record_batch(LEFT)
    assert equal(left.slice(1), pa.record_batch(RIGHT).slice(1), sorted(LEFT)) == [True, True]


def test_other_types_and_counts_are_errors() -> None:
    left = pa.record_batch(LEFT)
    with pytest.raises(kernel.PlanError) as caught:
        equal(left, left.set_column(0, "text", pa.array([1, 2, 3])), ["text"])
    assert caught.value.code == "key.type_mismatch"
    with pytest.raises(kernel.PlanError) as caught:
        equal(left, left.slice(1), ["text"])
    assert caught.value.code == "key.row_count"


@given(st.lists(PAIRS, max_size=5))
def test_fresh_rows_are_those_whose_key_no_batch_before_had(batches: list[list[tuple[str | None, int | None]]]) -> None:
    cache, seen = kernel.KeyCache(), []
    for tag, pairs in enumerate(batches):
        kept = pa.record_batch(cache.fresh(batch(pairs), ["a", "b"], tag)).column("row").to_pylist()
        assert kept == [at for at, key in enumerate(pairs) if key not in seen and key not in pairs[:at]]
        seen += pairs
    assert len(cache) == len(set(seen))
