"""The laws of the commit protocol on the real sink, log, follower, repair, rewind, retention and upkeep.

A state machine draws what happens next: records, pumps, replays, undos, discards, rewinds, adoptions, upkeep, restarts,
other contracts, refused, lost and late commits, kills and races between any two steps. All laws are checked whenever
something was committed. `EXAMPLES=2000` for a night.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from frazil.errors import CommitConflict, Unavailable
from frazil.table import commit
from tests.actors import Actor, DiskLog
from tests.laws import Laws, lineage, rows_of
from tests.world import World, mended, thing

EXAMPLES = int(os.environ.get("EXAMPLES", "16"))
STEPS = 30
WEIGHTS = {
    "send": 3, "pump": 6, "replay": 4, "undo": 2, "discard": 1, "rewind": 2, "adopt": 2, "compact": 1, "expire": 1, "retain": 1,
    "refresh_mart": 1, "change_contract": 2, "weather": 2, "late_request": 2, "restart": 1, "go_on": 8, "kill": 1,
}  # fmt: skip

small = st.integers(0, 3)
values = st.one_of(st.none(), *(st.builds(thing, st.sampled_from(keys), small) for keys in ("ab", "abcdef")))


class Protocol(RuleBasedStateMachine):
    """What the model's machine draws, done by the real thing. Two partitions with gaps in memory, or one on disk."""

    on_disk = False

    def __init__(self) -> None:
        super().__init__()
        self._wait = commit.FIRST_WAIT_S
        commit.FIRST_WAIT_S = 0.0
        self.place = tempfile.TemporaryDirectory()
        root = Path(self.place.name)
        self.world = World(root, log=DiskLog(root / "log") if self.on_disk else None)
        self.laws = Laws(self.world)
        self.actors: list[Actor] = []

    @initialize(data=st.data())
    def begin(self, data: Any) -> None:
        self.send(data.draw)

    @rule(data=st.data())
    def act(self, data: Any) -> None:
        """One rule draws what happens next, so no example goes without replays, undos or rewinds."""
        chosen = data.draw(st.sampled_from([name for name, weight in WEIGHTS.items() for _ in range(weight)]))
        getattr(self, chosen)(data.draw)

    # ------------------------------------------------------------ what may happen

    def send(self, draw: Any) -> None:
        self.world.send(*draw(st.lists(values, min_size=1, max_size=4)), partition=draw(st.integers(0, 1)))
        if not self.on_disk and draw(st.sampled_from([False, False, True])):
            self.world.log.skip(1, partition=str(draw(st.integers(0, 1))))

    def change_contract(self, draw: Any) -> None:
        self.world.limit = draw(small)

    def weather(self, draw: Any) -> None:
        self.world.weather.fate = draw(st.sampled_from(["refused", "lost", "late"]))

    def pump(self, draw: Any) -> None:
        keys, limit = draw(st.integers(0, 1)), draw(st.integers(1, 5))
        self.start(draw, lambda: self.world.pump(keys, limit))

    def replay(self, draw: Any) -> None:
        found = self.world.open()
        if not found:
            return
        wanted = frozenset(draw(st.lists(st.sampled_from(found), min_size=1, max_size=3)))
        mend = mended(draw(st.sampled_from([None, None, "a", "c", "z"])), draw(st.sampled_from([0, 0, 1, 3])))
        name = draw(st.sampled_from("rs"))
        for _ in range(draw(st.integers(1, 2))):  # the same replay twice, or beside itself
            keys = draw(st.integers(0, 1))
            self.start(draw, lambda keys=keys: self.world.replay(wanted, mend, name, keys))

    def undo(self, draw: Any) -> None:
        chain = lineage(self.world)
        ids = sorted({row["_replay"] for row in rows_of(chain[-1]).values() if row["_replay"]}) if chain else []
        if ids:
            name = draw(st.sampled_from(ids))
            self.start(draw, lambda: self.world.undo(name))

    def discard(self, draw: Any) -> None:
        modulus = draw(st.integers(2, 3))
        wanted = frozenset(place for place in self.world.sent if place.offset % modulus == 0)
        self.start(draw, lambda: self.world.discard(wanted))

    def rewind(self, draw: Any) -> None:
        back = draw(st.integers(1, 5))
        self.start(draw, lambda: self.world.rewind(back))

    def adopt(self, draw: Any) -> None:
        self.start(draw, self.world.adopt)

    def compact(self, draw: Any) -> None:
        self.start(draw, self.world.compact if draw(st.booleans()) else self.world.compact_letters)

    def expire(self, draw: Any) -> None:
        keep = draw(st.integers(1, 4))
        self.start(draw, lambda: self.world.expire(keep))

    def retain(self, draw: Any) -> None:
        behind = draw(small)
        self.start(draw, lambda: self.world.retain(behind))

    def refresh_mart(self, draw: Any) -> None:
        self.laws.mart()

    def restart(self, draw: Any) -> None:
        self.world.restart()

    # ------------------------------------------------------------ who moves next

    def start(self, draw: Any, work: Callable[[], object]) -> None:
        actor = Actor(work)
        self.actors.append(actor)
        if draw(st.booleans()):
            while self.step(actor):
                pass

    def step(self, actor: Actor) -> bool:
        try:
            going = actor.step()
        except (CommitConflict, Unavailable):
            going = False
        if not going:
            self.actors.remove(actor)
        return going

    def go_on(self, draw: Any) -> None:
        if self.actors:
            actor = draw(st.sampled_from(self.actors))
            for _ in range(draw(st.integers(1, 6))):
                if not self.step(actor):
                    break

    def kill(self, draw: Any) -> None:
        if self.actors:
            self.actors.pop(draw(st.integers(0, len(self.actors) - 1))).kill()

    def late_request(self, draw: Any) -> None:
        waiting = len(self.world.weather.in_flight)
        if waiting:
            at = draw(st.integers(0, waiting - 1))
            if draw(st.sampled_from([True, True, False])):
                self.world.weather.deliver(at)
            else:
                del self.world.weather.in_flight[at]

    # ------------------------------------------------------------ laws

    @invariant()
    def laws_hold(self) -> None:
        self.laws.hold(quick=True)

    def teardown(self) -> None:
        """Quiescence: actors die, late requests arrive, one pump and one adopter finish the work."""
        try:
            for actor in self.actors:
                actor.kill()
            while self.world.weather.in_flight:
                self.world.weather.deliver()
            self.world.weather.fate = "ok"
            self.world.restart()
            self.world.drain(limit=5)
            self.world.letters.lag = 1
            self.world.adopt()
            self.laws.hold()
            self.laws.mart()
            self.laws.adopted()
            head = self.world.head()
            assert all(place.offset <= (head.position.last(place.log, place.partition) or 0) for place in self.world.sent), "none pending"
        finally:
            commit.FIRST_WAIT_S = self._wait
            self.world.close()
            self.place.cleanup()


class ProtocolOnDisk(Protocol):
    """The same on the embedded log."""

    on_disk = True


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck), database=None)


Protocol.TestCase.settings = _settings(EXAMPLES)
ProtocolOnDisk.TestCase.settings = _settings(max(1, EXAMPLES // 3))


@pytest.mark.prop(3)
@pytest.mark.prop(15)
@pytest.mark.prop(42)
class TestProtocol(Protocol.TestCase):  # type: ignore[misc,valid-type]
    """Property 3: a job only moves forward; 15: positions survive; 42: every commit is in the audit log."""


@pytest.mark.prop(15)
class TestProtocolOnDisk(ProtocolOnDisk.TestCase):  # type: ignore[misc,valid-type]
    """Property 15 on the embedded log."""
