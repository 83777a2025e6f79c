"""A process that appends to a log and says on stdout what was acknowledged; the fault tests kill it.

Run as `python log_appender.py DIRECTORY '{"name": "a", "batches": 10, …}'`. It imports the kernel alone: it starts fast.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

import data_processor_rs as kernel


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def values(name: str, batch: int, size: int, pad: int) -> list[tuple[bytes, None, None]]:
    return [(f"{name}:{batch}:{number}:".encode() + b"." * pad, None, None) for number in range(size)]


def append(writer: kernel.EmbeddedLogWriter, batch: int, todo: dict[str, Any]) -> bool:
    records = values(todo["name"], batch, 1 + batch % todo["size"], todo["pad"])
    try:
        first, last, *_ = writer.append(records, request=batch, received_at_us=1_800_000_000_000_000 + batch)
    except kernel.KernelError as error:
        say("failed", batch, error.code, error.retry)
        return False
    say("acked", batch, first, last)
    return True


def main(directory: str, todo: dict[str, Any]) -> None:
    todo = {"name": "a", "start": 0, "batches": 1_000_000, "size": 7, "pad": 100, "segment_bytes": 65_536, **todo}
    if todo.get("files"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (todo["files"], todo["files"]))
    try:
        writer = kernel.EmbeddedLogWriter(directory, segment_bytes=todo["segment_bytes"], min_free_bytes=todo.get("min_free_bytes", 0))
    except kernel.KernelError as error:
        say("failed", -1, error.code, error.retry)
        return
    say("open", writer.log_id)
    for batch in range(todo["start"], todo["start"] + todo["batches"]):
        if not append(writer, batch, todo) and todo.get("until_failure"):
            break
        if todo.get("roll_every") and batch % todo["roll_every"] == 0:
            writer.roll()
        if todo.get("unlink_every") and batch % todo["unlink_every"] == 0:
            say("unlinked", writer.unlink(todo["unlink"]))
        time.sleep(todo.get("pause", 0))
    if todo.get("linger"):
        sys.stdin.read()
    writer.close()
    say("closed")


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
