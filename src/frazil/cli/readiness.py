"""Whether the API of `frazil up` takes events yet, and if it does not for a while: why."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from rich.markup import escape

from frazil.cli.output import say

_QUICK_S = 5.0  # it is asked at every turn for so long, then once a second: each question is a line of its log
_PATIENCE_S = 8.0


class Readiness:
    """Asks `url` whether the API is ready; says once why it is not, when it answers and is not for eight seconds.

    Args:
        url: Address of the API, without a path.
        clock: Seconds that only grow.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = f"{url}/api/v1/health/ready"
        self._clock = clock
        self._began = clock()
        self._next = self._began
        self._told = False

    @property
    def seconds(self) -> float:
        """Since the first question could have been asked."""
        return self._clock() - self._began

    def __call__(self) -> bool:
        if self._clock() < self._next:
            return False
        self._next = self._clock() + (0.0 if self.seconds < _QUICK_S else 1.0)
        ready, parts = _asked(self._url)
        down = [f"{name}: {part['detail']}" for name, part in parts.items() if part["state"] == "down"]
        if down and not ready and not self._told and self.seconds >= _PATIENCE_S:
            self._told = True
            say(f"[yellow]not ready yet[/], {escape('; '.join(down))} ([bold]frazil doctor[/] says more)")
        return ready


def _asked(url: str) -> tuple[bool, dict[str, Any]]:
    """Whether the API is ready, and what it says of its parts: none when it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1.0) as answer:
            return answer.status == 200, {}
    except urllib.error.HTTPError as error:
        try:
            return False, dict(json.loads(error.read())["components"])
        except (ValueError, KeyError, TypeError, OSError):  # something else answers there
            return False, {}
    except (urllib.error.URLError, OSError):
        return False, {}
