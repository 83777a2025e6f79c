"""How an event leaves: as a line of a file, or as a request. One call, one event; a failure says whether to come again."""

from __future__ import annotations

import fcntl
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from frazil.errors import FrazilError, Unavailable
from frazil.lineage import Receiver

Send = Callable[[str], None]
_REFUSALS = frozenset({400, 405, 409, 411, 413, 414, 415, 422})
"""Answers that the same event would get again. 401, 403 and 404 are not among them: a key or a path can be put right."""


class Refused(FrazilError):
    """The receiver does not want this event; another try would not change that."""

    code = "lineage.refused"


def transport(to: Receiver, timeout: float) -> Send:
    """What sends one event, given as JSON text.

    Raises (the result, when called):
        Unavailable: `lineage.unavailable`: not taken now; to be sent again.
        Refused: Not taken ever.
    """
    if to.file is not None:
        file = to.file
        return lambda event: _append(file, event)
    return lambda event: _post(to, event, timeout)


def _append(file: Path, event: str) -> None:
    """Add a line. Lines of several processes never mix; one that does not fit the disk leaves nothing behind."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab", buffering=0) as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            before = out.seek(0, os.SEEK_END)
            line = event.encode() + b"\n"
            try:
                if out.write(line) != len(line):
                    raise OSError("the disk took a part of the line only")
            except OSError:
                out.truncate(before)
                raise
    except OSError as error:
        raise _away(f"events cannot be written to {file}: {error.strerror or error}", str(file)) from error


def _post(to: Receiver, event: str, timeout: float) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "frazil"}
    if to.api_key:
        headers["Authorization"] = f"Bearer {to.api_key}"
    request = urllib.request.Request(to.url, event.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        said = f"{to.url} answered {error.code}"
        if error.code in _REFUSALS:
            raise Refused(said, hint="the receiver's log says why", url=to.url, status=error.code) from error
        raise _away(said, to.url) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _away(f"{to.url} does not answer: {reason}", to.url) from error


def _away(message: str, where: str) -> Unavailable:
    hint = "events are kept in .frazil/lineage and sent later; is [lineage] right?"
    return Unavailable(message, code="lineage.unavailable", hint=hint, receiver=where)
