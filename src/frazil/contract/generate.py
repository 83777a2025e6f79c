"""Synthetic events from a contract: believable, deterministic, and exact about what is wrong with them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from frazil.contract import Contract, Field
from frazil.contract.faults import Spoil, kinds
from frazil.contract.sample import HOUR_US, Draw, ObjectMaker
from frazil.errors import ConfigError, ContractError

MOST_LATE_HOURS = 72
_RECENT = 4096  # a duplicate repeats one of so many events before it


@dataclass(slots=True)
class Tally:
    """What was generated so far. total == plain + late + duplicate + invalid; `kinds` splits invalid by code."""

    total: int = 0
    plain: int = 0
    late: int = 0
    duplicate: int = 0
    invalid: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def distinct(self) -> int:
        """Events that land once each: plain and late ones."""
        return self.plain + self.late


class Generator:
    """Events of one contract.

    Of N events exactly round(N x share) are each of: `invalid` (spread evenly over every kind of violation the contract can
    have, see `faults.kinds`), `late` (1 to 72 whole hours), `duplicate` (an earlier good event again, byte for byte or with
    its members in another order). The same contract, seed, shares, count and `now` give the same bytes.

    Args:
        seed: Any number.
        invalid: Share of events that break the contract, 0 to 1.
        late: Share that is late but good.
        duplicate: Share that was sent before. Needs a key.

    Raises:
        ConfigError: Shares below 0 or above 1 together.
        ContractError: `contract.no_sample`: the rules leave no value; `contract.no_key`: duplicates without a key.
    """

    def __init__(self, contract: Contract, *, seed: int = 0, invalid: float = 0.0, late: float = 0.0, duplicate: float = 0.0) -> None:
        if min(invalid, late, duplicate) < 0 or invalid + late + duplicate > 1:
            raise ConfigError(
                "shares must be at least 0 and at most 1 together", hint="lower --invalid, --late or --duplicate", invalid=invalid
            )
        if duplicate and not contract.key:
            raise ContractError(
                f"contract {contract.name} has no key: a repeated event is a new one",
                code="contract.no_key",
                hint="leave --duplicate out, or give it a key",
            )
        self.contract = contract
        self.tally = Tally()
        self.shares = (invalid, late, duplicate)
        self._draw = Draw(f"{contract.name}/{seed}")
        self._whole = ObjectMaker(contract.fields, contract, _unique(contract), self._draw.rng)
        self._kinds: list[tuple[str, list[Spoil]]] = list(kinds(contract, self._whole, self._draw.rng).items()) if invalid else []
        self._recent: deque[list[str]] = deque(maxlen=_RECENT)

    @property
    def codes(self) -> list[str]:
        """The kinds of violation that invalid events are spread over."""
        return [code for code, _ in self._kinds]

    def events(self, count: int, *, now: datetime) -> Iterator[bytes]:
        """`count` lines of NDJSON, each with its newline; `tally` grows with them. Event times are spread over the hour before `now`.

        May be called once per generator.
        """
        left = [round(count * share) for share in self.shares]
        left[2] = min(left[2], max(count - left[0] - 1, 0))  # the first good event repeats nothing
        left.append(count - sum(left))
        if left[3] < 0:  # rounding up of all three
            left[1] += left[3]
            left[3] = 0
        start = int((now - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) - HOUR_US
        make = (self._invalid, self._late, self._repeated, self._plain)
        for index in range(count):
            self._draw.index = index
            self._draw.at_us = start + index * HOUR_US // count
            role = self._role(left, count - index)
            left[role] -= 1
            self.tally.total += 1
            yield make[role]()

    def _role(self, left: list[int], remaining: int) -> int:
        """Which kind comes next, each as likely as it is still due: all come out exactly."""
        at = self._draw.random() * remaining
        for role in (0, 1, 2):
            at -= left[role]
            if at < 0 and left[role]:
                return role if role != 2 or self._recent else self._without_duplicate(left)
        return 3 if left[3] else max((0, 1, 2), key=left.__getitem__)

    def _without_duplicate(self, left: list[int]) -> int:
        """Nothing can be repeated yet: a good event first."""
        return 3 if left[3] else 1 if left[1] else 0

    def _plain(self) -> bytes:
        self.tally.plain += 1
        return self._good()

    def _late(self) -> bytes:
        self.tally.late += 1
        # Whole hours keep times distinct: within its hour each event has a place of its own.
        self._draw.at_us -= self._draw.rng.randint(1, MOST_LATE_HOURS) * HOUR_US
        return self._good()

    def _good(self) -> bytes:
        parts = self._whole.parts(self._draw)
        self._recent.append(parts)
        return ("{" + ",".join(parts) + "}\n").encode()

    def _repeated(self) -> bytes:
        self.tally.duplicate += 1
        parts = self._recent[int(self._draw.random() * len(self._recent))]
        if self._draw.random() < 0.5:
            parts = self._draw.rng.sample(parts, len(parts))
        return ("{" + ",".join(parts) + "}\n").encode()

    def _invalid(self) -> bytes:
        code, ways = self._kinds[self.tally.invalid % len(self._kinds)]
        self.tally.invalid += 1
        self.tally.kinds[code] += 1
        return ways[int(self._draw.random() * len(ways))](self._draw) + b"\n"


def _unique(contract: Contract) -> str | None:
    """Pointer of the key field that a counter must keep distinct; None when a uuid or the event's own time does."""
    fields = {one.path: one for one in contract.walk()}
    keyed: list[Field] = [fields[pointer] for pointer in contract.key]
    if not keyed or any(one.kind in ("uuid", "timestamp") for one in keyed):
        return None
    for one in keyed:
        if one.kind in ("string", "integer"):
            return one.path
    raise ContractError(
        f"the key of {contract.name} leaves no room for distinct generated keys",
        code="contract.no_sample",
        hint="use a key with a uuid, a string, an integer or a timestamp",
    )
