"""A place as text is the place again, whatever the log is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.batch import Place


@given(st.text("ab/+-_.", min_size=1), st.integers(0, 99).map(str), st.integers(0, 2**63 - 1))
def test_a_place_reads_what_it_spells(log: str, partition: str, offset: int) -> None:
    place = Place(log, partition, offset)
    assert Place.parse(str(place)) == place


@pytest.mark.parametrize("text", ["", "a", "a/0", "a/0/x", "a/0/"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Place.parse(text)
