"""The service before a real Ollama that has our model; skipped where none answers."""

import os
from contextlib import aclosing, suppress

import httpx
import pytest

from poem.environment import ollama_url
from poem.game import builtin_game
from poem.hand import Answer
from poem.rules import check
from poem_service.engine.ollama import OllamaEngine
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.served import a_hand, events, sent, serving, until

URL = ollama_url(os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434")


def our_model() -> str | None:
    """A model of ours that is there, the one to serve first."""
    try:
        listed = httpx.get(f"{URL}/api/tags", timeout=2, trust_env=False).json()["models"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    names = sorted(model["name"] for model in listed if model["name"].startswith("mansion-poem:"))
    return "mansion-poem:latest" if "mansion-poem:latest" in names else next(iter(names), None)


MODEL = our_model()
pytestmark = pytest.mark.skipif(MODEL is None, reason=f"no Ollama with a mansion-poem model at {URL}")


async def test_poems_come_from_the_model_or_say_why_not() -> None:
    assert MODEL is not None
    async with serving(Settings(engine="ollama", ollama_url=URL, model=MODEL, deadline_s=60)) as (service, client):
        with suppress(TimeoutError):
            await until(service, ModelState.READY, ModelState.TOO_SLOW, limit_s=120)
        standing = service.keeper.standing
        if standing.state in (ModelState.TOO_SLOW, ModelState.LOADING, ModelState.TRIAL):
            pytest.skip(f"this machine is too busy: {standing.detail or standing.state}")
        assert standing.state is ModelState.READY
        sources = []
        for seed in range(3):
            hand = a_hand(seed)
            response = await client.post("/api/generate-poem", json=sent(hand), timeout=90)
            assert check(Answer(**response.json()), hand, builtin_game().deck.catchphrases) == []
            sources.append(response.headers["x-poem-source"])
            reason = response.headers.get("x-poem-reason")
            if reason == "timeout":
                pytest.skip("this machine is too busy: no answer within the minute")
            assert sources[-1] == "model" or reason == "rules"
        ready = (await client.get("/ready")).json()
        streamed = await client.post(
            "/api/generate-poem", json=sent(a_hand(7)), headers={"accept": "text/event-stream"}, timeout=90
        )
    assert ready["answers_from"] == "model"
    assert ready["digest"]
    assert ready["prompt_version"]
    assert events(streamed.text)[-1][0] == "done"


async def test_a_model_that_is_not_there_is_said_so() -> None:
    settings = Settings(engine="ollama", ollama_url=URL, model="mansion-poem:no-such-recipe")
    async with serving(settings) as (service, client):
        await until(service, ModelState.ABSENT)
        assert (await client.get("/ready")).json()["reason"] == "model-missing"


async def test_loading_by_itself_works_and_shows() -> None:
    assert MODEL is not None
    async with aclosing(OllamaEngine(URL, MODEL)) as engine:
        await engine.load()
        facts = await engine.inspect()
    assert facts.loaded
    assert facts.vram_share is not None
