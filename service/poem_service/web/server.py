"""The ASGI application → a server that listens. Which one, and why: docs/performance.md."""

import uvicorn
from starlette.applications import Starlette


def server_config(app: Starlette, host: str, port: int) -> uvicorn.Config:
    """How the service listens; port 0 takes a free one."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
