"""Runs one run: step after step, retries with growing waits, and every state on disk before the next thing happens."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from frazil import lineage
from frazil.errors import EXIT_FAILED, EXIT_NO, EXIT_OPERATOR, ConfigError, ContractError, FrazilError, Throttled
from frazil.pipeline import Pipeline, Step, StepState
from frazil.pipeline.journal import Journal
from frazil.pipeline.news import Heads
from frazil.pipeline.store import Run, RunStore
from frazil.settings import Settings
from frazil.telemetry import logger

_log = logger("pipeline")


class Skip(Exception):
    """A step has nothing to do in this project; the message says why. What needs it goes on."""


class Stopped(BaseException):
    """The run is to end in the middle of a step. `state`: `cancelled` by a person, `interrupted` to be taken up again."""

    def __init__(self, state: StepState) -> None:
        super().__init__(state)
        self.state = state


class Refuted(FrazilError):
    """A step did its work and the answer is no: checks failed, books do not balance. Trying again would not change it."""

    code, exit_code = "pipeline.refuted", EXIT_NO


class StepFailed(FrazilError):
    """A run ended with a failed step. Exit code and hint are those of the step's error."""

    code = "pipeline.step_failed"

    def __init__(self, message: str, *, hint: str, exit_code: int, run: str, step: str, cause: str) -> None:
        super().__init__(message, hint=hint, run=run, step=step, cause=cause)
        self.exit_code = exit_code  # type: ignore[misc]  # an instance narrows its class's


@dataclass(frozen=True)
class Context:
    """What an action gets: its run, and the results of the steps before it by name."""

    run: Run
    results: Mapping[str, Mapping[str, Any]]


Action = Callable[[Context], Mapping[str, Any]]
"""Does a step's work and returns its result, JSON-ready. Law: doing it again after a kill leaves what doing it once leaves."""


@dataclass(frozen=True)
class Tries:
    """How often a step is tried, and the waits in seconds between: the n-th lies in [half, whole] of `first` * 2**n."""

    attempts: int = 3
    first: float = 1.0
    longest: float = 60.0
    sleep: Callable[[float], object] = time.sleep
    chance: Callable[[], float] = random.random

    def wait(self, failures: int, error: BaseException) -> float:
        whole = min(self.longest, self.first * float(2 ** min(failures - 1, 30)))
        asked = float(error.retry_after) if isinstance(error, Throttled) else 0.0
        return max(asked, whole * (0.5 + 0.5 * self.chance()))


