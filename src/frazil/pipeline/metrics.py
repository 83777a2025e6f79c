"""What runs tell Prometheus, read from the store when it is asked: runs live in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from frazil.errors import FrazilError
from frazil.pipeline import PIPELINES
from frazil.pipeline.store import RunStore
from frazil.telemetry import registry


class RunMetrics(Collector):
    """Runs by pipeline and state, the last ones' seconds and ends. A store that does not answer yields nothing."""

    def __init__(self) -> None:
        self.store: RunStore | None = None

    def describe(self) -> Iterator[Metric]:
        """Nothing: a registry that asks would have the store read before there is one."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        if self.store is None or not self.store.path.exists():
            return
        runs = CounterMetricFamily("frazil_pipeline_runs", "Runs by pipeline and state.", labels=("pipeline", "state"))
        seconds = GaugeMetricFamily("frazil_pipeline_run_seconds", "Seconds of the last run that succeeded.", labels=("pipeline",))
        ended = GaugeMetricFamily("frazil_pipeline_last_success_timestamp_seconds", "When it ended, since 1970.", labels=("pipeline",))
        try:
            for (pipeline, state), count in sorted(self.store.counts().items()):
                runs.add_metric((pipeline, state), count)
            for name in PIPELINES:
                for run in self.store.runs(pipeline=name, states=("succeeded",), limit=1):
                    seconds.add_metric((name,), run.seconds or 0.0)
                    ended.add_metric((name,), run.ended_at_seconds)
        except FrazilError:
            return
        yield from (runs, seconds, ended)


METRICS: Final = RunMetrics()
registry.register(METRICS)
