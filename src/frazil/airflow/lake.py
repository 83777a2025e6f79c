"""What is new in a project's raw tables, read with PyIceberg alone."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frazil.errors import ConfigError
from frazil.pipeline.news import Heads, has_news, heads_from, heads_json, later, pin, raw_tables
from frazil.pipeline.store import RunStore


def new_heads(project: str, pipeline: str, fired: Heads, properties: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """The heads of all raw tables, JSON-ready, when a commit with rows is above those covered and those that fired; else None.

    Args:
        project: Directory with `frazil.toml`.
        pipeline: Whose runs say what is covered.
        fired: Heads that started a run already.
        properties: Of the PyIceberg catalog; default: as the project's settings say.

    Raises:
        ConfigError: `airflow.no_project`, `airflow.unknown_catalog`.
    """
    root = Path(project)
    namespace, found_properties = _settings(root)
    chosen = dict(properties or found_properties)
    if chosen.get("uri", "").startswith("sqlite:///") and not Path(chosen["uri"].removeprefix("sqlite:///")).exists():
        return None  # nothing has landed yet
    state = RunStore(root / ".frazil")
    known = later(state.known(pipeline), fired)
    heads, new = {}, False
    from pyiceberg.catalog import load_catalog

    catalog = load_catalog("frazil", **chosen)
    try:
        for name in raw_tables(name for _, name in catalog.list_tables(namespace)):
            metadata = catalog.load_table((namespace, name)).metadata
            at = pin(metadata)
            if at is not None:
                heads[name] = at
                new = new or has_news(metadata, known.get(name))
    finally:
        catalog.close()
    return heads_json(heads) if new else None


def _settings(root: Path) -> tuple[str, dict[str, str]]:
    """Namespace and catalog properties of a project."""
    try:
        settings = tomllib.loads((root / "frazil.toml").read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{root} is no project: {error}", code="airflow.no_project", hint="give the directory with frazil.toml", project=str(root)
        ) from error
    name = os.environ.get("FRAZIL_NAME") or settings.get("name", "shop")
    url = os.environ.get("FRAZIL_LAKE__CATALOG") or settings.get("lake", {}).get("catalog", "sqlite://.frazil/catalog.db")
    scheme, _, rest = url.partition("://")
    if scheme != "sqlite":
        raise ConfigError(
            f"no properties are known for catalog {url!r}",
            code="airflow.unknown_catalog",
            hint="give the sensor or trigger `catalog_properties`, as PyIceberg's load_catalog takes them",
            catalog=url,
        )
    file = (root / rest).resolve()
    implementation = "pyiceberg.io.fsspec.FsspecFileIO"
    return name, {"type": "sql", "uri": f"sqlite:///{file}", "init_catalog_tables": "false", "py-io-impl": implementation}


__all__ = ["heads_from", "heads_json", "new_heads"]
