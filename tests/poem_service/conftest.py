"""What most tests of the service stand on: an Ollama that does as it is told, and the service before it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from poem_service.web import server
from support.ollama_stand_in import OllamaStandIn
from support.served import deadline_of, parameter, serving, until


@pytest.fixture(autouse=True)
def _nobody_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody comes late to a service in this process; test_stop.py asks services of their own."""
    monkeypatch.setattr(server, "LAST_S", 0.0)


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaStandIn]:
    async with OllamaStandIn() as standing:
        yield standing


@pytest.fixture
async def served(
    ollama: OllamaStandIn, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    deadline_s = deadline_of(parameter(request, "fault"))
    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=deadline_s)) as (service, client):
        await until(service, ModelState.READY)
        yield service, client
