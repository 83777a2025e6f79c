"""Files cut into requests: no record lost, changed or reordered, each with the place it came from."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.cli.pieces import Cut, Piece
from frazil.errors import ConfigError

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=4)
limits = st.tuples(st.integers(1, 5), st.integers(1, 200))


def pieces_of(path: Path, cut: Cut, format: str | None = None) -> list[Piece]:
    return list(cut.pieces(str(path), format))


@given(st.lists(st.one_of(objects.map(lambda o: json.dumps(o).encode()), st.just(b""), st.just(b"not json"), st.just(b" \t"))), limits)
def test_lines_travel_byte_for_byte_with_their_numbers(tmp_path: Path, lines: list[bytes], limit: tuple[int, int]) -> None:
    file = tmp_path / "x.ndjson"
    file.write_bytes(b"\n".join(lines))
    sent = [(r, p) for piece in pieces_of(file, Cut(*limit)) for r, p in zip(piece.records, piece.places, strict=True)]
    assert sent == [(line.strip(), f"{file}:{n}") for n, line in enumerate(lines, 1) if line.strip()]


@given(st.lists(values, min_size=1, max_size=12), st.sampled_from([None, 2]), limits)
def test_elements_of_an_array_travel_as_they_stand(
    tmp_path: Path, elements: list[object], indent: int | None, limit: tuple[int, int]
) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(elements, indent=indent, ensure_ascii=False))
    pieces = pieces_of(file, Cut(*limit))
    assert all(piece.format == "json" for piece in pieces)
    assert [one for piece in pieces for one in json.loads(piece.body)] == elements
    assert [p for piece in pieces for p in piece.places] == [f"{file}[{i}]" for i in range(len(elements))]
    assert "".join(r.decode() for piece in pieces for r in piece.records) in file.read_text() or len(elements) > 1


@given(st.lists(objects, min_size=1, max_size=20), limits)
def test_pieces_keep_their_bounds(tmp_path: Path, records: list[object], limit: tuple[int, int]) -> None:
    file = tmp_path / "x.ndjson"
    file.write_text("\n".join(map(json.dumps, records)))
    for piece in pieces_of(file, Cut(*limit)):
        assert 1 <= len(piece.records) <= limit[0]
        assert len(piece.records) == 1 or sum(map(len, piece.records)) <= limit[1]


@pytest.mark.parametrize("content", [b'[{"a": 1}', b"[1,]", b'{"a": 1', b"[1] 2", b"\xff[", b"[" * 100_000])
def test_what_is_no_json_goes_whole_so_that_the_door_says_why(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    pieces = pieces_of(file, Cut())
    assert b"".join(record for piece in pieces for record in piece.records) == content


def test_a_pretty_object_is_one_record(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"a": 1, "b": [1, 2]}, indent=2))
    [piece] = pieces_of(file, Cut())
    assert [json.loads(record) for record in piece.records] == [{"a": 1, "b": [1, 2]}]


def test_lines_in_a_json_file_are_lines(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"a": 1}\n{"a": 2}\n')
    assert [piece.records for piece in pieces_of(file, Cut())] == [[b'{"a": 1}', b'{"a": 2}']]


@pytest.mark.parametrize(("text", "format"), [(b"\n[1, 2]", "json"), (b"{}\n{}", "ndjson")])
def test_stdin_is_told_by_its_first_character(monkeypatch: pytest.MonkeyPatch, text: bytes, format: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    [piece] = Cut().pieces("-", None)
    assert piece.format == format
    assert len(piece.records) == 2


def test_sending_may_start_at_a_line(tmp_path: Path) -> None:
    file = tmp_path / "x.ndjson"
    file.write_text("1\n2\n3\n4\n")
    [piece] = pieces_of(file, Cut(from_line=3))
    assert piece.places == [f"{file}:3", f"{file}:4"]


@pytest.mark.prop(48)
def test_an_unsupported_format_is_named_with_the_known_ones(tmp_path: Path) -> None:
    file = tmp_path / "x.xlsx"
    file.write_bytes(b"PK")
    with pytest.raises(ConfigError) as unnamed:
        pieces_of(file, Cut())
    with pytest.raises(ConfigError) as named:
        pieces_of(file, Cut(), "xml")
    assert "xlsx" in unnamed.value.message
    assert "'xml'" in named.value.message
    assert all(error.value.code == "send.unknown_format" and "ndjson" in error.value.hint for error in (unnamed, named))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        pieces_of(tmp_path / "no.ndjson", Cut())
    assert error.value.code == "send.no_file"


def test_halves_are_the_whole() -> None:
    piece = Piece([b"1", b"2", b"3"], ["a", "b", "c"], "ndjson")
    left, right = piece.halves()
    assert left.records + right.records == piece.records
    assert left.places + right.places == piece.places
