"""A Kafka Connect worker with the settings and plugins that `deploy/connect` ships; it dies with its owner."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed import jars
from testbed.kafka import READY_S, die_with_parent, free_ports

SHIPPED = jars.HERE.parent / "deploy" / "connect"
PLUGINS = ("iceberg", "snowflake")
ANSWER_S = 120.0
_QUICK = {
    "offset.storage.partitions": 1,
    "status.storage.partitions": 1,
    "offset.flush.interval.ms": 1000,
    "scheduled.rebalance.max.delay.ms": 0,  # from here on: what a killed worker had is taken up in seconds
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 1000,
    "consumer.session.timeout.ms": 6000,
    "consumer.heartbeat.interval.ms": 1000,
}
_LOGGING = """Configuration:
  Appenders:
    Console: {name: out, PatternLayout: {pattern: "%d %p %c %m%n"}}
  Loggers:
    Root: {level: warn, AppenderRef: {ref: out}}
    logger: [{name: org.apache.iceberg.connect, level: info}]
"""


class Refused(RuntimeError):
    """The worker's answer to a request, when it is an error."""


class Worker:
    """One distributed worker on loopback, started by its constructor; a context manager.

    It resolves no name but its own, so it reaches nothing beyond loopback on any machine.

    Args:
        directory: Where its settings, its secrets and its output go.
        brokers: `host:port[,host:port…]`.
        environment: What `${env:NAME}` in connectors stands for, beside `SINK_BROKERS`.

    Raises:
        jars.Absent: No JDK, no Maven, or no jars.
    """

    def __init__(self, directory: Path, brokers: str, environment: Mapping[str, str]) -> None:
        self.secrets = directory / "secrets"
        self.secrets.mkdir(parents=True)
        self._directory = directory
        self._environment = {**os.environ, **environment, "SINK_BROKERS": brokers}
        (self.port,) = free_ports(1)
        here = {
            "listeners": f"http://127.0.0.1:{self.port}",
            "plugin.path": _plugins(directory / "plugins"),
            "config.providers.dir.param.allowed.paths": self.secrets,
        }
        shipped = (SHIPPED / "worker.properties").read_text()
        ours = "".join(f"{name}={value}\n" for name, value in {**_QUICK, **here}.items())
        (directory / "worker.properties").write_text(f"{shipped}\n{ours}")  # of two lines with one name the last counts
        (directory / "log4j2.yaml").write_text(_LOGGING)
        (directory / "hosts").write_text(f"127.0.0.1 localhost {os.uname().nodename}\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it on its port and wait until it answers."""
        settings = (f"-Dlog4j2.configurationFile={self._directory / 'log4j2.yaml'}", f"-Djdk.net.hosts.file={self._directory / 'hosts'}")
        main = ("org.apache.kafka.connect.cli.ConnectDistributed", str(self._directory / "worker.properties"))
        with (self._directory / "connect.log").open("ab") as out:
            self.process = subprocess.Popen(
                [*_java(), *settings, *main],
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        atexit.register(self.kill)
        self._wait()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def connector(self, name: str) -> dict[str, str]:
        """A connector's settings as they are shipped, but its secrets are looked for in `secrets`."""
        text = (SHIPPED / f"{name}-sink.json").read_text().replace("/run/secrets", str(self.secrets))
        settings: dict[str, str] = json.loads(text)
        return {**settings, "name": name}

    def validated(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """The worker's answer to the question whether a connector's settings are right; `errors` reads it."""
        plugin = settings["connector.class"].rpartition(".")[2]
        answer: dict[str, Any] = self.call("PUT", f"/connector-plugins/{plugin}/config/validate", settings)
        return answer

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request to the worker's REST API; its answer.

        Raises:
            Refused: It answered with an error.
        """
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, sent, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise Refused(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:1500]}") from error

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tail(self) -> str:
        """The end of its output."""
        return (self._directory / "connect.log").read_text(errors="replace")[-3000:]

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self.call("GET", "/connectors")  # answered only by a member of the group
                return
            except (Refused, OSError) as error:
                ended = self.process is not None and self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"the Connect worker is not ready: {error}; {self.tail()}") from error
            time.sleep(0.1)


def errors(answer: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a worker found wrong with a connector's settings, by setting."""
    found = {one["value"]["name"]: one["value"]["errors"] for one in answer["configs"] if one["value"]["errors"]}
    if sum(map(len, found.values())) != answer["error_count"]:
        raise RuntimeError(f"the worker counts {answer['error_count']} errors and names {found}")
    return found


def _java() -> list[str]:
    library = jars.folder(jars.HERE / "pom.xml")
    return [str(jars.java()), "-Xms64m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{library}/*"]


def _plugins(place: Path) -> Path:
    """A directory that holds one directory per plugin, as a worker wants it."""
    place.mkdir()
    for name in PLUGINS:
        (place / name).symlink_to(_with_manifests(jars.folder(SHIPPED / f"{name}.xml")), target_is_directory=True)
    return place


def _with_manifests(folder: Path) -> Path:
    """Let Connect's own tool list, once, what is in a plugin: without such a list each worker would read through all its jars."""
    with jars.alone(folder.name):
        if not (folder / ".listed").exists():
            tool = [*_java(), "org.apache.kafka.tools.ConnectPluginPath", "sync-manifests", "--plugin-location", str(folder)]
            listed = subprocess.run(tool, capture_output=True, text=True, timeout=300, check=False)
            if listed.returncode != 0:
                raise RuntimeError(f"the plugin {folder.name} could not be listed: {(listed.stdout + listed.stderr)[-1500:]}")
            (folder / ".listed").touch()
    return folder
