"""When to commit: soon enough to be seen, seldom enough to keep files large. Pure: the time is an argument."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cadence:
    """Times in seconds of one monotonic clock.

    `full`: records that make a batch worth committing at once. `max_delay`: longest wait of a record before its commit
    begins. `gather`: shortest wait after an idle time, so that a burst becomes one commit.
    """

    full: int
    max_delay: float
    gather: float = 0.1

    def due(self, waiting: int, first_seen: float, last_commit: float | None) -> float:
        """The moment at which what waits is to be committed.

        Laws: a full batch is due at once; no record waits longer than `max_delay`; two commits of less than a full batch
        never begin within `max_delay` of each other, unless the second's records came earlier.
        """
        if waiting >= self.full:
            return first_seen
        earliest = first_seen + min(self.gather, self.max_delay)
        if last_commit is not None:
            earliest = max(earliest, last_commit + self.max_delay)
        return min(earliest, first_seen + self.max_delay)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential waiting with full jitter: the n-th wait (from 0) lies in [half, whole] of `first` * 2**n, at most `longest` seconds."""

    first: float = 0.2
    longest: float = 30.0

    def wait(self, attempt: int, *, chance: float | None = None) -> float:
        """Seconds to wait; `chance` in [0, 1) stands in for randomness in tests."""
        whole = min(self.longest, self.first * float(2 ** min(attempt, 30)))
        return whole * (0.5 + 0.5 * (random.random() if chance is None else chance))
