"""Where things run: `frazil.toml`, environment (`FRAZIL_LOG__URL`), `--profile`. Secrets only from the environment."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from frazil.errors import ConfigError

PROJECT_FILE = "frazil.toml"


_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PLAIN = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d|w)?", re.ASCII)
_ISO = re.compile(r"P(?=.)(?:(\d+)W|(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?)", re.ASCII)
_OWN_VARIABLES = frozenset({"FRAZIL_PROFILE", "FRAZIL_RECEIPT_KEY", "FRAZIL_SHARED", "FRAZIL_CHAOS"})
"""Variables with our prefix that are no settings."""


def duration(value: object) -> timedelta:
    """A time span as people write it: seconds (`5`, `"0.2"`), a number with ms, s, m, h, d or w (`"2m"`), or ISO 8601 (`"PT2M"`).

    Raises:
        ValueError: Anything else, or less than nothing.
    """
    span: object = value
    try:
        if isinstance(value, str):
            span = _span(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            span = timedelta(seconds=value)
    except (OverflowError, ValueError):  # a million years, inf, nan
        span = None
    if not isinstance(span, timedelta) or span < timedelta():
        raise ValueError(f"{value!r} is no duration: write seconds (5, 0.2), or 200ms, 5s, 2m, 12h, 7d, 1w")
    return span


def _span(text: str) -> timedelta | None:
    if (found := _PLAIN.fullmatch(text)) is not None:
        return timedelta(**{_UNITS[found[2] or "s"]: float(found[1])})
    if (found := _ISO.fullmatch(text)) is not None:
        parts = zip(("weeks", "days", "hours", "minutes", "seconds"), found.groups(), strict=True)
        return timedelta(**{unit: float(number) for unit, number in parts if number is not None})
    return None


Duration = Annotated[timedelta, BeforeValidator(duration)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(_Section):
    """The log. `file://` paths are relative to the project."""

    url: str = "file://.frazil/log"
    segment_bytes: int = Field(default=64 * 1024 * 1024, ge=64 * 1024)
    min_free_bytes: int | None = Field(default=None, ge=0, description="refuse writes below; default the smaller of 5 % and 1 GiB")
    retention: Duration = Field(default=timedelta(days=7), description="replay floor: keep at least this much behind the position")


class KafkaSettings(_Section):
    """A `kafka://` log. Topics that are absent are made: `partitions` and `retention` unless the contract says otherwise."""

    partitions: int = Field(default=3, ge=1, le=10_000)
    replication: int = Field(default=-1, ge=-1, le=32_767, description="-1: what the cluster does by default")
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    group: str | None = Field(default=None, description="consumer group of the processors; default frazil-<name>")
    delivery_timeout: Duration = timedelta(seconds=30)
    dead_letter_topics: bool = Field(default=True, description="publish dead letters to TOPIC.dead-letters, retry by TOPIC.retry")
    retry_first: Duration = Field(default=timedelta(seconds=10), description="wait before a letter whose cause may pass is tried again")
    retry_longest: Duration = timedelta(hours=1)
    retry_attempts: int = Field(default=8, ge=1, le=100)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = Field(default=None, description="only from the environment: FRAZIL_KAFKA__SASL_PASSWORD")
    ssl_ca_location: Path | None = None
    ssl_certificate_location: Path | None = None
    ssl_key_location: Path | None = None
    ssl_key_password: SecretStr | None = None
    options: dict[str, str] = Field(default_factory=dict, description="further librdkafka properties, as they are")

    def properties(self, root: Path) -> dict[str, str]:
        """Security and `options` as librdkafka properties; holds secrets. Files are looked for below `root`."""
        names = ("sasl_mechanism", "sasl_username", "ssl_ca_location", "ssl_certificate_location", "ssl_key_location")
        given = {name.replace("_", "."): value for name in names if (value := getattr(self, name)) is not None}
        found = {name: str(root / value) if isinstance(value, Path) else str(value) for name, value in given.items()}
        if self.sasl_password is not None:
            found["sasl.password"] = self.sasl_password.get_secret_value()
        if self.ssl_key_password is not None:
            found["ssl.key.password"] = self.ssl_key_password.get_secret_value()
        return {"security.protocol": self.security_protocol} | found | self.options


class RegistrySettings(_Section):
    """A schema registry with Confluent's API. Without `url` there is none, and contracts are the only schemas."""

    url: str | None = Field(default=None, pattern=r"^https?://", description="one address, or several with commas")
    values: Literal["json", "avro"] = Field(default="json", description="how the API writes good records to Kafka")
    user: str | None = None
    password: SecretStr | None = Field(default=None, description="only from the environment: FRAZIL_REGISTRY__PASSWORD")
    ssl_ca_location: Path | None = None

    def properties(self, root: Path) -> dict[str, str]:
        """Options of the client; holds secrets. The file is looked for below `root`."""
        found = {} if self.ssl_ca_location is None else {"ssl.ca.location": str(root / self.ssl_ca_location)}
        if self.user is not None and self.password is not None:
            found["basic.auth.user.info"] = f"{self.user}:{self.password.get_secret_value()}"
        return found


