"""What OpenAPI says of the routes that read their requests themselves: parameters, bodies, every answer, examples."""

from __future__ import annotations

from typing import Any, Final

from frazil.api.problems import MEDIA_TYPE, TYPE
from frazil.api.shapes import Health, Job, JobStatus, Problem

Operation = dict[str, Any]
Answers = dict[int | str, dict[str, Any]]

JOB_ID: Final = "aeadmq3xqwcqaaaaaaaaaaadaaaaaaqgmv3gk3tuombaaaaaaaaaaaaaaaaaaaaaaaaaacaycmjqe3n4a4v2s7yoz7pi4a"
_EVENT: Final = {
    "event_id": "0b6a8f0e-6f0e-4a39-9a86-3f2f6f1f9a10",
    "event_type": "purchase",
    "user_id": "u-17",
    "timestamp": "2026-11-20T12:34:56Z",
    "value": 19.9,
    "currency": "EUR",
}
_VIOLATION: Final = {
    "index": 1,
    "path": "/value",
    "code": "range.below_minimum",
    "message": "below the minimum 0",
    "hint": "send a value of at least 0",
    "value": -5,
}
_JOB: Final = {
    "job_id": JOB_ID,
    "contract": "events",
    "contract_version": "1.0.0",
    "received": 2,
    "accepted": 1,
    "rejected": 1,
    "errors": [_VIOLATION],
    "errors_total": 1,
    "status_url": f"/api/v1/status/{JOB_ID}",
}
_SNAPSHOT: Final = {"table": "raw_events", "snapshot_id": 4358109269873137077, "committed_at": "2026-11-20T12:34:58Z"}
_STATUS: Final = {
    "job_id": JOB_ID,
    "state": "completed",
    "received": 2,
    "landed": 1,
    "duplicates": 0,
    "dead": 1,
    "pending": 0,
    "open": 1,
    "snapshots": [_SNAPSHOT],
    "errors": [_VIOLATION],
    "errors_total": 1,
}
_HEALTH: Final = {
    "state": "ok",
    "components": {
        "log.events": {"state": "ok", "detail": "takes records"},
        "disk": {"state": "ok", "detail": "", "free_bytes": 81604378624, "floor_bytes": 1073741824},
        "catalog": {"state": "ok", "detail": "readable"},
        "process": {"state": "unknown", "detail": "no processing was seen here: start it with `frazil process`"},
    },
}
_REFUSALS: Final[dict[int, tuple[str, str, str, str]]] = {
    400: ("The body is not what it says it is; nothing was stored.", "body.invalid_json", "not JSON at byte 17", "send RFC 8259 JSON"),
    403: (
        "Without credentials only this machine may call.",
        "host.not_allowed",
        "Origin 'evil.example' is not this machine",
        "call localhost",
    ),
    404: ("Unknown; the hint names what is known.", "contract.unknown", "no contract 'evnts'", "known contracts: events, products, users"),
    408: ("The body came too slowly.", "body.too_slow", "the body did not arrive in 30 s", "send smaller bodies, or compress them"),
    409: ("The first request with this key still runs.", "idempotency.in_progress", "the first request still runs", "send it again later"),
    413: ("Too large, compressed or decompressed.", "body.too_large", "the body has more than 67108864 bytes", "split it"),
    415: ("Unknown format or encoding; the hint names the known.", "format.unknown", "unknown format 'text/html'", "set Content-Type"),
    422: (
        "A record violates its contract (`on_invalid=reject`), or the key came with another body.",
        "records.rejected",
        "1 of 2",
        "correct",
    ),
    429: ("Over the limit; come back after Retry-After.", "system.throttled", "over the limit", "send fewer requests"),
    503: ("Not able now; come back after Retry-After.", "server.busy", "requests hold too many bytes already", "send again later"),
}


