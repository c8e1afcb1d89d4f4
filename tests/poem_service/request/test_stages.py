"""A model that was trained in two stages: an outline is asked for, then its poem, behind the same ladder."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from poem.game import builtin_game, load_game
from poem.hand import Answer
from poem.outline import Outline, encode_outline, outline_of, outline_schema
from poem.prompt import render_outlined_prompt
from poem.rules import check
from poem.shape import answer_schema, encode
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.ollama_stand_in import Call, OllamaStandIn, hang_before_first
from support.served import PATIENT_S, a_hand, events, sent, serving, until

GAME = builtin_game()
HAND = a_hand(5)
WORDS_ASKED = '"words"'


@dataclass
class InTwoStages:
    """Writes outlines for hands, and the poem of each for it; `outline` and `poem` may go otherwise about it."""

    outline: Callable[["InTwoStages", Call], Awaitable[None]] | None = None
    poem: Callable[[Call], Awaitable[None]] | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Call] = field(default_factory=list)

    async def __call__(self, call: Call) -> None:
        self.asked.append(call)
        if "【タイトル選択候補】" in _user(call):
            await (self.outline(self, call) if self.outline else self.right(call))
        elif self.poem:
            await self.poem(call)
        else:
            await say(call, encode(self.answers[_user(call)]))

    async def right(self, call: Call) -> None:
        answer = call.right()
        outline = outline_of(answer)
        self.answers[_second(outline)] = answer
        await say(call, encode_outline(outline))


def _user(call: Call) -> str:
    return str(call.body["messages"][1]["content"])


def _second(outline: Outline) -> str:
    return render_outlined_prompt(GAME.instructions, outline).user


async def say(call: Call, text: str, gap_s: float = 0) -> None:
    await call.head()
    await call.text(text, gap_s=gap_s)
    await call.end()


@pytest.fixture
def ollama() -> OllamaStandIn:
    return OllamaStandIn(version=GAME.prompt_in(2), stages="2")


async def play(
    ollama: OllamaStandIn,
    behaviour: InTwoStages,
    *,
    stream: bool = False,
    deadline_s: float = PATIENT_S,
    log_db: Path | None = None,
) -> httpx.Response:
    """One hand's answer by the service before that Ollama."""
    async with ollama:
        settings = Settings(engine="ollama", ollama_url=ollama.url, deadline_s=deadline_s, log_db=log_db)
        ollama.behave = InTwoStages()
        async with serving(settings) as (service, client):
            await until(service, ModelState.READY)
            assert not service.keeper.prompt_differs
            ollama.behave = behaviour
            headers = {"Accept": "text/event-stream"} if stream else {}
            return await client.post("/api/generate-poem", json=sent(HAND), headers=headers)


def written(reply: httpx.Response) -> Answer:
    return Answer(**reply.json())


async def test_the_poem_is_asked_for_by_an_outline_and_the_log_has_both(ollama: OllamaStandIn, tmp_path: Path) -> None:
    behaviour = InTwoStages()
    reply = await play(ollama, behaviour, log_db=tmp_path / "log.sqlite")
    assert (reply.status_code, reply.headers["X-Poem-Source"]) == (200, "model")
    first, second = behaviour.asked
    answer = written(reply)
    assert behaviour.answers == {_user(second): answer}
    assert check(answer, HAND, first.candidates) == []
    assert first.schema == outline_schema(first.candidates)
    assert second.schema == answer_schema((answer.title,))
    assert first.seed == second.seed
    assert not any(pair.card.condition_text in _user(second) for pair in HAND.pairs)
    row = sqlite3.connect(tmp_path / "log.sqlite").execute("SELECT prompt_text, is_successful FROM generation_logs")
    assert row.fetchone() == (f"{first.body['messages'][0]['content']}\n\n{_user(first)}\n\n{_user(second)}", 1)


async def test_who_watches_sees_the_poem_grow_and_nothing_of_its_outline(ollama: OllamaStandIn) -> None:
    async def by_and_by(call: Call) -> None:
        await say(call, encode(behaviour.answers[_user(call)]), gap_s=0.01)

    behaviour = InTwoStages(poem=by_and_by)
    reply = await play(ollama, behaviour, stream=True)
    told = events(reply.text)
    poem = told[-1][1]["poem"]
    assert [name for name, _ in told] == ["delta"] * (len(told) - 1) + ["done"]
    assert len(told) > 2
    assert "".join(data["text"] for _, data in told[:-1]) == poem
    assert [call.streams for call in behaviour.asked] == [False, True]


