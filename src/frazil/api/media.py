"""What a body is: by its media type, by CloudEvents headers, or by its first bytes when it does not say."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final, Literal

from frazil.api.problems import Refused

Format = Literal["json", "ndjson", "csv", "avro", "parquet", "cloudevent", "cloudevents", "binary-cloudevent", "unsaid"]
"""`json` one object or one array · `ndjson` one record per line · `csv` rows, the first names the columns · `avro` an object container
file · `parquet` · `cloudevent` one, `cloudevents` an array of CloudEvents in the structured mode · `binary-cloudevent` its attributes are
headers · `unsaid` look at the bytes."""

KNOWN: Final[dict[str, Format]] = {
    "application/json": "json",
    "text/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonlines": "ndjson",
    "application/jsonlines": "ndjson",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/avro": "avro",
    "application/vnd.apache.parquet": "parquet",
    "application/parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/cloudevents+json": "cloudevent",
    "application/cloudevents-batch+json": "cloudevents",
    "text/plain": "unsaid",
    "application/octet-stream": "unsaid",
    "": "unsaid",
}
OFFERED: Final = (
    "application/json, application/x-ndjson, text/csv, application/avro, application/vnd.apache.parquet, "
    "application/cloudevents+json, application/cloudevents-batch+json"
)
SPELLED: Final = ("csv", "avro", "parquet")
"""Formats whose records become canonical JSON at the door; the log names them as their origin."""
_MAGIC: Final[dict[bytes, Literal["avro", "parquet"]]] = {b"Obj\x01": "avro", b"PAR1": "parquet"}


def format_of(headers: Mapping[str, str]) -> Format:
    """The body's format as its headers say.

    Raises:
        Refused: `format.unknown` or `format.unknown_charset` (415); the hint names the known ones.
    """
    return _format_of(headers.get("content-type", ""), "ce-specversion" in headers)


@functools.lru_cache(maxsize=64)
def _format_of(content_type: str, is_binary_event: bool) -> Format:
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    _check_charset(parameters)
    if is_binary_event:
        if media not in ("", "application/json", "text/json") and not media.endswith("+json"):
            raise _unknown(media)
        return "binary-cloudevent"
    known = KNOWN.get(media)
    if known is None:
        raise _unknown(media)
    return known


def sniffed(body: bytes) -> Literal["json", "ndjson", "avro", "parquet"]:
    """`avro` and `parquet` by their first bytes; `json` when the body is one array or one object over several lines, else `ndjson`."""
    magic = _MAGIC.get(body[:4])
    if magic is not None:
        return magic
    text = body[:65536].lstrip(b" \t\r\n")
    if not text.startswith(b"{"):
        return "json" if text.startswith(b"[") else "ndjson"
    first = text.partition(b"\n")[0].rstrip(b" \t\r")
    return "ndjson" if first.endswith(b"}") or len(first) == len(text) else "json"


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in ("utf-8", "utf8", "us-ascii"):
            raise Refused(
                f"unknown charset {charset[:40]!r}",
                code="format.unknown_charset",
                hint="encode the body as UTF-8",
                headers={"Accept": OFFERED},
                charset=charset[:40],
            )


def _unknown(media: str) -> Refused:
    return Refused(
        f"unknown format {media[:80]!r}",
        code="format.unknown",
        hint=f"set Content-Type to one of: {OFFERED}",
        headers={"Accept": OFFERED},
        format=media[:80],
        known=OFFERED.split(", "),
    )
