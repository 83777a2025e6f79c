"""What a processing worker tells Prometheus. Labels: `contract`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from frazil.telemetry import registry

_BY = ("contract",)
RECORDS = Counter("frazil_records", "Records decided by a commit", ("contract", "outcome"), registry=registry)  # landed, dead, duplicate
COMMITS = Counter("frazil_commits", "Commits that landed", _BY, registry=registry)
COMMIT_SECONDS = Histogram(
    "frazil_commit_seconds",
    "Seconds from reading a batch to its commit",
    _BY,
    registry=registry,
    buckets=(0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LAST_COMMIT = Gauge("frazil_last_commit_timestamp_seconds", "Time of the last commit, seconds since 1970", _BY, registry=registry)
LAG = Gauge("frazil_lag_records", "Records in the log behind the table's position", _BY, registry=registry)
RETRIES = Counter("frazil_retries", "Attempts that failed and were made again", ("contract", "reason"), registry=registry)
WAITING = Gauge("frazil_unavailable", "1 while a system does not answer", _BY, registry=registry)
STOPPED = Gauge("frazil_stopped", "1 while a contract waits for an operator", _BY, registry=registry)
WINDOW_MEMORY = Gauge("frazil_window_memory_bytes", "Bytes of open windows held in memory", _BY, registry=registry)
SPILLED = Counter("frazil_window_keys_spilled", "Keys of open windows that went back to the file to make room", _BY, registry=registry)
PUBLISHED = Counter("frazil_dead_letters_published", "Dead letters sent to their topic", _BY, registry=registry)
RETRIED = Counter(
    "frazil_letters_retried", "Letters tried again: landed, duplicate, still_bad, given_up", ("contract", "outcome"), registry=registry
)