async def test_an_outline_that_is_none_is_asked_for_again_and_then_another_writes(ollama: OllamaStandIn) -> None:
    async def once(self: InTwoStages, call: Call) -> None:
        strange = encode_outline(Outline("知らない題", ("石", "門", "庭")))
        await (say(call, strange) if len(self.asked) == 1 else self.right(call))

    behaviour = InTwoStages(once)
    reply = await play(ollama, behaviour)
    assert reply.headers["X-Poem-Source"] == "model"
    assert len({call.seed for call in behaviour.asked}) == 2
    assert [WORDS_ASKED in _user(call) for call in behaviour.asked] == [True, True, False]


async def test_outlines_that_never_are_any_cost_no_error(ollama: OllamaStandIn) -> None:
    async def never(_: InTwoStages, call: Call) -> None:
        await say(call, "題は石の門。")

    behaviour = InTwoStages(never)
    reply = await play(ollama, behaviour)
    assert (reply.status_code, reply.headers["X-Poem-Source"]) == (200, "composed")
    assert reply.headers["X-Poem-Reason"] == "malformed"
    assert [WORDS_ASKED in _user(call) for call in behaviour.asked] == [True] * 3
    assert check(written(reply), HAND, GAME.deck.catchphrases) == []


async def test_the_deadline_covers_both_stages(ollama: OllamaStandIn) -> None:
    """The outline takes nearly all of it, so that a poem with as much time of its own would come far too late."""
    asked_at: list[float] = []

    async def late(self: InTwoStages, call: Call) -> None:
        asked_at.append(time.monotonic())
        await asyncio.sleep(4.0)
        await self.right(call)

    behaviour = InTwoStages(late, hang_before_first)
    reply = await play(ollama, behaviour, stream=True, deadline_s=5.0)
    name, data = events(reply.text)[-1]
    assert (name, data["source"]) == ("done", "composed")
    assert [WORDS_ASKED in _user(call) for call in behaviour.asked[:2]] == [True, False]  # then the keeper's own
    assert time.monotonic() - asked_at[0] < 8.0


async def test_a_chat_about_a_hand_is_prompted_as_the_game_s_endpoint_does_and_both_by_the_game_s_own_instructions(
    tmp_path: Path,
) -> None:
    (tmp_path / "cards.json").write_text(json.dumps([card.as_json() for card in GAME.deck.cards]), "utf-8")
    (tmp_path / "catchphrases.json").write_text(json.dumps(GAME.deck.catchphrases), "utf-8")
    (tmp_path / "system.txt").write_text("短く、静かに書く。\n", "utf-8")
    ollama = OllamaStandIn(version=load_game(tmp_path).prompt_in(2), stages="2")
    behaviour = InTwoStages()
    async with ollama, serving(Settings(engine="ollama", ollama_url=ollama.url, game=tmp_path)) as (service, client):
        ollama.behave = behaviour
        await until(service, ModelState.READY)
        behaviour.asked.clear()
        body = {"model": "mansion-poem", "messages": [], **sent(HAND)}
        reply = (await client.post("/v1/chat/completions", json=body)).json()
        played = await client.post("/api/generate-poem", json=sent(HAND))
        assert (played.headers["X-Poem-Source"], service.keeper.prompt_differs) == ("model", False)
    answer = Answer(**json.loads(reply["choices"][0]["message"]["content"]))
    assert [WORDS_ASKED in _user(call) for call in behaviour.asked] == [True, False] * 2
    assert {call.body["messages"][0]["content"] for call in behaviour.asked} == {"短く、静かに書く。"}
    assert check(answer, HAND, behaviour.asked[0].candidates) == []


async def test_a_chat_whose_outline_is_cut_has_no_answer(ollama: OllamaStandIn) -> None:
    async def cut(_: InTwoStages, call: Call) -> None:
        await call.head()
        await call.text('{"title": "')
        await call.end("length")

    async with ollama, serving(Settings(engine="ollama", ollama_url=ollama.url)) as (service, client):
        ollama.behave = InTwoStages()
        await until(service, ModelState.READY)
        ollama.behave = InTwoStages(cut)
        body = {"model": "mansion-poem", "messages": [], **sent(HAND)}
        reply = await client.post("/v1/chat/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "incomplete")
