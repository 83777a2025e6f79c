"""What the door counts; served at `/metrics` from this process's registry."""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from frazil.telemetry import registry


class Tallies(Collector):
    """A counter of what happens with every request; counts on the event loop's thread only, without a lock, in a tenth of the time."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...]) -> None:
        self._family = functools.partial(CounterMetricFamily, name, documentation, labels=labels)
        self._counts: defaultdict[tuple[str, ...], float] = defaultdict(float)
        registry.register(self)

    def add(self, labels: tuple[str, ...], amount: float = 1) -> None:
        """Count under these values of the labels."""
        self._counts[labels] += amount

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        family = self._family()
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class Durations(Collector):
    """A histogram of seconds under one label, counted as `Tallies` are."""

    def __init__(self, name: str, documentation: str, label: str, bounds: tuple[float, ...]) -> None:
        self._family = functools.partial(HistogramMetricFamily, name, documentation, labels=(label,))
        self._bounds = bounds
        self._counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: defaultdict[str, float] = defaultdict(float)
        registry.register(self)

    def observe(self, value: str, seconds: float) -> None:
        """Count a duration under this value of the label."""
        self._counts[value][bisect_left(self._bounds, seconds)] += 1
        self._sums[value] += seconds

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        family = self._family()
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for value, counts in self._counts.items():
            family.add_metric((value,), list(zip(names, itertools.accumulate(counts), strict=True)), self._sums[value])
        yield family


REQUESTS = Tallies("frazil_http_requests", "Answers by route, method and status.", ("route", "method", "status"))
REQUEST_SECONDS = Durations(
    "frazil_http_request_seconds",
    "Time from the request's first byte to the end of its answer.",
    "route",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RECORDS = Tallies("frazil_ingest_records", "Stored records by the door's verdict.", ("contract", "verdict"))
VIOLATIONS = Counter(
    "frazil_ingest_violations",
    "Violations by code; `unlisted` are those beyond the list an answer carries.",
    ("contract", "code"),
    registry=registry,
)
BODY_BYTES = Tallies("frazil_ingest_body_bytes", "Bytes of stored bodies, decompressed.", ("contract", "format"))
APPEND_SECONDS = Durations(
    "frazil_log_append_seconds",
    "Time from queueing an append to its records being durable.",
    "contract",
    (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
REFUSED = Counter("frazil_http_refusals", "Requests refused, by the problem's code.", ("code",), registry=registry)
HELD_BYTES = Gauge("frazil_http_body_bytes_held", "Bytes of request bodies held in memory now.", registry=registry)


def count_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count an answer and how long it took."""
    REQUESTS.add((route, method, str(status)))
    REQUEST_SECONDS.observe(route, seconds)


def count_append(contract: str, seconds: float) -> None:
    """Count an append and how long it took to be durable."""
    APPEND_SECONDS.observe(contract, seconds)


def count_admission(contract: str, format: str, body_bytes: int, accepted: int, rejected: int) -> None:
    """Count a stored body."""
    if accepted:
        RECORDS.add((contract, "accepted"), accepted)
    if rejected:
        RECORDS.add((contract, "rejected"), rejected)
    BODY_BYTES.add((contract, format), body_bytes)


def count_violations(contract: str, listed: Iterable[Mapping[str, Any]], total: int) -> None:
    """Count violations of a body by code, stored or refused."""
    tally = Tally(str(violation["code"]) for violation in listed)
    unlisted = total - tally.total()
    if unlisted > 0:
        tally["unlisted"] += unlisted
    for code, times in tally.items():
        VIOLATIONS.labels(contract, code).inc(times)


def exposition() -> Response:
    """All metrics of this process in Prometheus' text format."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
