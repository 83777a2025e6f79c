"""A schema registry with Confluent's API (Apicurio), its store in memory or in a directory; it dies with its owner."""

from __future__ import annotations

import atexit
import signal
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from testbed import jars
from testbed.kafka import READY_S, die_with_parent, free_ports


class Registry:
    """Started by its constructor; a context manager.

    Args:
        directory: Where its output goes, and its store when it is to outlive a kill.
        durable: Keep the store in `directory`.

    Raises:
        jars.Absent: No JDK, no Maven, or no archive.
    """

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.port, self._management_port = free_ports(2)
        self._store = f"file:{directory / 'store'};WRITE_DELAY=0" if durable else "mem:registry"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start it on its port and wait until it answers."""
        settings = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self.port,
            "quarkus.management.host": "127.0.0.1",
            "quarkus.management.port": self._management_port,
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:{self._store}",
            "apicurio.datasource.jdbc.initial-size": 1,
            "apicurio.datasource.jdbc.min-size": 1,
            "apicurio.datasource.jdbc.max-size": 8,
        }
        memory = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        command = [str(jars.java()), *memory, *(f"-D{name}={value}" for name, value in settings.items()), "-jar", "quarkus-run.jar"]
        with (self._directory / "registry.log").open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=_unpacked(), stdout=out, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent
            )
        atexit.register(self.kill)
        self._wait()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/subjects", timeout=5):
                    return
            except (urllib.error.URLError, OSError) as error:
                ended = self.process is not None and self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    log = (self._directory / "registry.log").read_text(errors="replace")[-1500:]
                    raise RuntimeError(f"the registry is not ready: {error}; {log}") from error
            time.sleep(0.1)


def _unpacked() -> Path:
    """The archive, unpacked once."""
    place = jars.folder(jars.HERE / "registry.xml")
    with jars.alone(place.name):
        if not (place / "app").exists():
            archive = next(place.glob("*.tar.gz"))
            with tarfile.open(archive) as packed:
                packed.extractall(place / "part", filter="data")
            (place / "part").rename(place / "app")
    found = next((place / "app").rglob("quarkus-run.jar"))
    return found.parent
