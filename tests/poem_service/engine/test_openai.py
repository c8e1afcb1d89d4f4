"""An OpenAI-shaped server behind the service: its poems are served, its faults are not."""

from collections.abc import AsyncIterator

import httpx
import pytest

from poem.shape import encode
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.ollama_stand_in import FAULTS, Call, status_500
from support.openai_stand_in import OpenAIStandIn
from support.served import a_hand, sent, serving, until


@pytest.fixture
async def server() -> AsyncIterator[OpenAIStandIn]:
    async with OpenAIStandIn() as server:
        yield server


@pytest.fixture
async def served(server: OpenAIStandIn) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    settings = Settings(engine="openai", openai_url=f"{server.url}/v1", openai_key="the-key-of-it", deadline_s=1.5)
    async with serving(settings) as (service, client):
        await until(service, ModelState.READY)
        yield service, client


async def test_its_poem_is_served(server: OpenAIStandIn, served: tuple[Service, httpx.AsyncClient]) -> None:
    response = await served[1].post("/api/generate-poem", json=sent(a_hand()))
    assert response.headers["x-poem-source"] == "model"
    body = server.calls[-1]
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["stream"] is False


async def test_talk_around_the_json_is_understood(
    server: OpenAIStandIn, served: tuple[Service, httpx.AsyncClient]
) -> None:
    async def talks(call: Call) -> None:
        await call.head(kind="text/event-stream")
        await call.text(f"```json\n{encode(call.right())}\n```")
        await call.end()

    server.behave = talks
    response = await served[1].post("/api/generate-poem", json=sent(a_hand()))
    assert response.headers["x-poem-source"] == "model"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hang_amid", "timeout"),
        ("done_length", "incomplete"),
        ("cut_body", "lost"),
        ("error_line", "upstream-error"),
        ("bad_json", "malformed"),
        ("unknown_title", "rules"),
        ("endless", "malformed"),
    ],
)
async def test_its_faults_cost_the_player_nothing(
    fault: str, reason: str, server: OpenAIStandIn, served: tuple[Service, httpx.AsyncClient]
) -> None:
    server.behave = FAULTS[fault]
    response = await served[1].post("/api/generate-poem", json=sent(a_hand()))
    assert (response.headers["x-poem-source"], response.headers["x-poem-reason"]) == ("composed", reason)


async def test_the_inside_of_an_error_stays_inside(
    server: OpenAIStandIn, served: tuple[Service, httpx.AsyncClient]
) -> None:
    server.behave = status_500
    response = await served[1].post("/api/generate-poem", json=sent(a_hand()))
    assert "runner" not in response.text
    assert "the-key-of-it" not in str(response.headers)
