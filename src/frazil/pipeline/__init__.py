"""Pipelines: named steps that run in order, with state, log and retries; started by a person, a clock or a new snapshot.

What a step does is handed to the runner as an action, so that this package knows the order of work and nothing of the work.
This file, `store` and `news` need nothing but the standard library and Iceberg's metadata: an Airflow without the platform
reads the same runs and the same heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from frazil.errors import ConfigError

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled", "interrupted"]
"""interrupted: the process that ran it ended without a word; the scheduler takes it up again."""
StepState = Literal["waiting", "running", "succeeded", "failed", "skipped", "blocked", "cancelled", "interrupted"]
"""skipped: nothing to do here, `message` says why · blocked: a step it needs failed."""

ENDED: Final = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Step:
    """One step. It starts when all it `needs` succeeded or were skipped.

    `pins`: the heads of the raw tables are noted before it starts: what they hold is what this run covers.
    """

    name: str
    needs: tuple[str, ...] = ()
    pins: bool = False


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps in an order in which they may run."""

    name: str
    about: str
    steps: tuple[Step, ...]

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """The named steps in the pipeline's order; all of them for no name.

        Raises:
            ConfigError: `pipeline.unknown_step`; names the known.
        """
        known = [step.name for step in self.steps]
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"pipeline {self.name} has no step {name[:80]!r}",
                    code="pipeline.unknown_step",
                    hint=f"its steps: {', '.join(known)}",
                    step=name[:80],
                )
        return tuple(name for name in known if not names or name in names)


def _in_order(*names: str, pins: str) -> tuple[Step, ...]:
    needs = [(), *((name,) for name in names[:-1])]
    return tuple(Step(name, need, name == pins) for name, need in zip(names, needs, strict=True))


PIPELINES: Final = {
    one.name: one
    for one in (
        Pipeline(
            "pipeline",
            "everything, from the log to what a dashboard reads",
            _in_order("ingest", "process", "catalog", "transform", "quality", "update_dashboard", pins="catalog"),
        ),
        Pipeline("transform", "staging, intermediate models and marts", _in_order("transform", pins="transform")),
        Pipeline("quality", "checks of what landed and of the marts", _in_order("quality", pins="quality")),
        Pipeline("maintain", "upkeep of tables and logs", _in_order("maintain", pins="")),
    )
}
"""The pipelines by name: what `frazil run` and `POST /trigger` start."""


def find(name: str) -> Pipeline:
    """A pipeline by name. Raises ConfigError `pipeline.unknown`, which names the known."""
    if name not in PIPELINES:
        known = ", ".join(PIPELINES)
        raise ConfigError(f"no pipeline {name[:80]!r}", code="pipeline.unknown", hint=f"known pipelines: {known}", pipeline=name[:80])
    return PIPELINES[name]