def answers(*statuses: int) -> Answers:
    """The refusals a route may give, each with an example; 500 is everybody's."""
    return {status: refusal(status) for status in statuses}


def refusal(status: int) -> dict[str, Any]:
    what, code, detail, hint = _REFUSALS[status]
    example = {"type": TYPE + code, "title": what, "status": status, "detail": detail, "code": code, "hint": hint, "request": "123"}
    facts: dict[str, Any] = {"description": what, "content": {MEDIA_TYPE: {"schema": _schema(Problem), "example": example}}}
    if status in (409, 429, 503):
        facts["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "seconds to wait"}}
    return facts


def told(model: type[Job] | type[JobStatus] | type[Health], what: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "description": what, "content": {"application/json": {"example": example}}}


def _schema(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _query(name: str, what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": what, "schema": schema}


_NAME: Final = {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"}
_PARAMETERS: Final = [
    _query(
        "on_invalid",
        "`dead_letter`: good records go on, bad ones become dead letters. `reject`: nothing is stored if one is bad.",
        {"type": "string", "enum": ["dead_letter", "reject"], "default": "dead_letter"},
    ),
    _query("wait", "`landed`: answer 200 when the events are in the table, 202 after `timeout`.", {"type": "string", "enum": ["landed"]}),
    _query("timeout", "Seconds for `wait`.", {"type": "number", "minimum": 0, "maximum": 60, "default": 10}),
    _query("delimiter", "Of CSV: stands between cells.", {"type": "string", "minLength": 1, "maxLength": 1, "default": ","}),
    _query("quote", "Of CSV: stands around cells; empty: nothing does.", {"type": "string", "maxLength": 1, "default": '"'}),
    _query("header", "Of CSV: whether the first row names the columns.", {"type": "string", "enum": ["present", "absent"]}),
    _query("columns", "Of CSV: names of the columns, before those of a header.", {"type": "string", "example": "event_id,event_type"}),
    _query("null", "Of CSV: an unquoted cell of this text is missing; may come again.", {"type": "string", "example": "NULL"}),
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Makes a retry free for 24 hours: the same key and body get the first answer again.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
    },
]
_CLOUD_EVENT: Final = {"specversion": "1.0", "id": _EVENT["event_id"], "source": "/shop", "type": "purchase", "data": _EVENT}
_ANY: Final = {"description": "judged record by record under the contract"}
_BODY: Final = {
    "required": True,
    "description": "One event, an array of events, one event per line, rows of CSV, or an Avro or Parquet file."
    " `Content-Encoding: gzip` and `zstd` are understood.",
    "content": {
        "application/json": {
            "schema": {"anyOf": [{"type": "object"}, {"type": "array", "minItems": 1, "items": _ANY}]},
            "examples": {"one": {"value": _EVENT}, "several": {"value": [_EVENT, {**_EVENT, "value": -5}]}},
        },
        "application/x-ndjson": {
            "schema": {"type": "string", "minLength": 1},
            "example": '{"event_id": "0b6a8f0e-6f0e-4a39-9a86-3f2f6f1f9a10", "event_type": "click"}\n',
        },
        "text/csv": {
            "schema": {"type": "string", "minLength": 1},
            "example": "event_id,event_type,properties.price\n0b6a8f0e-6f0e-4a39-9a86-3f2f6f1f9a10,click,9.99\n",
        },
        "application/avro": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
        "application/cloudevents+json": {"schema": {"type": "object"}, "example": _CLOUD_EVENT},
        "application/cloudevents-batch+json": {
            "schema": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            "example": [_CLOUD_EVENT],
        },
    },
}
INGEST: Final[Operation] = {
    "parameters": [_query("contract", "The events' contract; the project's default without it.", _NAME), *_PARAMETERS],
    "requestBody": _BODY,
}
TOPIC: Final[Operation] = {
    "parameters": [{"name": "topic", "in": "path", "required": True, "schema": _NAME, "example": "events"}, *_PARAMETERS],
    "requestBody": _BODY,
}
TAKEN: Final[Answers] = {
    202: told(Job, "Every received record is on disk.", _JOB),
    200: told(Job, "With `wait=landed`: every record is decided.", {**_JOB, "status": _STATUS}),
    **answers(400, 403, 404, 408, 409, 413, 415, 422, 429, 503),
}
STATUS: Final[Operation] = {
    "parameters": [{"name": "job_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}, "example": JOB_ID}]
}
STATUS_ANSWERS: Final[Answers] = {200: told(JobStatus, "Processing's verdict.", _STATUS), **answers(403, 404, 503)}
_CAUSE: Final = {
    "stage": "validate",
    "code": "range.below_minimum",
    "path": "/value",
    "count": 12,
    "message": "below the minimum 0",
    "hint": "send a value of at least 0",
    "example": "0192f3a1-7c00-7000-8000-000000000001/0/1199",
    "value": '{"event_id": "…", "value": -5}',
}
_LETTERS: Final = {"contract": "events", "open": 12, "causes": [_CAUSE], "letters": []}
_COUNTS: Final = {"selected": 12, "lands": 11, "duplicates": 0, "still_bad": 1, "still": [_CAUSE], "not_open": []}
_PLAN: Final = {"contract": "events", "dry_run": True, **_COUNTS}
_TEXT: Final = {"type": "string", "minLength": 1}
LETTERS: Final[Operation] = {
    "parameters": [
        _query("contract", "The letters' contract; the project's default without it.", _NAME),
        _query("stage", "Only letters of this stage.", {"type": "string", "enum": ["parse", "validate", "identity", "process"]}),
        _query("code", "Only letters whose first violation has this code.", _TEXT),
        _query("limit", "How many letters to show beside the causes.", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 20}),
    ]
}
LETTERS_ANSWERS: Final[Answers] = {
    200: {"description": "Causes, the most frequent first, and the first letters.", "content": {"application/json": {"example": _LETTERS}}},
    **answers(400, 403, 404, 503),
}
_REPLAY_BODY: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "contract": {**_NAME, "description": "the project's default without it"},
        "stage": {"type": "string", "enum": ["parse", "validate", "identity", "process"]},
        "code": {**_TEXT, "description": "only letters whose first violation has this code"},
        "ids": {"type": "array", "items": {"type": "string"}, "description": "only these, as `log/partition/offset`"},
        "all": {"type": "boolean", "default": False, "description": "every open letter of the contract"},
        "patch": {**_TEXT, "description": "as `frazil dead replay --patch`, such as `value = number(value)`"},
        "dry_run": {"type": "boolean", "default": False},
        "id": {**_TEXT, "description": "names the replay, for its undo"},
    },
}
_REPLAY_EXAMPLE: Final = {"contract": "events", "code": "type.mismatch", "patch": "value = number(value)", "dry_run": True}
REPLAY: Final[Operation] = {"requestBody": {"content": {"application/json": {"schema": _REPLAY_BODY, "example": _REPLAY_EXAMPLE}}}}
REPLAY_ANSWERS: Final[Answers] = {
    200: {"description": "What it did, or would do.", "content": {"application/json": {"example": _PLAN}}},
    **answers(400, 403, 404, 408, 413, 503),
}
HEALTH_ANSWERS: Final[Answers] = {
    200: told(Health, "Events can be taken in.", _HEALTH),
    503: told(Health, "Events cannot be taken in.", {**_HEALTH, "state": "down"}),
    **answers(403),
}
LIVE_ANSWERS: Final[Answers] = {200: told(Health, "The process answers.", {"state": "ok", "components": {}}), **answers(403)}
METRICS_ANSWERS: Final[Answers] = {
    200: {"description": "Prometheus text format.", "content": {"text/plain": {"example": "frazil_ingest_records_total 1.0\n"}}},
    **answers(403),
}
