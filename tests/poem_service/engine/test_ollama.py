"""Ollama over its stand-in: how it is asked, what is read of its answers, what is kept of its connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from random import Random

import pytest

from poem.game import builtin_game
from poem.hand import draw_candidates
from poem.shape import decode
from poem_service.engine.ollama import OllamaEngine
from poem_service.engine.protocol import Ask, Piece
from poem_service.engine.upstream import SIP_S
from poem_service.errors import AnswerError, EngineError, Reason, RefusedError
from poem_service.record.log import request_id
from support.ollama_stand_in import FAULTS, MODEL, Call, OllamaStandIn, right
from support.served import a_hand

GAME = builtin_game()


@pytest.fixture
async def engine(ollama: OllamaStandIn) -> AsyncIterator[OllamaEngine]:
    async with aclosing(OllamaEngine(ollama.url, MODEL)) as engine:
        yield engine


def ask(seed: int = 1, *, stream: bool = True) -> Ask:
    return Ask.of(GAME, a_hand(seed), draw_candidates(GAME.deck, Random(seed)), seed, stream=stream)


async def pieces(engine: OllamaEngine, asked: Ask) -> list[Piece]:
    return [piece async for piece in engine.write(asked)]


def text(found: list[Piece]) -> str:
    return "".join(piece.text for piece in found)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_read_whole(engine: OllamaEngine, ollama: OllamaStandIn, stream: bool) -> None:
    found = await pieces(engine, ask(stream=stream))
    assert decode(text(found)).title in ask().candidates
    assert ollama.calls[-1]["stream"] is stream
    if stream:
        assert found[0] == Piece("", 0)  # the headers
        assert all(piece.writing_s is None for piece in found)
    else:
        assert len(found) == 1
        assert found[0].tokens == len(found[0].text)
        assert found[0].writing_s == pytest.approx(0.001 * found[0].tokens)


async def test_thoughts_are_signs_of_life_and_no_part_of_the_answer(
    engine: OllamaEngine, ollama: OllamaStandIn
) -> None:
    async def thinks(call: Call) -> None:
        await call.head()
        for _ in range(3):
            await call.chunk(b'{"message":{"content":"","thinking":"\xe3\x81\x86"},"done":false}\n')
        await right_text(call)

    async def right_text(call: Call) -> None:
        await call.text('{"title":"a","poem":"b"}')
        await call.end()

    ollama.behave = thinks
    found = await pieces(engine, ask())
    assert text(found) == '{"title":"a","poem":"b"}'
    assert "".join(piece.thought for piece in found) == "ううう"
    assert sum(piece.tokens for piece in found) == 3 + 8


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_refuses_the_schema_is_asked_less_strictly(
    engine: OllamaEngine, ollama: OllamaStandIn, stream: bool
) -> None:
    async def picky(call: Call) -> None:
        if call.body.get("format") != "json":
            await FAULTS["status_400"](call)
            return
        await call.head()
        await call.text('{"title":"a","poem":"b"}')
        await call.end()

    ollama.behave = picky
    for _ in range(4):
        assert text(await pieces(engine, ask(stream=stream))) == '{"title":"a","poem":"b"}'
    strict_then_not = [False, True]
    assert [call["format"] == "json" for call in ollama.calls] == strict_then_not * 2 + [True] * 2


async def test_one_refusal_is_no_reason_to_ask_less_strictly_for_ever(
    engine: OllamaEngine, ollama: OllamaStandIn
) -> None:
    async def once(call: Call) -> None:
        ollama.behave = right
        await FAULTS["status_400"](call)

    ollama.behave = once
    for seed in range(3):
        await pieces(engine, ask(seed))
    assert ["schema" if call["format"] != "json" else "json" for call in ollama.calls] == [
        "schema",
        "json",
        "schema",
        "schema",
    ]


async def test_what_is_refused_in_every_form_is_refused(engine: OllamaEngine, ollama: OllamaStandIn) -> None:
    ollama.behave = FAULTS["status_400"]
    with pytest.raises(RefusedError, match="failed to parse grammar") as refusal:
        await pieces(engine, ask())
    assert (refusal.value.status, refusal.value.reason) == (400, Reason.UPSTREAM_ERROR)
    assert len(ollama.calls) == 3
    ollama.behave = FAULTS["status_500"]
    with pytest.raises(EngineError):
        await pieces(engine, ask())
    assert len(ollama.calls) == 4  # nothing weaker helps there


async def test_an_answer_that_was_dropped_is_incomplete_in_one_piece_too(
    engine: OllamaEngine, ollama: OllamaStandIn
) -> None:
    ollama.behave = FAULTS["done_false"]
    with pytest.raises(AnswerError) as refusal:
        await pieces(engine, ask(stream=False))
    assert refusal.value.reason is Reason.INCOMPLETE


@pytest.mark.parametrize("stream", [True, False])
async def test_the_connection_serves_the_next_ask(engine: OllamaEngine, ollama: OllamaStandIn, stream: bool) -> None:
    ollama.behave, ollama.terminator_s = right, 2 * SIP_S
    for seed in range(3):
        await pieces(engine, ask(seed, stream=stream))
        if stream:
            await asyncio.sleep(3 * SIP_S)
    assert ollama.connections == 1


async def test_the_request_s_id_goes_upstream(engine: OllamaEngine, ollama: OllamaStandIn) -> None:
    token = request_id.set("stand-0007")
    try:
        await pieces(engine, ask())
    finally:
        request_id.reset(token)
    await pieces(engine, ask())
    assert [("x-request-id: stand-0007" in head.lower()) for head in ollama.heads] == [True, False]


@pytest.mark.parametrize("note", ["", "no JSON", '{"mansion_poem.game":"ours","mansion_poem.forced":"a *\\/ b } c"}'])
async def test_what_the_template_notes_of_a_model_on_a_shared_base_is_read(
    engine: OllamaEngine, ollama: OllamaStandIn, note: str
) -> None:
    ollama.version = None
    ollama.template = f"{{{{/* mansion_poem {note} */}}}}{{{{ .Prompt }}}}"
    training = (await engine.inspect()).training
    told = ("ours", "a */ b } c") if note.startswith("{") else (None, None)
    assert (training.game, training.forced) == told
