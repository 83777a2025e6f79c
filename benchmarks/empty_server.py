"""The same server doing nothing: FastAPI reads a body and answers 202. What it makes is what the framework and the machine allow.

Server class and settings are those of `frazil serve`; what differs is the app. `python -m benchmarks.empty_server PORT`
"""

from __future__ import annotations

import sys
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response

from frazil.api.app import DrainingServer, server_config

ANSWER: Final = b'{"accepted":1}'

app = FastAPI()


@app.post("/api/v1/ingest")
async def ingest(request: Request) -> Response:
    """Read the body, keep nothing."""
    await request.body()
    return Response(ANSWER, 202, media_type="application/json")


@app.get("/api/v1/health/live")
async def live() -> dict[str, str]:
    return {"state": "ok"}


def main() -> None:
    config = server_config(app)
    config.port = int(sys.argv[1])
    DrainingServer(config).run()


if __name__ == "__main__":
    main()
