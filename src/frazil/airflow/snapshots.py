"""New snapshots as events: a trigger for asset watchers, and a deferrable sensor that waits with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from frazil.airflow.lake import heads_from, new_heads

FIRED = "fired"
"""The key under which the watermark is kept in the asset's state."""


class IcebergSnapshotTrigger(BaseEventTrigger):
    """Fires once for everything that landed since the last run: commits with rows above what runs cover.

    An event trigger that returns after its event is started again with its first arguments and would fire for ever: this one
    goes on, and keeps the heads it fired for in the asset's state, where a restart finds them. A process that ends between event
    and state fires once more: that run's sensor finds nothing new.

    Args:
        project: Directory with `frazil.toml`.
        pipeline: Whose runs say what is covered.
        dag_id: While a run of this DAG is queued or running nothing fires: its own commits, and bursts, are left to the look
            after its end.
        catalog_properties: Of the PyIceberg catalog; default: as the project's settings say.
        poll: Seconds between looks.
    """

    def __init__(
        self,
        project: str,
        pipeline: str = "pipeline",
        dag_id: str | None = None,
        catalog_properties: Mapping[str, str] | None = None,
        poll: float = 2.0,
    ) -> None:
        super().__init__()
        self.project = project
        self.pipeline = pipeline
        self.dag_id = dag_id
        self.catalog_properties = catalog_properties
        self.poll = poll

    def serialize(self) -> tuple[str, dict[str, Any]]:
        arguments = ("project", "pipeline", "dag_id", "catalog_properties", "poll")
        return f"{__name__}.{type(self).__qualname__}", {name: getattr(self, name) for name in arguments}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event per look that finds news; only one when a task waits for it."""
        state = self.asset_state_store
        fired = json.loads(await state.aget(FIRED, default=None) or "{}") if state is not None else {}
        while True:
            heads = None if await self._busy() else await asyncio.to_thread(self._look, fired)
            if heads is not None:
                fired = heads
                yield TriggerEvent({"project": self.project, "heads": heads})
                if state is None:
                    return
            await asyncio.sleep(self.poll)
            if heads is not None and state is not None:  # by now the event has left this process: better twice than never
                await state.aset(FIRED, json.dumps(heads))

    def _look(self, fired: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
        try:
            return new_heads(self.project, self.pipeline, heads_from(fired), self.catalog_properties)
        except Exception as error:  # a catalog that is away comes back; a trigger that raised does not
            self.log.warning("the lake does not answer: %s: %s", type(error).__name__, error)
            return None

    async def _busy(self) -> bool:
        if self.dag_id is None:
            return False
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        try:
            return bool(await asyncio.to_thread(RuntimeTaskInstance.get_dr_count, dag_id=self.dag_id, states=["queued", "running"]))
        except Exception as error:  # as above: the next look asks again
            self.log.warning("Airflow does not answer: %s: %s", type(error).__name__, error)
            return True


class IcebergSnapshotSensor(BaseSensorOperator):
    """Waits for rows that no run of the pipeline covers; returns the heads of the raw tables, by name.

    A run that a person started does not wait. With `soft_fail` and `timeout` a run that has nothing to do is skipped.

    Args:
        project: Directory with `frazil.toml`.
        pipeline: Whose runs say what is covered.
        catalog_properties: Of the PyIceberg catalog; default: as the project's settings say.
        deferrable: Wait in the triggerer and hold no worker.
    """

    template_fields = ("project",)

    def __init__(
        self,
        *,
        project: str,
        pipeline: str = "pipeline",
        catalog_properties: Mapping[str, str] | None = None,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.pipeline = pipeline
        self.catalog_properties = catalog_properties
        self.deferrable = deferrable

    def execute(self, context: Any) -> dict[str, Any]:
        heads = self._news()
        if heads is not None or _by_hand(context["dag_run"]):
            return heads or {}
        if not self.deferrable:
            super().execute(context)
            return self._news() or {}
        self.defer(
            trigger=IcebergSnapshotTrigger(self.project, self.pipeline, None, self.catalog_properties, float(self.poke_interval)),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )
        raise AssertionError("unreachable")

    def poke(self, context: Any) -> bool:
        return self._news() is not None

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        self.log.info("new snapshots: %s", event["heads"])
        heads: dict[str, Any] = event["heads"]
        return heads

    def _news(self) -> dict[str, Any] | None:
        return new_heads(self.project, self.pipeline, {}, self.catalog_properties)


def _by_hand(run: Any) -> bool:
    """Whether a person started the run. The type is an enumeration of strings, whose `str()` is not its value."""
    return bool(run.run_type == "manual")
