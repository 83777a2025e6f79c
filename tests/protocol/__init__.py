"""Scenarios of the commit protocol: races and crashes in the order that hurts, and the tools they are told with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from frazil.errors import CommitConflict
from tests.actors import Actor
from tests.laws import Laws
from tests.world import World

Scenario = Callable[[World, Laws], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(check: Scenario) -> Scenario:
    SCENARIOS[check.__name__] = check
    return check


def until(actor: Actor, touches: int) -> Actor:
    """The actor moved so many touches of catalog or log; it is alive then."""
    for _ in range(touches):
        assert actor.step()
    return actor


def before_its_commit(world: World, work: Callable[[], object], what: str = "commit") -> Actor:
    """The actor stopped right before its swap of the raw table, or before another touch."""
    actor = Actor(work)
    while actor.step():
        if world.weather.last == what:
            return actor
    raise AssertionError(f"it never came to a {what}")


def lose(actor: Actor) -> None:
    with pytest.raises(CommitConflict):
        actor.finish()


def rest(world: World, laws: Laws) -> None:
    """Everything comes to rest, and every law holds."""
    while world.weather.in_flight:
        world.weather.deliver()
    world.weather.fate = "ok"
    world.restart()
    world.drain()
    world.letters.lag = 1
    world.adopt()
    laws.hold()
    laws.mart()
    laws.adopted()
