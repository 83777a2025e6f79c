"""How far live windows are, for people and for Prometheus: read from the windows' own file, by any process of the machine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import data_processor_rs as kernel
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from frazil.sink.windows import kernel_errors
from frazil.telemetry import registry

_BY = ("contract", "window")


@dataclass(frozen=True, slots=True)
class WindowProgress:
    """One window: `watermark` is the instant before which its windows are final (None before the first event), `open` counts
    windows over all keys, `late` pairs of event and window that came too late, ever."""

    window: str
    watermark: datetime | None = None
    open: int = 0
    late: int = 0

    def behind(self, now: float | None = None) -> float | None:
        """Seconds from the watermark to now, the allowed lateness included; below 0 while event times run ahead."""
        return None if self.watermark is None else (time.time() if now is None else now) - self.watermark.timestamp()

    def as_dict(self) -> dict[str, Any]:
        behind = self.behind()
        return {
            "window": self.window,
            "watermark": None if self.watermark is None else self.watermark.isoformat().replace("+00:00", "Z"),
            "behind_seconds": None if behind is None else round(behind, 3),
            "open": self.open,
            "late": self.late,
        }


def progress(file: Path, names: Iterable[str]) -> list[WindowProgress]:
    """The windows of a contract in the order asked for; those not counted yet, and all where there is no file, are at the beginning.

    Raises:
        Unavailable, Corrupt: The file cannot be read.
    """
    known: dict[str, WindowProgress] = {}
    if file.exists():
        with kernel_errors():
            for name, watermark, opened, late, _ in kernel.WindowReader(str(file)).progress():
                at = None if watermark is None else datetime.fromtimestamp(watermark / 1e6, UTC)
                known[name] = WindowProgress(name, at, opened, late)
    return [known.get(name, WindowProgress(name)) for name in names]


class WindowMetrics(Collector):
    """What Prometheus is told of the windows' files that this process watches, as they are at each scrape."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Path, tuple[str, ...]]] = {}
        registry.register(self)

    def watch(self, contract: str, file: Path, names: Iterable[str]) -> None:
        """Tell of a contract's windows from now on."""
        self._files[contract] = file, tuple(names)

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads. A file that cannot be read is left out: health says why."""
        watermark = GaugeMetricFamily("frazil_window_watermark_timestamp_seconds", "Instant before which windows are final.", labels=_BY)
        lag = GaugeMetricFamily("frazil_window_watermark_lag_seconds", "Seconds from the watermark to now.", labels=_BY)
        opened = GaugeMetricFamily("frazil_window_open", "Open windows over all keys.", labels=_BY)
        late = CounterMetricFamily("frazil_window_late", "Pairs of event and window that came too late.", labels=_BY)
        for contract, (file, names) in list(self._files.items()):
            for one in _readable(file, names):
                labels = (contract, one.window)
                opened.add_metric(labels, one.open)
                late.add_metric(labels, one.late)
                if one.watermark is not None:
                    watermark.add_metric(labels, one.watermark.timestamp())
                    lag.add_metric(labels, one.behind() or 0.0)
        return [watermark, lag, opened, late]


def _readable(file: Path, names: tuple[str, ...]) -> list[WindowProgress]:
    from frazil.errors import FrazilError

    try:
        return progress(file, names) if file.exists() else []
    except FrazilError:
        return []


METRICS = WindowMetrics()
