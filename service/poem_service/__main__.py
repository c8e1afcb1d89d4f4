"""The environment → a service that listens."""

import gc
import os
import sys

import uvicorn
from starlette.applications import Starlette

from poem.errors import PoemError
from poem_service import jsonlog
from poem_service.app import build_app
from poem_service.errors import ServiceError
from poem_service.service import Service
from poem_service.settings import Settings


def main() -> None:
    """`poem-service`: serve until told to stop; one line and status 2 if the settings are no good."""
    try:
        settings = Settings.from_env(os.environ)
        service = Service.of(settings)
    except (ServiceError, PoemError) as error:
        sys.stderr.write(f"poem-service: {error}\n")
        raise SystemExit(2) from None
    jsonlog.set_up()
    gc.collect()
    gc.freeze()  # the deck and the word files stay for ever; no collection needs to walk them
    uvicorn.Server(server_config(build_app(service), settings.host, settings.port)).run()


def server_config(app: Starlette, host: str, port: int) -> uvicorn.Config:
    """How the service listens. Which server, and why: docs/performance.md."""
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


if __name__ == "__main__":
    main()
