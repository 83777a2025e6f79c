"""A process that has everything loaded and forks commands that may be killed: a kill costs a fork, not a start of Python.

Reads one JSON object per line: `{"argv": […], "point": …, "log": path}` forks `frazil` with these words and answers with its
process id; `{"poll": pid}` answers with its end. A point names a function, before, during or after whose n-th call the
child kills itself with SIGKILL: no handler runs, no buffer is flushed, no lock is released but by the kernel.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

LOADED = (
    "frazil.api",
    "frazil.cli.roles",
    "frazil.contract.load",
    "frazil.engine.lines",
    "frazil.log.embedded",
    "frazil.process.rust",
    "frazil.project",
    "frazil.sink.repair",
    "frazil.table.maintenance",
    "uvicorn.protocols.http.httptools_impl",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def fated(inner: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    """A function whose n-th call is fatal."""
    calls = [0]

    def outer(*words: Any, **options: Any) -> Any:
        calls[0] += 1
        now = calls[0] == nth
        if now and when == "before":
            die()
        if now and when == "during":
            threading.Timer(0.0015, die).start()
        answer = inner(*words, **options)
        if now and when != "before":
            die()
        return answer

    return outer


def plant(point: dict[str, Any]) -> None:
    module, _, path = point["where"].partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for one in owners:
        owner = getattr(owner, one)
    setattr(owner, name, fated(getattr(owner, name), point["when"], point["nth"]))


def child(asked: dict[str, Any]) -> None:
    """Never returns."""
    code = 70
    try:
        words = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(words, 1)
        os.dup2(words, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(asked.get("env", {}))
        from frazil.cli.app import run
        from frazil.engine import upkeep

        upkeep._EVERY_COMMITS = 2  # so that expiry is among what may be cut off
        if asked.get("point") is not None:
            plant(asked["point"])
        code = run(asked["argv"])
    finally:
        os._exit(code)


def main() -> None:
    for name in LOADED:
        importlib.import_module(name)
    children: set[int] = set()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "poll" in asked:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            ended = pid != 0
            if ended:
                children.discard(pid)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status) if ended else None}), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            child(asked)
        children.add(pid)
        print(json.dumps({"pid": pid}), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
