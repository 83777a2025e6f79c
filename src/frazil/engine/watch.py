"""Who hears of a worker's commits and of its end, without a say in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from frazil import lineage
from frazil.settings import Settings
from frazil.sink import Commit

if TYPE_CHECKING:
    from frazil.lineage.landing import Landing


class Watch:
    """Hears nothing. Law: neither call raises or waits."""

    def committed(self, commit: Commit, seconds: float) -> None:
        """A commit landed; `seconds` from reading its batch."""

    def ended(self, error: Mapping[str, Any] | None) -> None:
        """The worker ended; `error` as `FrazilError.as_dict` when it had to."""


class LineageWatch(Watch):
    """Tells lineage."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing

    def committed(self, commit: Commit, seconds: float) -> None:
        from frazil.lineage.landing import Committed
        from frazil.sink.iceberg import LandedFiles

        handle = commit.handle
        if isinstance(handle, LandedFiles) and handle.landed is not None:
            landed, set_aside = handle.landed, commit.dead + commit.duplicates
            self._landing.committed(Committed(landed.table, landed.snapshot, commit.landed, set_aside, seconds, commit.committed_at))

    def ended(self, error: Mapping[str, Any] | None) -> None:
        self._landing.ended(error)


def watch(settings: Settings, contract: str, above: lineage.RunRef | None) -> Watch:
    """The watch over a contract's worker. `above`: the run it works for."""
    sender = lineage.sender(settings)
    if sender is None:
        return Watch()
    from frazil.lineage.landing import Landing

    return LineageWatch(Landing(sender, contract, above))
