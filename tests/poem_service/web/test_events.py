"""Streams: they are kept alive, and end well after `done` and never without."""

import asyncio

import httpx
import pytest

from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from poem_service.web import events as events_module
from support.ollama_stand_in import FAULTS, Call, OllamaStandIn, right
from support.served import a_hand, events, sent, serving, until

STREAM = {"accept": "text/event-stream"}


async def test_a_quiet_stream_says_that_it_lives(
    ollama: OllamaStandIn, served: tuple[Service, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "QUIET_S", 0.02)

    async def slowly(call: Call) -> None:
        await asyncio.sleep(0.45)
        await right(call)

    ollama.behave = slowly
    response = await served[1].post("/api/generate-poem", json=sent(a_hand()), headers=STREAM)
    assert response.text.count(": still writing\n\n") >= 3
    assert events(response.text)[-1][0] == "done"


async def test_a_stream_whose_poem_cannot_be_made_does_not_end_well() -> None:
    async with serving(Settings(engine="none")) as (service, client):

        async def fail(*_: object, **__: object) -> None:
            raise RuntimeError("ours")

        service.writer.write = fail  # type: ignore[method-assign, assignment]
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/api/generate-poem", json=sent(a_hand()), headers=STREAM)
        assert (await client.get("/health")).status_code == 200


async def test_whoever_waits_is_told_where(ollama: OllamaStandIn) -> None:
    async def slowly(call: Call) -> None:
        await asyncio.sleep(0.3)
        await right(call)

    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=20)) as (service, client):
        await until(service, ModelState.READY)
        ollama.behave = slowly
        first = asyncio.create_task(client.post("/api/generate-poem", json=sent(a_hand(1)), headers=STREAM))
        while not service.writer.fleet.ahead:
            await asyncio.sleep(0.01)
        second = await client.post("/api/generate-poem", json=sent(a_hand(2)), headers=STREAM)
        await first
    found = events(second.text)
    assert found[0][0] == "waiting"
    assert found[0][1]["place"] == 1
    assert found[0][1]["seconds"] >= 0
    assert found[-1][1]["source"] == "model"


async def test_a_streaming_client_that_leaves_ends_the_work_upstream_and_is_counted(ollama: OllamaStandIn) -> None:
    async with serving(Settings(engine="ollama", ollama_url=ollama.url, deadline_s=60)) as (service, client):
        await until(service, ModelState.READY)
        ollama.behave = FAULTS["hang_amid"]
        async with client.stream("POST", "/api/generate-poem", json=sent(a_hand()), headers=STREAM) as response:
            async for _ in response.aiter_text():
                break
        async with asyncio.timeout(5):  # long before the service itself would give up
            while not (ollama.left and service.writer.fleet.ahead == 0):
                await asyncio.sleep(0.01)
        text = (await client.get("/metrics")).text
    assert 'poem_http_requests_total{status="499"} 1.0' in text
    assert "poem_answers_total{" not in text
