"""The server, on the event loop that a machine has."""

import asyncio
import sys

import httpx
import pytest

from poem_service.app import build_app
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.web.server import Server, server_config
from support.served import a_hand, sent


def test_it_serves_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none for Windows."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    service = Service.of(Settings(engine="none"))
    config = server_config(build_app(service), "127.0.0.1", 0)

    async def one_hand() -> httpx.Response:
        server = Server(config, service)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"http://127.0.0.1:{port}/api/generate-poem", json=sent(a_hand()))
        server.should_exit = True
        await running
        return answer

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        assert runner.run(one_hand()).json()["poem"]
        assert type(runner.get_loop()).__module__.startswith("asyncio")
