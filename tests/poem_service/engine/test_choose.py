"""Which engine the settings name, and what `auto` takes."""

from contextlib import aclosing
from pathlib import Path

import pytest

from poem_service.engine.choose import choose
from poem_service.errors import Reason, UnavailableError
from poem_service.settings import Settings
from support.ollama_stand_in import OllamaStandIn

NOBODY = "http://127.0.0.1:9"


async def test_each_engine_by_its_name(ollama: OllamaStandIn) -> None:
    for settings, name in (
        (Settings(engine="ollama", ollama_url=ollama.url), "ollama"),
        (Settings(engine="openai", openai_url=ollama.url), "openai"),
        (Settings(engine="auto", ollama_url=ollama.url), "ollama"),
    ):
        async with aclosing(await choose(settings)) as engine:
            assert engine.name == name


async def test_none_is_none() -> None:
    with pytest.raises(UnavailableError) as refusal:
        await choose(Settings(engine="none"))
    assert refusal.value.reason is Reason.NO_ENGINE


async def test_auto_says_why_ollama_does_not_serve_where_nothing_else_could() -> None:
    with pytest.raises(UnavailableError) as refusal:
        await choose(Settings(engine="auto", ollama_url=NOBODY))
    assert refusal.value.reason is Reason.UNREACHABLE


async def test_auto_takes_the_gguf_where_no_ollama_answers(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    gguf = tmp_path / "model.gguf"
    gguf.touch()
    async with aclosing(await choose(Settings(engine="auto", ollama_url=NOBODY, gguf=gguf))) as engine:
        assert engine.name == "embedded"