class LakeSettings(_Section):
    """Catalog and storage of the Iceberg tables."""

    catalog: str = "sqlite://.frazil/catalog.db"
    storage: str = "file://.frazil/lake"
    compression: Literal["zstd", "snappy"] = "zstd"
    keep_snapshots: int = Field(default=20, ge=1)
    key_cache_bytes: int = Field(default=512 * 1024 * 1024, ge=1024 * 1024)


class WarehouseSettings(_Section):
    target: Literal["duckdb", "spark", "snowflake"] = "duckdb"


class ProcessSettings(_Section):
    """How the local engine commits: at once when `batch_records` wait, else at the latest every `max_delay`."""

    batch_records: int = Field(default=100_000, ge=1, le=1_000_000)
    max_delay: Duration = timedelta(seconds=5)
    attempts: int = Field(default=3, ge=1)


class LiveSettings(_Section):
    """Live windows. `memory_bytes`: what each contract's open windows take in memory at most; what is beyond lies in their file."""

    memory_bytes: int = Field(default=64 * 1024 * 1024, ge=64 * 1024)


class PipelineSettings(_Section):
    """When a pipeline starts by itself while `frazil up` or `frazil schedule` runs, and how often its steps are tried.

    `spacing`: shortest time between the starts of two runs by snapshot; what lands in between is left to the second.
    """

    schedule: str | None = Field(default=None, description="five cron fields: minute, hour, day, month, weekday")
    timezone: str = Field(default="UTC", description="zone of the schedule, such as Europe/Berlin")
    on: Literal["snapshot"] | None = None
    spacing: Duration = timedelta(seconds=10)
    attempts: int = Field(default=3, ge=1, le=100)

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None and (len(value.split()) != 5 or not _cron(value)):
            raise ValueError(f"{value!r} is no schedule: write five cron fields, such as '0 * * * *' for every full hour")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone: write UTC or Europe/Berlin") from error
        return value


def _cron(text: str) -> bool:
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration):
        return False
    return True


class UpkeepSettings(PipelineSettings):
    """As the others, but no snapshot starts it: it makes snapshots."""

    on: None = None


class PipelinesSettings(_Section):
    """The pipelines by name: `[pipelines.transform]`, …"""

    pipeline: PipelineSettings = PipelineSettings()
    transform: PipelineSettings = PipelineSettings()
    quality: PipelineSettings = PipelineSettings()
    maintain: UpkeepSettings = UpkeepSettings()


class AlertSettings(_Section):
    """Where critical quality failures are told. Endpoints are secrets: from the environment, `FRAZIL_ALERTS__SLACK`."""

    slack: SecretStr | None = Field(default=None, description="Slack-compatible incoming webhook")
    webhook: SecretStr | None = Field(default=None, description="any URL that takes a POST of JSON")
    email: tuple[str, ...] = Field(default=(), description="receivers")
    sender: str = "frazil@localhost"
    smtp_host: str = "127.0.0.1"
    smtp_port: int = Field(default=25, ge=1, le=65535)
    smtp_tls: Literal["none", "starttls", "tls"] = "none"
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    timeout: Duration = timedelta(seconds=10)
    retry: Duration = Field(default=timedelta(seconds=5), description="wait after the first refusal; doubled up to an hour")


class LineageSettings(_Section):
    """Where OpenLineage events go: `docs/lineage.md`. Without `url`, and without OPENLINEAGE_URL in the environment, nowhere.

    `every`: commits of this time are told as one run of landing. `queue`: events in memory, `keep`: events on disk while the
    receiver does not answer; what is beyond is dropped and counted.
    """

    url: str | None = Field(default=None, pattern=r"^(file|https?)://.", description="file://PATH (NDJSON) or http://HOST:PORT")
    namespace: str | None = Field(default=None, description="of jobs; default OPENLINEAGE_NAMESPACE, else the project's name")
    api_key: SecretStr | None = Field(default=None, description="only from the environment: FRAZIL_LINEAGE__API_KEY")
    every: Duration = timedelta(seconds=30)
    timeout: Duration = Field(default=timedelta(seconds=5), gt=timedelta())
    queue: int = Field(default=1_000, ge=1, le=1_000_000)
    keep: int = Field(default=10_000, ge=0, le=1_000_000)


