"""File access for local warehouses that survives a power cut: a file is on disk before anybody can name it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import cast

from pyiceberg.io import OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory and its parents, each durable in its own parent; one that exists is left alone. Raises OSError."""
    missing = []
    at = path
    while not at.is_dir():
        missing.append(at)
        at = at.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


class DurableStream:
    """A new local file; `close` returns when its bytes and its name are on disk."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        make_directory(path.parent)
        self._path = path
        self._file = path.open("wb" if overwrite else "xb")

    def write(self, b: bytes) -> int:
        return self._file.write(b)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        sync_directory(self._path.parent)

    def __enter__(self) -> DurableStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class DurableFile(PyArrowFile):
    """A local file whose `create` is durable."""

    def create(self, overwrite: bool = False) -> OutputStream:
        return cast("OutputStream", DurableStream(Path(self._path), overwrite=overwrite))


class DurableFileIO(PyArrowFileIO):
    """PyArrow's file access with fsync of every local file, created directory and its parent.

    Named in the catalog's properties, never in a table's: a foreign reader needs no Frazil. Other schemes are PyArrow's own;
    an object store answers when the object is durable.
    """

    def new_output(self, location: str) -> PyArrowFile:
        scheme, _, path = self.parse_location(location, self.properties)
        if scheme != "file":
            return super().new_output(location)
        return DurableFile(location, path, self.fs_by_scheme(scheme, ""))
