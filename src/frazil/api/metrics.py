"""What the door counts; served at `/metrics` from this process's registry."""

from __future__ import annotations

import functools
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response

from frazil.telemetry import registry

REQUESTS = Counter("frazil_http_requests", "Answers by route, method and status.", ("route", "method", "status"), registry=registry)
REQUEST_SECONDS = Histogram(
    "frazil_http_request_seconds",
    "Time from the request's first byte to the end of its answer.",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=registry,
)
RECORDS = Counter("frazil_ingest_records", "Stored records by the door's verdict.", ("contract", "verdict"), registry=registry)
VIOLATIONS = Counter(
    "frazil_ingest_violations",
    "Violations by code; `unlisted` are those beyond the list an answer carries.",
    ("contract", "code"),
    registry=registry,
)
BODY_BYTES = Counter("frazil_ingest_body_bytes", "Bytes of stored bodies, decompressed.", ("contract", "format"), registry=registry)
APPEND_SECONDS = Histogram(
    "frazil_log_append_seconds",
    "Time from queueing an append to its records being durable.",
    ("contract",),
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=registry,
)
REFUSED = Counter("frazil_http_refusals", "Requests refused, by the problem's code.", ("code",), registry=registry)
HELD_BYTES = Gauge("frazil_http_body_bytes_held", "Bytes of request bodies held in memory now.", registry=registry)


# What is counted with every request is looked up once: routes, methods, statuses, contracts and formats are few.
_requests = functools.lru_cache(maxsize=512)(REQUESTS.labels)
_request_seconds = functools.lru_cache(maxsize=64)(REQUEST_SECONDS.labels)
_append_seconds = functools.lru_cache(maxsize=256)(APPEND_SECONDS.labels)
_records = functools.lru_cache(maxsize=512)(RECORDS.labels)
_body_bytes = functools.lru_cache(maxsize=512)(BODY_BYTES.labels)


def count_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count an answer and how long it took."""
    _requests(route, method, str(status)).inc()
    _request_seconds(route).observe(seconds)


def count_append(contract: str, seconds: float) -> None:
    """Count an append and how long it took to be durable."""
    _append_seconds(contract).observe(seconds)


def count_admission(contract: str, format: str, body_bytes: int, accepted: int, rejected: int) -> None:
    """Count a stored body."""
    if accepted:
        _records(contract, "accepted").inc(accepted)
    if rejected:
        _records(contract, "rejected").inc(rejected)
    _body_bytes(contract, format).inc(body_bytes)


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
