"""The ASGI application → a server that listens, and that ends without costing a player a poem.

Which server, and why: docs/performance.md.
"""

import asyncio
import os
import signal
from contextlib import suppress
from socket import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from poem_service.service import Service
from poem_service.web import connection

LEAVING_S = 2.0
"""Between SIGTERM and the closing of the port: a balancer sees `/ready` and looks away, kept connections end."""
LAST_S = 0.3
"""After it: whoever kept a connection still sends a request and has an answer."""
LAST_MAX_S = 2.0
"""As long for who connected in the last moment and has not said a word yet: a busy machine's client is slow."""
GRACE_S = 5.0
"""Then, for answers whose readers are slow. All together stay under the ten seconds that Docker gives."""


class Server(uvicorn.Server):
    """A server of one `Service`."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._leaving = False

    async def startup(self, sockets: list[socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once for whoever sits before it or asks twice; else be seen leaving first."""
        if sig == signal.SIGINT or self._leaving or not self.started:
            super().handle_exit(sig, frame)
            return
        self._leaving = True
        self._loop.call_soon_threadsafe(self._leave, sig, frame)

    def _leave(self, sig: int, frame: FrameType | None) -> None:
        self._service.drain()
        self._loop.call_later(LEAVING_S, super().handle_exit, sig, frame)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._service.drain()
        for server in self.servers:
            arriving = [one for listening in server.sockets for one in _arrived(listening.fileno())]
            server.close()
            for one in arriving:
                await self._loop.connect_accepted_socket(self._protocol, one)
        closed = self._loop.time()
        await asyncio.sleep(LAST_S)
        while self._loop.time() < closed + LAST_MAX_S and any(map(connection.is_silent, self.server_state.connections)):
            await asyncio.sleep(LAST_S / 10)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes one for each connection."""
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _arrived(listening: int) -> list[socket]:
    """Connections that the system has taken and the loop has not seen: closing the port would reset them."""
    found: list[socket] = []
    with suppress(OSError), socket(fileno=os.dup(listening)) as queue:  # nobody else waits, or no such queue here
        while True:
            one, _ = queue.accept()
            one.setblocking(False)
            found.append(one)
    return found


def server_config(app: Starlette, host: str, port: int) -> uvicorn.Config:
    """How the service listens; port 0 takes a free one."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="auto",  # uvloop where it is; there is none for Windows
        http=connection.Connection,
        timeout_keep_alive=connection.KEEP_ALIVE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # the application has them read, where proxies are trusted
        timeout_graceful_shutdown=int(GRACE_S),
    )
