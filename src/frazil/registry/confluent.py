"""A registry with Confluent's API: Confluent's own, Apicurio, Karapace, Redpanda."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from frazil.errors import ConfigError, ContractError, FrazilError, Unavailable
from frazil.registry import SchemaId, refused_change

try:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
    from httpx2 import HTTPError
except ImportError as error:
    raise ConfigError(
        "a schema registry needs confluent-kafka with its registry client",
        hint="pip install 'frazil[kafka]'",
        code="config.missing_extra",
        extra="kafka",
    ) from error

_ANSWER_S = 5.0
_RETRIES = 2
_LONGEST_WAIT_MS = 500
_UNKNOWN_SCHEMA, _UNKNOWN_SUBJECT, _UNKNOWN_VERSION = 40403, 40401, 40402
_REFUSED = (401, 403)
_LARGEST = 4 * 1024 * 1024


class ConfluentRegistry:
    """Asks over HTTP; schemas are remembered by their ids.

    Args:
        url: One address, or several with commas, tried in turn.
        options: Further properties of the client: `basic.auth.user.info`, `ssl.ca.location`, …
    """

    def __init__(self, url: str, options: dict[str, str] | None = None) -> None:
        self.url = url
        settings: dict[str, Any] = {
            "url": url,
            "timeout": _ANSWER_S,
            "max.retries": _RETRIES,
            "retries.wait.ms": 100,
            "retries.max.wait.ms": _LONGEST_WAIT_MS,
        }
        self._client = SchemaRegistryClient(settings | (options or {}))
        self._known: dict[SchemaId, str] = {}

    def schema(self, schema_id: SchemaId) -> str | None:
        if schema_id not in self._known:
            try:
                with self._answering():
                    found = self._client.get_schema(schema_id) if isinstance(schema_id, int) else self._client.get_schema_by_guid(schema_id)
            except _Absent:
                return None
            text = found.schema_str or ""
            self._known[schema_id] = text if len(text) <= _LARGEST else "larger than a schema may be"
        return self._known[schema_id]

    def incompatible(self, subject: str, schema: str) -> str | None:
        try:
            with self._answering(subject=subject):
                takes = self._client.test_compatibility(subject, Schema(schema, "AVRO"))
        except _Absent:
            return None  # its first version
        if takes:
            return None
        with self._answering(subject=subject):
            level = self._client.get_compatibility(subject)
        return f"the registry's {subject!r} is {level}, and the contract's schema is not compatible with its newest version"

    def announce(self, subject: str, schema: str, compatibility: str) -> int:
        asked = Schema(schema, "AVRO")
        try:
            with self._answering(subject=subject):
                return int(self._client.lookup_schema(subject, asked).schema_id or 0)
        except _Absent:
            pass
        refusal = self.incompatible(subject, schema)
        if refusal is not None:
            raise refused_change(subject, refusal)
        try:
            with self._answering(subject=subject):
                self._client.set_compatibility(subject, compatibility.upper())
                return int(self._client.register_schema(subject, asked))
        except _Incompatible as refused:  # another announced one meanwhile
            raise refused_change(subject, str(refused)) from refused

    @contextmanager
    def _answering(self, **context: str) -> Iterator[None]:
        """Turn what the client raises into Frazil's errors."""
        try:
            yield
        except SchemaRegistryError as error:
            raise self._refused(error, context) from error
        except (HTTPError, OSError, ValueError, TypeError) as error:
            raise self._unavailable(f"{type(error).__name__}: {error}", context) from error

    def _refused(self, error: SchemaRegistryError, context: dict[str, str]) -> Exception:
        status, code = error.http_status_code, error.error_code
        if code in (_UNKNOWN_SCHEMA, _UNKNOWN_SUBJECT, _UNKNOWN_VERSION) or status == 404:
            return _Absent()
        if status == 409:
            return _Incompatible(str(error.error_message))
        if status in _REFUSED:
            return ConfigError(
                f"the schema registry refuses us: {error.error_message}",
                code="registry.refused",
                hint="check [registry] in frazil.toml and FRAZIL_REGISTRY__PASSWORD",
                url=self.url,
                status=status,
                **context,
            )
        if status in (400, 422):
            return ContractError(
                f"the schema registry does not take the schema: {error.error_message}", code="registry.bad_schema", url=self.url, **context
            )
        return self._unavailable(f"status {status}: {error.error_message}", context)

    def _unavailable(self, why: str, context: dict[str, str]) -> FrazilError:
        return Unavailable(
            f"the schema registry does not answer: {why}",
            code="registry.unavailable",
            hint="is it up, and is [registry] url right?",
            url=self.url,
            **context,
        )


class _Absent(Exception):
    """There is no such schema, subject or version."""


class _Incompatible(Exception):
    """The registry does not take the schema as the next version."""
