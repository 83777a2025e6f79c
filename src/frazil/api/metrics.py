"""What the door counts; served at `/metrics` from this process's registry."""

from __future__ import annotations

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


def count_admission(contract: str, format: str, body_bytes: int, accepted: int, rejected: int) -> None:
    """Count a stored body."""
    if accepted:
        RECORDS.labels(contract, "accepted").inc(accepted)
    if rejected:
        RECORDS.labels(contract, "rejected").inc(rejected)
    BODY_BYTES.labels(contract, format).inc(body_bytes)


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
