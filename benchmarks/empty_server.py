"""The same server doing nothing: FastAPI reads a body and answers 202. What it makes is what the framework and the machine allow.

Server class and settings are those of `frazil serve`; what differs is the app. `python -m benchmarks.empty_server PORT`
"""

from __future__ import annotations

import sys
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response

from frazil.api.app import DrainingServer
from frazil.api.protocol import BoundedProtocol, ServerConfig

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
    config = ServerConfig(
        app,
        port=int(sys.argv[1]),
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
    )
    DrainingServer(config).run()


if __name__ == "__main__":
    main()
