"""A catalog whose next commits meet a fate: what a network, a server or another process can do to a swap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from sqlalchemy.exc import OperationalError

from frazil.table.catalog import Lake

Send = Callable[[], Any]
Fate = Callable[[Send], Any]


class FatedCatalog:
    """Stands before a real catalog. Each call of `commit_table` takes the next fate; without one it goes through."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.fates: list[Fate] = []
        self.late: list[Send] = []
        self.calls = 0
        self.reads_fail = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit_table(self, table: Any, requirements: Any, updates: Any) -> Any:
        self.calls += 1

        def send() -> Any:
            return self.inner.commit_table(table, requirements, updates)

        return self.fates.pop(0)(send) if self.fates else send()

    def load_table(self, identifier: Any) -> Any:
        if self.reads_fail > 0:
            self.reads_fail -= 1
            raise broken()
        return self.inner.load_table(identifier)

    # ---------------------------------------------------------------- fates

    @staticmethod
    def refused(send: Send) -> Any:
        """The server says no, though nothing changed."""
        raise CommitFailedException("refused")

    @staticmethod
    def unsent(send: Send) -> Any:
        """The request never arrived."""
        raise ConnectionResetError("connection reset before the request was read")

    @staticmethod
    def lost(send: Send) -> Any:
        """The commit landed, its answer was lost."""
        send()
        raise TimeoutError("no answer")

    @staticmethod
    def lied(send: Send) -> Any:
        """The commit landed, and a retry below us was refused: the answer says conflict."""
        send()
        raise CommitFailedException("already updated")

    @staticmethod
    def broke(send: Send) -> Any:
        """The commit landed, then the connection to the catalog's database broke."""
        send()
        raise broken()

    def delayed(self, send: Send) -> Any:
        """The request is on its way: it lands when `deliver` is called, if it still can."""
        self.late.append(send)
        raise TimeoutError("no answer")

    def deliver(self) -> list[Exception | None]:
        """Let delayed requests arrive; what each was answered."""
        answers: list[Exception | None] = []
        for send in self.late:
            try:
                send()
                answers.append(None)
            except CommitFailedException as error:
                answers.append(error)
        self.late.clear()
        return answers

    @staticmethod
    def after(first: Callable[[], object]) -> Fate:
        """Something happens between our look at the head and our swap."""

        def fate(send: Send) -> Any:
            first()
            return send()

        return fate


def broken() -> OperationalError:
    return OperationalError("UPDATE", {}, Exception("database is locked"))


def fated(lake: Lake) -> FatedCatalog:
    """Put fates before a lake's catalog."""
    catalog = FatedCatalog(lake.catalog)
    lake.catalog = catalog  # type: ignore[assignment]
    return catalog