class ApiSettings(_Section):
    """The HTTP door. `auth = "none"` binds to loopback only."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    auth: Literal["none", "keys", "jwt"] = "none"
    max_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    max_record_bytes: int = Field(default=1024 * 1024, ge=64)
    max_ratio: int = Field(default=100, ge=1)
    body_timeout: Duration = timedelta(seconds=30)
    max_inflight_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)


class Settings(BaseSettings):
    """A project's settings.

    `root` is the project's directory: relative `file://` and `sqlite://` paths start there.
    """

    model_config = SettingsConfigDict(env_prefix="FRAZIL_", env_nested_delimiter="__", extra="forbid", frozen=True)

    root: Path = Path(".")
    name: str = Field(default="shop", pattern=r"^[a-z][a-z0-9_]{0,62}$")
    default_contract: str | None = None
    log: LogSettings = LogSettings()
    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    lake: LakeSettings = LakeSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    process: ProcessSettings = ProcessSettings()
    live: LiveSettings = LiveSettings()
    pipelines: PipelinesSettings = PipelinesSettings()
    alerts: AlertSettings = AlertSettings()
    lineage: LineageSettings = LineageSettings()
    api: ApiSettings = ApiSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings  # the environment wins over the file

    def path_of(self, url: str) -> Path:
        """The local path of a `file://` or `sqlite://` URL, below `root` when relative.

        Raises:
            ConfigError: `url` has another scheme.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in ("file", "sqlite"):
            raise ConfigError(f"{url!r} is not a local path", hint="use file://PATH or sqlite://PATH", url=url)
        return (self.root / rest).resolve()

    @property
    def contracts_dir(self) -> Path:
        return self.root / "contracts"

    @property
    def state_dir(self) -> Path:
        """`.frazil/`: where the embedded default keeps its state."""
        return self.root / ".frazil"


def find_project(start: Path) -> Path:
    """The nearest directory at or above `start` that holds `frazil.toml`.

    Raises:
        ConfigError: There is none.
    """
    here = start.resolve()
    for directory in (here, *here.parents):
        if (directory / PROJECT_FILE).is_file():
            return directory
    raise ConfigError(f"no {PROJECT_FILE} in {here} or above", hint="run `frazil init DIR`, or go to a project", code="config.no_project")


def load(root: Path | None = None, *, profile: str | None = None) -> Settings:
    """Read a project's settings; `profile` lays `[profiles.NAME]` over the file, the environment wins over both.

    Raises:
        ConfigError: No project, unreadable TOML, unknown keys or values; names the key.
    """
    root = find_project(Path.cwd() if root is None else root)
    file = root / PROJECT_FILE
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", hint="correct the file", code="config.unreadable", file=str(file)) from error
    values = _with_profile(values, profile or os.environ.get("FRAZIL_PROFILE"), file)
    if "root" in values:
        hint = f"take it out of {PROJECT_FILE}: a project's root is where that file lies"
        raise ConfigError("root is no setting", hint=hint, code="config.invalid_value", key="root", file=str(file))
    try:
        # Last, for the environment would win over an argument.
        return Settings(**values).model_copy(update={"root": root})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        hint = f"correct `{key}` in {PROJECT_FILE} or its FRAZIL_ variable"
        raise ConfigError(
            f"{key} is no setting" if unknown else f"{key}: {first['msg'].removeprefix('Value error, ')}",
            hint=f"{hint}; known there: {', '.join(_siblings(first['loc']))}" if unknown else hint,
            code="config.invalid_value",
            key=key,
            file=str(file),
        ) from error


def _with_profile(values: dict[str, Any], profile: str | None, file: Path) -> dict[str, Any]:
    profiles = values.pop("profiles", {})
    tables = profiles.values() if isinstance(profiles, dict) else [profiles]
    if not all(isinstance(table, dict) for table in tables):
        hint = f"write each profile as a table in {PROJECT_FILE}: `[profiles.NAME]`"
        raise ConfigError("profiles holds no tables", hint=hint, code="config.invalid_value", key="profiles", file=str(file))
    if profile is None:
        return values
    if profile not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise ConfigError(f"no profile {profile!r} in {file}", hint=f"known profiles: {known}", code="config.unknown_profile")
    return _overlaid(values, profiles[profile])


def _siblings(place: tuple[int | str, ...]) -> list[str]:
    """The settings of the section that `place` lies in, sorted."""
    section: Any = Settings
    for part in place[:-1]:
        section = section.model_fields[str(part)].annotation
    return sorted(set(section.model_fields) - {"root"})


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that begin like ours and name no setting: most likely misspelt, since nothing reads them."""
    known = _OWN_VARIABLES | set(variables())
    return sorted(name for name in environment if name.upper().startswith("FRAZIL_") and name.upper() not in known)


def variables() -> list[str]:
    """Every variable that is a setting, sorted."""
    return sorted(f"FRAZIL_{name}".upper() for name in _keys(Settings))


def _keys(section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}__{key}" for key in _keys(field.annotation))


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _overlaid(merged[key], value) if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) else value
    return merged
