"""An OpenAI-shaped server behind the service: its poems are served, its faults are not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from random import Random

import httpx
import pytest

from poem.game import builtin_game
from poem.hand import draw_candidates
from poem.shape import encode
from poem_service.engine.openai import OpenAIEngine
from poem_service.engine.protocol import Ask
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.ollama_stand_in import FAULTS, MODEL, Call, status_500
from support.openai_stand_in import OpenAICall, OpenAIStandIn
from support.served import a_hand, deadline_of, events, parameter, sent, serving, until

GAME = builtin_game()


@pytest.fixture
async def server() -> AsyncIterator[OpenAIStandIn]:
    async with OpenAIStandIn() as server:
        yield server


@pytest.fixture
async def served(
    server: OpenAIStandIn, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    deadline_s, key = deadline_of(parameter(request, "fault")), "the-key-of-it"
    settings = Settings(engine="openai", openai_url=f"{server.url}/v1", openai_key=key, deadline_s=deadline_s)
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


def ask(*, stream: bool = True) -> Ask:
    return Ask.of(GAME, a_hand(), draw_candidates(GAME.deck, Random(1)), 1, stream=stream)


@pytest.fixture
async def engine(server: OpenAIStandIn) -> AsyncIterator[OpenAIEngine]:
    async with aclosing(OpenAIEngine(server.url, MODEL)) as engine:
        yield engine


async def test_nothing_is_read_past_the_end(server: OpenAIStandIn, engine: OpenAIEngine) -> None:
    async def stays(call: Call) -> None:
        await call.head(kind="text/event-stream")
        await call.text("{}")
        for last in ('{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}', "[DONE]"):
            await call.chunk(f"data: {last}\n\n".encode())
        await asyncio.sleep(3600)

    server.behave = stays
    async with asyncio.timeout(2):
        assert "".join([piece.text async for piece in engine.write(ask())]) == "{}"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_model_that_thinks_before_it_writes_is_used(
    server: OpenAIStandIn, engine: OpenAIEngine, stream: bool
) -> None:
    async def thinks(call: Call) -> None:
        assert isinstance(call, OpenAICall)
        await call.head(kind="text/event-stream")
        for _ in range(4):
            await call.think("題は…")
        await asyncio.sleep(0.05)
        await call.text("{}")
        await call.end()

    server.behave = thinks
    found = [piece async for piece in engine.write(ask(stream=stream))]
    assert "".join(piece.text for piece in found) == "{}"
    assert "".join(piece.thought for piece in found) == "題は…" * 4


async def test_thoughts_in_the_text_are_read_over_and_kept_in_the_log(
    server: OpenAIStandIn, served: tuple[Service, httpx.AsyncClient]
) -> None:
    async def thinks(call: Call) -> None:
        await call.head(kind="text/event-stream")
        await call.text('<think>題は{"poem": "候補"}か。</think>' + encode(call.right()))
        await call.end()

    server.behave = thinks
    plain = await served[1].post("/api/generate-poem", json=sent(a_hand()))
    streamed = await served[1].post("/api/generate-poem", json=sent(a_hand()), headers={"accept": "text/event-stream"})
    assert plain.headers["x-poem-source"] == "model"
    found = events(streamed.text)
    assert "".join(fields["text"] for name, fields in found if name == "delta") == found[-1][1]["poem"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_knows_no_schema_is_asked_for_less(
    server: OpenAIStandIn, engine: OpenAIEngine, stream: bool
) -> None:
    async def picky(call: Call) -> None:
        if call.body.get("response_format", {}).get("type") == "json_schema":
            await call.answer(400, b'{"error": {"message": "response_format.type: unknown value json_schema"}}')
            return
        await call.head(kind="text/event-stream")
        await call.text("{}")
        await call.end()

    server.behave = picky
    for _ in range(3):
        assert "".join([piece.text async for piece in engine.write(ask(stream=stream))]) == "{}"
    kinds = [call["response_format"]["type"] for call in server.calls]
    assert kinds == ["json_schema", "json_object"] * 2 + ["json_object"]
