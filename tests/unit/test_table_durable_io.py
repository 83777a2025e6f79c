"""What a local file needs to survive a power cut: its bytes, its name, and the names of the directories it lies in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frazil.flow import pump
from frazil.table.durable_io import DurableFileIO, make_directory
from tests.landing import Judge, ListLog, event, sink_and_keys


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were fsynced, in order."""
    paths: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    return paths


def test_a_closed_file_and_every_new_name_are_on_disk(tmp_path: Path, synced: list[str]) -> None:
    with DurableFileIO().new_output(f"file://{tmp_path}/a/b/file").create() as stream:
        stream.write(b"bytes")
    assert synced == [str(tmp_path), f"{tmp_path}/a", f"{tmp_path}/a/b/file", f"{tmp_path}/a/b"]
    assert (tmp_path / "a/b/file").read_bytes() == b"bytes"


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    output = DurableFileIO().new_output(f"file://{tmp_path}/file")
    output.create().close()
    with pytest.raises(FileExistsError):
        output.create()
    output.create(overwrite=True).close()


def test_a_directory_that_is_there_is_left_alone(tmp_path: Path, synced: list[str]) -> None:
    make_directory(tmp_path)
    assert synced == []


def test_everything_a_commit_names_is_on_disk_before_the_swap(tmp_path: Path, synced: list[str]) -> None:
    sink, keys = sink_and_keys(tmp_path)
    pump(ListLog({"0": [event(1), b"{"]}), Judge(), keys, sink)
    table = sink.lake.raw(sink.contract)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    named = [table.metadata_location, snapshot.manifest_list, *(manifest.manifest_path for manifest in snapshot.manifests(table.io))]
    for path in (location.removeprefix("file://") for location in named):
        assert path in synced
        assert str(Path(path).parent) in synced[synced.index(path) :], "its name, too"
