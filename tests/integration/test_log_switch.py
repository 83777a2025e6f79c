"""From the embedded log to Kafka under traffic: what was acknowledged has landed once, whatever was killed on the way."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest
from testbed.kafka import Cluster

from frazil.engine import switch
from frazil.errors import ConfigError, Corrupt, FrazilError, Unavailable
from frazil.project import Project
from frazil.sink.books import verify
from frazil.table.rewind import rewind
from tests.integration.running import frazil
from tests.serving import TOML, make_project, order, serving


@pytest.fixture
def root(tmp_path: Path) -> Path:
    text = TOML + f'\n# how it runs on Kafka\n[kafka]\ntopic_prefix = "{uuid4()}."\npartitions = 2\ndead_letter_topics = false\n'
    return make_project(tmp_path / "project", toml=text)


def ids(project: Project) -> list[str]:
    rows = project.lake.raw(project.contract("orders")).scan(selected_fields=("id",)).to_arrow()
    return [str(one) for one in rows["id"].to_pylist()]


def landed_on(project: Project) -> list[str]:
    done = frazil("process", "--until-idle", cwd=project.settings.root)
    assert done.code == 0, done.err
    return ids(Project.at(project.settings.root))


def moved(project: Project, url: str) -> None:
    """What the command does."""
    switch.switch(project, switch.moved(project, url))
    switch.write_url(project.settings.root / "frazil.toml", url)


def balanced(project: Project) -> bool:
    contract = project.contract("orders")
    books = verify(contract, project.log_reader(contract), project.sink(contract), project.dead_letters)
    return books.balanced


def test_a_switch_under_traffic_loses_and_doubles_nothing(root: Path, kafka: Cluster) -> None:
    url, acknowledged, refused = f"kafka://{kafka.address}", [], threading.Event()
    with serving(root) as served:

        def send() -> None:
            while not refused.is_set():
                events = [order() for _ in range(20)]
                answer = served.send(events)
                if answer.status == 202:
                    acknowledged.extend(str(event["id"]) for event in events)
                else:
                    assert (answer.status, answer.code) == (503, "log.sealed")
                    refused.set()

        sender = threading.Thread(target=send)
        sender.start()
        while len(acknowledged) < 200:
            time.sleep(0.01)
        done = frazil("log", "switch", url, "--json", cwd=root)
        sender.join()
    assert done.code == 0, done.err
    assert sorted(ids(Project.at(root))) == sorted(acknowledged)
    text = (root / "frazil.toml").read_text()
    assert f'url = "{url}"' in text
    assert "# how it runs on Kafka" in text
    project = Project.at(root)
    assert project.logs_are_kafka
    with serving(root) as served:
        events = [order() for _ in range(30)]
        assert served.send(events).status == 202
    assert sorted(landed_on(project)) == sorted([*acknowledged, *(str(event["id"]) for event in events)])
    assert balanced(Project.at(root))


@pytest.mark.parametrize("step", ["seal_log", "lines.engine", "adopt_log", "write_url"])
def test_a_switch_that_was_killed_at_any_step_is_finished_by_the_next(
    root: Path, kafka: Cluster, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Killed after the first contract's seal or swap, before landing, before the file is written."""
    url = f"kafka://{kafka.address}"
    with serving(root) as served:
        events = [order() for _ in range(10)]
        assert served.send(events).status == 202
        assert served.send([order()], "/ingest?contract=bills").status == 202
    project = Project.at(root)

    class Killed(BaseException):
        pass

    calls = []

    def die(*args: object, **named: object) -> object:
        calls.append(args)
        if step in ("seal_log", "adopt_log") and len(calls) == 1:
            return real(*args, **named)
        raise Killed

    owner = {"seal_log": Project, "lines.engine": switch.lines}.get(step, switch)
    name = step.rpartition(".")[2]
    real = getattr(owner, name)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Killed):
            moved(project, url)
    assert frazil("log", "switch", url, cwd=root).code == 0
    assert sorted(landed_on(Project.at(root))) == sorted(str(event["id"]) for event in events)
    assert balanced(Project.at(root))


