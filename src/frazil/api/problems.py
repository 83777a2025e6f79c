"""Refusals over HTTP: every error as `application/problem+json` (RFC 9457) with a stable code and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from data_processor_rs import KernelError
from starlette.responses import Response

from frazil.errors import CommitConflict, ConfigError, ContractError, Corrupt, FrazilError, OffsetExpired, Throttled, Unavailable

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:frazil:error:"

STATUS: Final[Mapping[str, int]] = {
    "avro.bad_schema": 400,
    "avro.unknown_codec": 400,
    "body.empty": 400,
    "body.invalid_json": 400,
    "body.invalid_encoding": 400,
    "body.invalid_csv": 400,
    "body.invalid_avro": 400,
    "body.invalid_parquet": 400,
    "body.bad_compression": 400,
    "body.cut": 400,
    "body.too_large": 413,
    "body.ratio_exceeded": 413,
    "body.too_slow": 408,
    "cloudevents.invalid": 400,
    "contract.unknown": 404,
    "csv.bad_dialect": 400,
    "dead.no_selection": 400,
    "encoding.unknown": 415,
    "format.unknown": 415,
    "format.unknown_charset": 415,
    "host.not_allowed": 403,
    "http.method_not_allowed": 405,
    "http.not_found": 404,
    "idempotency.invalid_key": 400,
    "idempotency.key_reused": 422,
    "idempotency.in_progress": 409,
    "job.unknown": 404,
    "log.record_too_large": 413,
    "pipeline.unknown": 404,
    "records.rejected": 422,
    "request.invalid_parameter": 400,
    "run.unknown": 404,
    "server.failed": 500,
    "trace.unknown_event": 404,
}
"""Statuses by code; other codes take the status of their class."""


class Refused(FrazilError):
    """A request that is refused at the door; nothing of it is stored.

    Args:
        errors: Violations of its records, as dictionaries.
        headers: Response headers the refusal needs.
        status: Overrides the code's status.
    """

    code = "request.refused"

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str = "",
        errors: Sequence[Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        **context: object,
    ) -> None:
        super().__init__(message, code=code, hint=hint, **context)
        self.errors = errors
        self.headers = dict(headers or {})


def translated(error: KernelError) -> FrazilError:
    """A kernel error with its code, hint and facts as an error of ours."""
    message = str(error.args[0]) if error.args else error.code
    if error.retry == "backoff":
        return Unavailable(message, code=error.code, hint=error.hint, **error.context)
    return Refused(message, code=error.code, hint=error.hint, **error.context)


def status_of(error: FrazilError) -> int:
    """The HTTP status of an error: by its code, else by its class."""
    known = STATUS.get(error.code)
    if known is not None:
        return known
    if isinstance(error, Unavailable | CommitConflict | Corrupt | OffsetExpired):
        return 503
    if isinstance(error, ConfigError):
        return 400
    return 404 if isinstance(error, ContractError) else 500


def body_of(error: FrazilError, status: int, *, request: int | None = None) -> dict[str, Any]:
    """The problem's members. A 5xx keeps its facts for the log: they may name files and hosts."""
    problem: dict[str, Any] = {
        "type": TYPE + error.code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        "code": error.code,
        "hint": error.hint,
    }
    if status < 500:
        problem.update({name: _plain(value) for name, value in error.context.items() if name not in problem})
    if request is not None:
        problem["request"] = str(request)
    if isinstance(error, Refused) and error.errors is not None:
        problem["errors"] = error.errors
    return problem


def response_of(error: FrazilError, *, request: int | None = None) -> Response:
    """The problem as an answer, with `Retry-After` where the client should come back."""
    status = status_of(error)
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if isinstance(error, Throttled):
        headers["Retry-After"] = str(max(1, error.retry_after))
    elif status == 503 or error.code == "idempotency.in_progress":
        headers.setdefault("Retry-After", "1")
    content = json.dumps(body_of(error, status, request=request), separators=(",", ":"), ensure_ascii=True).encode()
    return Response(content, status, headers, media_type=MEDIA_TYPE)


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value)
