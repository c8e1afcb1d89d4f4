"""Several engines behind one service: who is asked, who steps in, a canary's share, and what each tells."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem.model_keys import BELOW_COMPOSER
from poem_service.engine.protocol import Engine, ModelFacts, Training
from poem_service.errors import Reason, SettingsError
from poem_service.settings import Settings
from poem_service.variables import Listed
from poem_service.watch.fleet import Fleet
from poem_service.watch.keeper import Keeper
from poem_service.watch.ladder import ModelState
from poem_service.watch.pace import Pace
from poem_service.watch.slots import Slots
from poem_service.watch.standing import Standing
from support.fake_engine import FakeEngine
from support.ollama_stand_in import MODEL, OllamaStandIn, right, status_500
from support.openai_stand_in import OpenAIStandIn
from support.served import a_hand, sent, serving

SEEDS = range(2000)


def keeper(label: str, answer_s: float = 1.0, share: float = 0.0, slots: int = 1) -> Keeper:
    """Of an engine that is ready, at that pace."""

    async def choose() -> Engine:
        return FakeEngine()

    found = Keeper(choose, builtin_game(), 30.0, Slots(slots), label, share)
    found.standing = Standing(ModelState.READY, None, pace=Pace(0.1, 0.01, answer_s, 0.1))
    return found


def picked(fleet: Fleet, *tried: Keeper) -> Counter[str | None]:
    now = time.monotonic()
    found = (fleet.pick(seed, now, tried) for seed in SEEDS)
    return Counter(one.label if one else None for one in found)


async def test_whoever_would_be_done_first_is_asked() -> None:
    slow, quick = keeper("slow", 5.0), keeper("quick", 2.0)
    fleet = Fleet((slow, quick))
    assert set(picked(fleet)) == {"quick"}
    async with AsyncExitStack() as held:
        await held.enter_async_context(quick.slots.hold(1))
        assert set(picked(fleet)) == {"quick"}  # 4 s there, 5 s with the other
        wide = keeper("wide", 3.9, slots=2)
        await held.enter_async_context(wide.slots.hold(1))
        assert set(picked(Fleet((slow, quick, wide)))) == {"wide"}
        assert fleet.ahead == 1


def test_one_that_is_not_ready_is_not_asked() -> None:
    gone, there = keeper("gone"), keeper("there", 9.0)
    fleet = Fleet((gone, there))
    for _ in range(gone.breaker.threshold):
        gone.breaker.fail(time.monotonic())
    assert set(picked(fleet)) == {"there"}
    assert fleet.lead is there
    assert picked(fleet, there) == {None: len(SEEDS)}


def test_one_below_the_composer_is_passed_over_where_it_shall_not_write() -> None:
    worse, better = keeper("worse", 0.1), keeper("better", 9.0)
    worse.standing = replace(worse.standing, facts=ModelFacts("m", "d", Training(verdict=BELOW_COMPOSER)))
    fleet = Fleet((worse, better))
    assert (fleet.lead, set(picked(fleet))) == (worse, {"worse"})
    worse.above_composer = True
    assert (fleet.lead, set(picked(fleet))) == (better, {"better"})


def test_a_canary_has_its_share_and_more_only_where_nobody_else_is_ready() -> None:
    old, canary = keeper("old"), keeper("canary", 0.1, share=0.1)
    fleet = Fleet((canary, old))
    assert fleet.lead is old
    assert 0.09 * len(SEEDS) < picked(fleet)["canary"] < 0.11 * len(SEEDS)
    assert picked(fleet, canary) == {"old": len(SEEDS)}
    assert picked(fleet, old) == {None: len(SEEDS)}  # what the others could not take is no canary's
    old.standing = Standing(ModelState.ABSENT, Reason.UNREACHABLE)
    assert picked(fleet) == {"canary": len(SEEDS)}


async def test_two_engines_of_two_kinds_serve_and_the_one_steps_in_for_the_other() -> None:
    async with OllamaStandIn() as ollama, OpenAIStandIn() as other:
        listed = (Listed("ollama", ollama.url), Listed("openai", other.url, MODEL))
        async with serving(Settings(engines=listed, deadline_s=30)) as (service, client):
            while any(one["reason"] for one in (await client.get("/ready")).json()["engines"]):
                await asyncio.sleep(0.01)
            ollama.behave = other.behave = status_500
            answer = await client.post("/api/generate-poem", json=sent(a_hand()))
            assert (answer.headers["x-poem-source"], answer.headers["x-poem-reason"]) == ("composed", "upstream-error")
            assert [each.breaker.failures for each in service.fleet.keepers] == [1, 1]  # both had their turn
            other.behave = right
            for n in range(4):
                answer = await client.post("/api/generate-poem", json=sent(a_hand(n)))
                assert answer.headers["x-poem-source"] == "model"
            ready = (await client.get("/ready")).json()
            metrics = (await client.get("/metrics")).text
            stand = (await client.get("/stand")).text
    assert ready["answers_from"] == "model"
    labels = [f"ollama={ollama.url}#{MODEL}", f"openai={other.url}#{MODEL}"]
    assert [one["engine"] for one in ready["engines"]] == labels
    assert [one["poems"] for one in ready["engines"]] == [0, 4]
    assert f'poem_engine_poems{{engine="{labels[1]}"}} 4.0' in metrics
    assert all(label in stand for label in labels)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"POEM_ENGINES": "10%:ollama=http://a:1"}, "POEM_ENGINES: '10%:ollama=http://a:1' is not allowed"),
        ({"POEM_ENGINES": "ollama=a, ollama=a"}, "is not allowed"),
        ({"POEM_ENGINES": "ollama=a, 60%:ollama=b, 40%:ollama=c"}, "is not allowed"),
        ({"POEM_ENGINES": "gemini=http://a"}, "is not allowed"),
        ({"POEM_ENGINES": "embedded=/no/such.gguf"}, "is not allowed"),
        ({"POEM_ENGINES": "ollama=http://me:secret@a,gemini=b"}, "is not allowed"),
        ({"POEM_ENGINES": "openai=http://a", "POEM_GPU": "expected"}, "POEM_GPU: expected cannot"),
        ({"POEM_ENGINES": "openai=http://a", "POEM_WORKERS": "2"}, "POEM_WORKERS: 2 workers share"),
    ],
)
def test_a_list_that_is_no_good_is_refused_in_one_line(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(environ)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_each_engine_has_its_own_place_and_what_is_for_one_alone_is_idle(tmp_path: Path) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.touch()
    listed = f"ollama=http://me:secret@a:1#m:2, embedded={gguf}"
    environ = {"POEM_ENGINES": listed, "POEM_ENGINE": "none", "OLLAMA_HOST": "b", "POEM_MAX_ACTIVE": "4"}
    settings = Settings.from_env(environ)
    first, second = settings.each()
    assert (first.engine, first.ollama_url, first.model, first.max_active) == (
        "ollama",
        "http://me:secret@a:1",
        "m:2",
        4,
    )
    assert (second.engine, second.gguf, second.max_active) == ("embedded", gguf, 1)
    assert settings.idle == ("POEM_ENGINE", "OLLAMA_HOST")
    assert "secret" not in repr(settings)