@dataclass
class Runner:
    """Runs what is left of a run. `heads` measures the raw tables, `told` hears of every step's state, lineage of the project's
    (`settings`) runs and steps.

    Laws: a step starts only after all it needs succeeded or were skipped; a failed step blocks what depends on it; a step
    that succeeded is not done again when the run is taken up again; states are durable before what follows from them.
    """

    store: RunStore
    pipeline: Pipeline
    actions: Mapping[str, Action]
    heads: Callable[[], Heads] = dict
    tries: Tries = field(default_factory=Tries)
    journal: Journal | None = None
    told: Callable[[str, StepState, str], None] = lambda name, state, message: None
    settings: Settings | None = None

    def run(self, id: str, only: tuple[str, ...] = ()) -> Run:
        """Run the steps that are not done yet, or just those named, done or not; the run as it is afterwards.

        A run that is driven from outside ends when no step is left; `only` on other runs skips the rest.

        Raises:
            Stopped: Passed on after it was written down.
        """
        wanted = self.pipeline.chosen(only)
        if not any(step.attempts for step in self.store.get(id).steps):
            self._lineage(id, "START")
        try:
            for step in self.pipeline.steps:
                self._visit(id, step, wanted, explicit=bool(only))
        except Stopped as stop:
            self.store.end(id, "cancelled" if stop.state == "cancelled" else "interrupted")
            _log.warning("run stopped", run=id, state=stop.state)
            if stop.state == "cancelled":
                self._lineage(id, "ABORT")
            raise
        return self._ended(id)

    def _visit(self, id: str, step: Step, wanted: tuple[str, ...], *, explicit: bool) -> None:
        run = self.store.get(id)
        outside = run.driver == "outside"
        done = run.step(step.name).state in ("succeeded", "skipped")
        if step.name not in wanted:
            if not outside and not done:
                self._set(id, step.name, "skipped", "not asked for")
            return
        if done and not (explicit and outside):
            return
        if not outside and any(run.step(need).state not in ("succeeded", "skipped") for need in step.needs):
            missing = ", ".join(need for need in step.needs if run.step(need).state not in ("succeeded", "skipped"))
            self._set(id, step.name, "blocked", f"needs {missing}")
            return
        self._attempt(id, step)

    def _attempt(self, id: str, step: Step) -> None:
        before = self.store.get(id).step(step.name)
        if self.journal is not None:
            self.journal.step = step.name
        failures, began = 0, time.monotonic()
        while True:
            attempt, started = before.attempts + failures + 1, time.monotonic()
            self._set(id, step.name, "running", attempts=attempt, error=None)
            try:
                result = self._act(id, step)
            except Skip as reason:
                self._set(id, step.name, "skipped", str(reason))
                return
            except Stopped as stop:
                self._set(id, step.name, stop.state, seconds=before.seconds + time.monotonic() - began)
                raise
            except Exception as error:
                failures += 1
                if self._again(id, step, error, failures, time.monotonic() - started):
                    continue
                return
            seconds = time.monotonic() - began
            facts = {"result": dict(result), "seconds": before.seconds + seconds}
            self._set(id, step.name, "succeeded", str(result.get("said", "")), **facts)
            _log.info("step done", run=id, step=step.name, attempt=attempt, seconds=round(seconds, 3))
            return

    def _act(self, id: str, step: Step) -> Mapping[str, Any]:
        if step.pins:
            self.store.cover(id, self.heads())
        run = self.store.get(id)
        context = Context(run, {one.name: one.result for one in run.steps})
        if self.settings is None:
            return self.actions[step.name](context)
        name = f"{run.pipeline}.{step.name}"
        own = lineage.stable_id(self.settings, "step", id, step.name, run.step(step.name).attempts)
        with lineage.run(self.settings, name, "STEP", run_id=own, above=self._ref(run), calm=(Skip,)):
            return self.actions[step.name](context)

    def _ref(self, run: Run) -> lineage.RunRef:
        """The run in lineage: the same from every process that runs a part of it."""
        assert self.settings is not None
        return lineage.ref(self.settings, run.pipeline, lineage.stable_id(self.settings, "run", run.id), lineage.parent())

    def _lineage(self, id: str, state: Literal["START", "COMPLETE", "ABORT", "FAIL"], error: str | None = None) -> None:
        if self.settings is not None:
            lineage.state_of(self.settings, self._ref(self.store.get(id)), "PIPELINE", state, error)

    def _again(self, id: str, step: Step, error: Exception, failures: int, seconds: float) -> bool:
        """After a failure: True when it is time to try again, False when the step has failed."""
        facts = facts_of(error)
        unexpected = None if isinstance(error, FrazilError) else error
        logged = {"code": facts["code"], "error": facts["message"], "hint": facts["hint"], "facts": facts["context"]}
        if failures < self.tries.attempts and worth_retrying(error):
            wait = self.tries.wait(failures, error)
            _log.warning(
                "step failed; trying again", run=id, step=step.name, attempt=failures, of=self.tries.attempts,
                wait_seconds=round(wait, 2), seconds=round(seconds, 3), **logged, exc_info=unexpected,
            )  # fmt: skip
            self.told(step.name, "running", f"attempt {failures} failed, next in {wait:.1f} s: {facts['message']}")
            try:
                self.tries.sleep(wait)
            except Stopped as stop:
                self._set(id, step.name, stop.state, error=facts)
                raise
            return True
        _log.error(
            "step failed", run=id, step=step.name, attempt=failures, of=self.tries.attempts, seconds=round(seconds, 3),
            **logged, exc_info=unexpected,
        )  # fmt: skip
        told = {"error": {**facts, "exit_code": exit_of(error)}, "seconds": self.store.get(id).step(step.name).seconds + seconds}
        self._set(id, step.name, "failed", str(facts["message"]), **told)
        return False

    def _set(self, id: str, name: str, state: StepState, message: str = "", **facts: Any) -> None:
        self.store.step(id, name, state, message=message, **facts)
        self.told(name, state, message)

    def _ended(self, id: str) -> Run:
        run = self.store.get(id)
        failed = [step for step in run.steps if step.state == "failed"]
        if failed:
            first = failed[0]
            facts = {"step": first.name, **(first.error or {})}
            self.store.end(id, "failed", facts)
        elif all(step.state in ("succeeded", "skipped") for step in run.steps):
            self.store.end(id, "succeeded")
        ended = self.store.get(id)
        if ended.ended:
            say = _log.info if ended.state == "succeeded" else _log.error
            say("run ended", run=id, pipeline=run.pipeline, state=ended.state, seconds=ended.seconds)
            failed_by = None if ended.error is None else f"step {ended.error.get('step')}: {ended.error.get('message')}"
            self._lineage(id, "COMPLETE" if ended.state == "succeeded" else "FAIL" if ended.state == "failed" else "ABORT", failed_by)
        return ended


def worth_retrying(error: Exception) -> bool:
    """Whether waiting may help: not for a wrong setting or contract, an answer that is no, or what an operator has to see."""
    settled = isinstance(error, ConfigError | ContractError | Refuted)
    return not settled and not (isinstance(error, FrazilError) and error.exit_code in (EXIT_NO, EXIT_OPERATOR))


def facts_of(error: Exception) -> dict[str, Any]:
    """An error's code, message, hint, context and retry, ours or not."""
    if isinstance(error, FrazilError):
        return error.as_dict()
    code = getattr(error, "code", None)
    return {
        "code": code if isinstance(code, str) else "pipeline.unexpected",
        "message": f"{type(error).__name__}: {error}",
        "hint": str(getattr(error, "hint", "")),
        "retry": "backoff",
        "context": {},
    }


def exit_of(error: Exception) -> int:
    return error.exit_code if isinstance(error, FrazilError) else EXIT_FAILED


def failure(run: Run) -> StepFailed | None:
    """The error of a run that failed; None for all others."""
    if run.state != "failed" or run.error is None:
        return None
    facts = run.error
    return StepFailed(
        f"step {facts['step']} of {run.pipeline} failed: {facts.get('message', '')}",
        hint=str(facts.get("hint") or f"`frazil runs {run.id}` shows its log"),
        exit_code=int(facts.get("exit_code", EXIT_FAILED)),
        run=run.id,
        step=str(facts["step"]),
        cause=str(facts.get("code", "")),
    )