def test_an_old_log_with_records_left_is_not_given_up(root: Path, kafka: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody took rows back between the draining and the swap: the table reads the old log still, and the next run lands them."""
    url = f"kafka://{kafka.address}"
    with serving(root) as served:
        events = [order() for _ in range(10)]
        assert served.send(events).status == 202
    project = Project.at(root)
    with monkeypatch.context() as patch:
        patch.setattr(switch.lines, "engine", lambda *args, **named: Drained())
        with pytest.raises(FrazilError) as refused:
            moved(project, url)
    assert refused.value.code == "switch.not_drained"
    assert not Project.at(root).logs_are_kafka
    assert frazil("log", "switch", url, cwd=root).code == 0
    assert sorted(landed_on(Project.at(root))) == sorted(str(event["id"]) for event in events)


class Drained:
    """An engine that says it landed everything."""

    def run(self) -> int:
        return 0


def test_a_rewind_never_crosses_a_switch_and_the_old_log_is_known(root: Path, kafka: Cluster) -> None:
    with serving(root) as served:
        assert served.send([order()]).status == 202
    assert frazil("log", "switch", f"kafka://{kafka.address}", cwd=root).code == 0
    project = Project.at(root)
    lake, table = project.lake, project.lake.raw_name(project.contract("orders"))
    first = project.lake.raw(project.contract("orders")).metadata.snapshots[0].snapshot_id
    with pytest.raises(ConfigError) as refused:
        rewind(lake, table, first)
    assert refused.value.code == "rewind.across_switch"


def test_a_log_that_no_table_took_up_is_not_read(root: Path, kafka: Cluster) -> None:
    """A changed URL without a switch stops: the table's position says nothing about the other log."""
    with serving(root) as served:
        assert served.send([order()]).status == 202
    assert frazil("process", "--until-idle", cwd=root).code == 0
    other = switch.moved(Project.at(root), f"kafka://{kafka.address}")
    contract = other.contract("orders")
    with pytest.raises(Corrupt) as stopped:
        other.log_reader(contract).read(after=other.sink(contract).head().position, limit=1)
    assert stopped.value.code == "log.recreated"
    assert "log switch" in stopped.value.hint


def test_nothing_is_sealed_when_the_new_log_is_not_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.at(root)
    with pytest.raises((Unavailable, ConfigError)):
        switch.switch(project, switch.moved(project, "kafka://127.0.0.1:1"))
    with pytest.raises(ConfigError) as unknown:
        switch.switch(project, switch.moved(project, "pulsar://x"))
    assert unknown.value.code == "config.unknown_log"
    with serving(root) as served:
        assert served.send([order()]).status == 202


def test_a_dry_run_says_what_waits_and_changes_nothing(root: Path, kafka: Cluster) -> None:
    with serving(root) as served:
        assert served.send([order(), order()]).status == 202
        done = frazil("log", "switch", f"kafka://{kafka.address}", "--dry-run", "--json", cwd=root)
        assert done.code == 0, done.err
        assert {one["contract"]: (one["waiting"], one["adopted"]) for one in done.json} == {"orders": (2, False), "bills": (0, False)}
        assert served.send([order()]).status == 202
    assert not Project.at(root).logs_are_kafka


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '[log]\nurl = "u"\n'),
        ('a = 1\n[log]\nurl = "file://x" # here\nb = 1\n[lake]\nurl = "y"\n', 'a = 1\n[log]\nurl = "u" # here\nb = 1\n[lake]\nurl = "y"\n'),
        ("[log]\nmin = 1\n", '[log]\nmin = 1\nurl = "u"\n'),
        ('[lake]\nurl = "y"\n', '[lake]\nurl = "y"\n\n[log]\nurl = "u"\n'),
        ('log = { url = "file://x" }\n', 'log = { url = "u" }\n'),
        ('log.url = "file://x"\n', 'log.url = "u"\n'),
    ],
)  # fmt: skip
def test_only_the_logs_url_changes_in_the_file(text: str, expected: str) -> None:
    assert switch.rewritten(text, "u") == expected
