"""API and processors killed at random moments, alone and together, while a client sends: every acknowledged event is there once."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from frazil.cli.pieces import Piece
from frazil.cli.sender import Sender
from tests.faults.killing import CONTRACT, Child, Ground, until, zygote

KILLS = 300 if os.environ.get("FRAZIL_CHAOS") else 12
SMALL = {"FRAZIL_PROCESS__BATCH_RECORDS": "500", "FRAZIL_PROCESS__MAX_DELAY": "PT0.2S"}


class Client(threading.Thread):
    """Sends batches until told to stop. What got a 202 is in the ground's books, what got none will get one: it is sent again."""

    def __init__(self, ground: Ground, url: str, seed: int) -> None:
        super().__init__()
        self.ground, self.url, self.chance = ground, url, random.Random(seed)
        self.ended = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        sender = Sender(self.url, CONTRACT, patience=60)
        try:
            while not self.ended.is_set():
                records = self.ground.batch(self.chance.randint(1, 60), self.chance.randint(0, 3), self.chance.randint(0, 5))
                sender.send(Piece(records, ["-"] * len(records), "ndjson"))
                time.sleep(self.chance.uniform(0, 0.02))
        except Exception as error:
            self.failure = error
        finally:
            sender.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/api/v1/health/ready", timeout=1):
            return True
    except OSError:
        return False


def _roles(ground: Ground, port: int) -> dict[str, tuple[str, ...]]:
    here = ("-C", str(ground.root))
    return {
        "api": (*here, "serve", "--port", str(port)),
        "first": (*here, "process", "--no-lease"),
        "second": (*here, "process", "--no-lease"),
    }


@pytest.mark.prop(2)
@pytest.mark.prop(15)
def test_random_kills_of_api_and_racing_processors_lose_and_double_nothing(tmp_path: Path) -> None:
    ground = Ground.made(tmp_path / "p")
    port, chance = _free_port(), random.Random(20261120)
    url = f"http://127.0.0.1:{port}"
    with zygote(tmp_path) as made:
        roles = _roles(ground, port)
        running: dict[str, Child] = {name: made.start(*words, **SMALL) for name, words in roles.items()}
        until(lambda: _answers(url))
        client = Client(ground, url, seed=1)
        client.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.2, 1.0))
            for name in chance.choice((("api",), ("first",), ("second",), ("first", "second"), ("api", "first", "second"))):
                assert running[name].ended() is None, made.log.read_text()[-2_000:]
                running[name].kill()
                running[name] = made.start(*roles[name], **SMALL)
        client.ended.set()
        client.join(120)
        assert client.failure is None, client.failure
        for name in ("api", "first", "second"):
            running[name].kill()
        command = ("-C", str(ground.root), "process", "--until-idle")
        assert made.start(*command, **SMALL).wait(120) == 0, made.log.read_text()[-2_000:]
    ground.judge()
