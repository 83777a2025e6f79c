"""Sets of offsets as closed ranges: what books are compared with. Pure.

A log's offsets are nearly contiguous, so millions of positions are a handful of ranges.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

Ranges = tuple[tuple[int, int], ...]
"""Closed ranges, ascending, neither overlapping nor touching."""


def ranges_of(offsets: pa.Array | pa.ChunkedArray) -> Ranges:
    """The distinct offsets (int64, any order) as ranges."""
    if not len(offsets):
        return ()
    flat = pc.unique(offsets)
    ordered = flat.take(pc.sort_indices(flat))
    breaks = pc.indices_nonzero(pc.not_equal(pc.subtract(ordered.slice(1), ordered.slice(0, len(ordered) - 1)), 1)).to_pylist()
    firsts = [0, *(at + 1 for at in breaks)]
    lasts = [*breaks, len(ordered) - 1]
    return tuple((ordered[first].as_py(), ordered[last].as_py()) for first, last in zip(firsts, lasts, strict=True))


def repeated(offsets: pa.Array | pa.ChunkedArray) -> Ranges:
    """Offsets that stand more than once."""
    counted = pc.value_counts(offsets)
    return ranges_of(counted.field("values").filter(pc.greater(counted.field("counts"), 1)))


def joined(*several: Ranges) -> Ranges:
    """Offsets in any of them."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(one for ranges in several for one in ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


def without(ranges: Ranges, gone: Ranges) -> Ranges:
    """Offsets of the first that are not in the second."""
    out: list[tuple[int, int]] = []
    start = 0  # of the holes that can still matter
    for first, last in ranges:
        while start < len(gone) and gone[start][1] < first:
            start += 1
        at, hole = first, start
        while hole < len(gone) and gone[hole][0] <= last:
            if gone[hole][0] > at:
                out.append((at, gone[hole][0] - 1))
            at, hole = gone[hole][1] + 1, hole + 1
        if at <= last:
            out.append((at, last))
    return tuple(out)


def between(ranges: Ranges, first: int, last: int) -> Ranges:
    """Offsets in the closed interval."""
    return tuple((max(a, first), min(b, last)) for a, b in ranges if b >= first and a <= last)


def both(one: Ranges, other: Ranges) -> Ranges:
    """Offsets in both."""
    return without(one, without(one, other))


def count(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in ranges)
