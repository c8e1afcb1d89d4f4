"""The OpenAI shape of the service, asked by OpenAI's own client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from poem.hand import Answer, draw_candidates
from poem.rules import check
from poem_service.request.intake import NOT_A_HAND
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.ollama_stand_in import MODEL, Call, OllamaStandIn, hang_amid, right, status_400, status_503
from support.openai_stand_in import OpenAIStandIn
from support.served import a_hand, sent, serving, until

SAID = 'はい、「灯り」です。\n改行も"引用"も。'
MESSAGES: Any = [
    {"role": "system", "content": "短く答える。"},
    {"role": "user", "content": "札を一枚。"},
    {"role": "assistant", "content": "灯り"},
    {"role": "user", "content": "もう一枚。"},
]
SCHEMA = {"type": "object", "properties": {"card": {"type": "string"}}, "required": ["card"]}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "card", "strict": True, "schema": SCHEMA}}


async def says(call: Call) -> None:
    await call.head()
    await call.text(SAID)
    await call.end()


async def stops_short(call: Call) -> None:
    await call.head()
    await call.text(SAID)
    await call.end("length")


def client_of(client: httpx.AsyncClient, key: str = "any-key") -> Any:
    """OpenAI's client, as anybody sets it up, past the environment's proxies."""
    own = openai.DefaultAsyncHttpxClient(trust_env=False)
    return AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key=key, max_retries=0, http_client=own)


@asynccontextmanager
async def talking(server: OllamaStandIn, **settings: Any) -> AsyncIterator[tuple[Service, Any]]:
    engine = "openai" if isinstance(server, OpenAIStandIn) else "ollama"
    settings |= {"engine": engine, f"{engine}_url": server.url}
    async with serving(Settings(**settings)) as (service, client):
        await until(service, ModelState.READY)
        server.behave = says
        async with client_of(client) as talker:
            yield service, talker


async def streamed(talker: Any, **fields: Any) -> tuple[str, list[str | None]]:
    """The text of a streamed chat, and how it says that it ended."""
    fields = {"model": MODEL, "messages": MESSAGES} | fields
    chunks = [chunk async for chunk in await talker.chat.completions.create(stream=True, **fields)]
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason]
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks), ends


@pytest.mark.parametrize("stand_in", [OllamaStandIn, OpenAIStandIn])
async def test_messages_pass_as_they_are_and_so_does_the_answer(stand_in: Callable[[], OllamaStandIn]) -> None:
    async with stand_in() as server, talking(server) as (_, talker):
        told = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 77, "seed": 2**31 + 5}
        whole = await talker.chat.completions.create(model=MODEL, messages=MESSAGES, **told, response_format=FORMAT)
        body = server.calls[-1]
        assert await streamed(talker) == (SAID, ["stop"])
        plain = server.calls[-1]
        server.behave = stops_short
        assert await streamed(talker, model="mansion-poem") == (SAID, ["length"])
        cut = await talker.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason, whole.model) == (SAID, "stop", MODEL)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == (SAID, "length")
    assert body["messages"] == plain["messages"] == MESSAGES
    if isinstance(server, OpenAIStandIn):
        assert {name: body[name] for name in told} == told | {"seed": 5}
        assert body["response_format"]["json_schema"]["schema"] == SCHEMA
        assert "response_format" not in plain
    else:
        assert body["options"] == {"temperature": 0.5, "top_p": 0.9, "num_predict": 77, "seed": 5}
        assert body["format"] == SCHEMA
        assert "format" not in plain


async def test_a_content_in_parts_is_one_text(ollama: OllamaStandIn) -> None:
    async with talking(ollama) as (_, talker):
        parts: Any = [{"role": "user", "content": [{"type": "text", "text": "一"}, {"type": "text", "text": "二"}]}]
        await talker.chat.completions.create(model=MODEL, messages=parts, response_format={"type": "json_object"})
    assert ollama.calls[-1]["messages"] == [{"role": "user", "content": "一\n二"}]
    assert ollama.calls[-1]["format"] == "json"


async def test_a_hand_beside_the_messages_is_prompted_as_the_game_does(ollama: OllamaStandIn) -> None:
    hand = a_hand(4)
    async with talking(ollama) as (service, talker):
        ollama.behave = right
        told = await talker.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body=sent(hand))
        asked = ollama.calls[-1]
        await service.writer.write(hand)
        game = ollama.calls[-1]
        candidates = tuple(asked["format"]["properties"]["title"]["enum"])
    answer = Answer(**json.loads(told.choices[0].message.content or ""))
    assert check(answer, hand, candidates) == []
    assert asked["messages"][0] == game["messages"][0]
    cards, titles = (body["messages"][1]["content"].partition("【タイトル選択候補】")[0] for body in (asked, game))
    assert cards == titles
    assert len(candidates) == len(draw_candidates(service.deck, Random(1)))


async def test_the_models_are_those_that_answer_now(ollama: OllamaStandIn) -> None:
    async with talking(ollama) as (service, talker):
        assert [model.id async for model in talker.models.list()] == [MODEL]
        assert (await talker.models.retrieve("mansion-poem")).owned_by == "mansion-poem"
        with pytest.raises(openai.NotFoundError):
            await talker.models.retrieve("gpt-5")
        with pytest.raises(openai.NotFoundError) as refused:
            await talker.chat.completions.create(model="gpt-5", messages=MESSAGES)
        assert refused.value.code == "model_not_found"
        service.drain()
        assert [model.id async for model in talker.models.list()] == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_is_away_is_said_in_openais_shape(stream: bool) -> None:
    async with serving(Settings(engine="none")) as (_, client), client_of(client) as talker:
        with pytest.raises(openai.InternalServerError) as refused:
            await talker.chat.completions.create(model=MODEL, messages=MESSAGES, stream=stream)
    error = refused.value.response.json()["error"]
    assert (refused.value.status_code, error["type"], error["param"]) == (503, "server_error", None)
    assert error["code"] in ("no-engine", "starting")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_that_fails_or_refuses_is_told_before_a_stream_begins(
    ollama: OllamaStandIn, stream: bool
) -> None:
    async with talking(ollama) as (service, talker):
        ollama.behave = status_400
        with pytest.raises(openai.BadRequestError) as refused:
            await talker.chat.completions.create(model=MODEL, messages=MESSAGES, stream=stream)
        assert "grammar" not in refused.value.message  # the inside stays inside
        assert service.keeper.breaker.failures == 0  # and no fault of the server's
        ollama.behave = status_503
        with pytest.raises(openai.InternalServerError) as busy:
            await talker.chat.completions.create(model=MODEL, messages=MESSAGES, stream=stream)
        assert busy.value.code == "busy"
        assert service.writer.fleet.ahead == 0


async def test_a_stream_that_breaks_says_so_to_the_client(ollama: OllamaStandIn) -> None:
    async def breaks(call: Call) -> None:
        await call.head()
        await call.text(SAID)
        await call.fail("llama runner process has terminated")

    async with talking(ollama) as (_, talker):
        ollama.behave = breaks
        with pytest.raises(openai.APIError, match="upstream-error"):
            await streamed(talker)


async def test_a_stop_ends_a_chat_at_once(ollama: OllamaStandIn) -> None:
    async def hangs(call: Call) -> None:
        await call.head()
        await asyncio.sleep(3600)

    async with talking(ollama, deadline_s=60) as (service, talker):
        ollama.behave = hangs
        asking = asyncio.create_task(talker.chat.completions.create(model=MODEL, messages=MESSAGES))
        while not service.writer.fleet.ahead:
            await asyncio.sleep(0.01)
        service.drain()
        async with asyncio.timeout(5):
            with pytest.raises(openai.InternalServerError) as stopped:
                await asking
        registry = service.writer.metrics.registry
        assert registry.get_sample_value("poem_chats_total", {"end": "stopping"}) == 1
    assert stopped.value.code == "stopping"


async def test_a_client_that_leaves_its_stream_ends_the_work_upstream(ollama: OllamaStandIn) -> None:
    async with talking(ollama, deadline_s=60) as (service, talker):
        ollama.behave = hang_amid
        async for _ in await talker.chat.completions.create(
            model=MODEL, messages=[], stream=True, extra_body=sent(a_hand())
        ):
            break
        await talker.close()
        async with asyncio.timeout(5):
            while not (ollama.left and service.writer.fleet.ahead == 0):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"messages": []}, "messages: empty"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "type"),
        ({"temperature": 9}, "temperature"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools: not known here"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: missing"),
        ({"extra_body": {"selectedPairs": []}}, NOT_A_HAND),
    ],
)
async def test_what_is_not_taken_is_refused_by_name(fields: dict[str, Any], told: str) -> None:
    async with serving(Settings(engine="none")) as (_, client), client_of(client) as talker:
        with pytest.raises(openai.BadRequestError, match=told) as refused:
            await talker.chat.completions.create(**{"model": MODEL, "messages": MESSAGES} | fields)
    assert refused.value.type == "invalid_request_error"


async def test_the_same_key_limits_and_shape_of_errors() -> None:
    settings = Settings(engine="none", api_keys=("the-right-key",), rate_limit=2)
    async with serving(settings) as (_, client), client_of(client) as talker:
        with pytest.raises(openai.AuthenticationError) as stranger:
            await talker.models.list()
        assert stranger.value.code == "invalid_api_key"
        async with client_of(client, "the-right-key") as friend:
            long = [{"role": "user", "content": "あ" * 70_000}]
            with pytest.raises(openai.APIStatusError) as large:
                await friend.chat.completions.create(model=MODEL, messages=long)
            assert (large.value.status_code, large.value.code) == (413, "too_large")
            for kind in (openai.InternalServerError, openai.RateLimitError):
                with pytest.raises(kind):
                    await friend.chat.completions.create(model=MODEL, messages=MESSAGES)
            with pytest.raises(openai.NotFoundError):
                await friend.embeddings.create(model=MODEL, input="x")
        metrics = (await client.get("/metrics", headers={"authorization": "Bearer the-right-key"})).text
    assert 'poem_chats_total{end="' in metrics
