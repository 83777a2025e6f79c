"""The answers' shapes, as OpenAPI shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Violation(BaseModel):
    """One broken rule of one record; the same object in dead letters, on the command line and in the dashboard."""

    index: int | None = Field(description="the record in the body, from 0")
    path: str = Field(description="JSON pointer of the field")
    code: str
    message: str
    hint: str
    value: Any = Field(description="the offending value as it stood in the record, null when there is none")


class PlacedViolation(Violation):
    """A violation in the answer to a body; one of CSV says where it stands there, too."""

    line: int | None = Field(default=None, description="of CSV: the line at which the row begins, from 1")
    column: str | None = Field(default=None, description="of CSV: the column's name")


class Snapshot(BaseModel):
    """A commit that holds records of a job."""

    table: str
    snapshot_id: int
    committed_at: datetime


class JobStatus(BaseModel):
    """Processing's verdict on a request. `failed`: a record was set aside because code failed on it, or was skipped."""

    job_id: str
    state: Literal["queued", "processing", "completed", "failed", "rewound"]
    received: int
    landed: int
    duplicates: int
    dead: int
    pending: int = Field(description="records not decided yet; only falls, but at a rewind")
    open: int = Field(description="dead letters that can be replayed")
    snapshots: list[Snapshot]
    errors: list[Violation] = Field(description="at most 100")
    errors_total: int


class Job(BaseModel):
    """A body that is on disk. received = accepted + rejected is the door's verdict; every received record is stored."""

    job_id: str
    contract: str
    contract_version: str
    received: int
    accepted: int
    rejected: int
    errors: list[PlacedViolation] = Field(description="at most 100")
    errors_total: int
    status_url: str
    status: JobStatus | None = Field(default=None, description="with wait=landed: how far processing is")


class Problem(BaseModel):
    """RFC 9457. Facts of the case follow as further members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="stable; listed in docs/errors.md")
    hint: str
    request: str | None = Field(default=None, description="the request's id, also in X-Request-Id and in the server's log")
    errors: list[PlacedViolation] | None = None


class Component(BaseModel):
    """One part of the system."""

    model_config = ConfigDict(extra="allow")

    state: Literal["ok", "degraded", "down", "unknown"]
    detail: str = ""


class Health(BaseModel):
    """Every component's state; `down` when events cannot be taken in."""

    state: Literal["ok", "degraded", "down"]
    components: dict[str, Component]
