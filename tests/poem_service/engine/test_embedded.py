"""llama.cpp in this process, with a tiny random model: form by the grammar, cancelling, refusals."""

import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from poem.game import builtin_game
from poem.hand import Hand, draw_candidates
from poem.outline import decode_outline
from poem.shape import PARAGRAPHS, answer_schema, decode, paragraphs
from poem_service.engine.protocol import Ask, Chat
from poem_service.errors import CutError, EngineError, Reason, RefusedError
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from support.served import a_hand, sent, serving, until

llama_cpp = pytest.importorskip("llama_cpp")

from poem_service.engine import embedded  # noqa: E402
from poem_service.engine.embedded import EmbeddedEngine  # noqa: E402
from support.tiny_gguf import write_tiny_adapter, write_tiny_gguf  # noqa: E402


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture
async def engine(gguf: Path) -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(gguf)
    await engine.load()
    yield engine
    await engine.aclose()


def ask(seed: int = 1) -> Ask:
    return Ask.of(builtin_game(), a_hand(seed), draw_candidates(builtin_game().deck, Random(seed)), seed)


async def text_of(engine: EmbeddedEngine, asked: Ask) -> str:
    return "".join([piece.text async for piece in engine.write(asked)])


async def test_the_grammar_gives_every_answer_its_form(engine: EmbeddedEngine) -> None:
    for seed in range(3):
        asked = ask(seed)
        answer = decode(await text_of(engine, asked))
        assert answer.title in asked.candidates
        assert len(paragraphs(answer.poem)) in PARAGRAPHS
        assert all(text.endswith("。") for text in paragraphs(answer.poem))


async def test_a_file_that_says_so_is_asked_for_an_outline_first_whose_form_the_grammar_gives(tmp_path: Path) -> None:
    engine = EmbeddedEngine(write_tiny_gguf(tmp_path / "staged.gguf", stages=2))
    await engine.load()
    assert (await engine.inspect()).training.stages == 2
    titles = draw_candidates(builtin_game().deck, Random(1))
    outline = decode_outline(await text_of(engine, Ask.for_outline(builtin_game(), a_hand(), titles, 1)))
    assert outline.title in titles
    assert decode(await text_of(engine, Ask.by_outline(builtin_game(), outline, 1))).title == outline.title
    await engine.aclose()


async def test_a_verdict_that_lies_beside_the_model_is_told_and_one_that_is_none_is_not(
    gguf: Path, tmp_path: Path
) -> None:
    shutil.copyfile(gguf, tmp_path / gguf.name)
    verdict = tmp_path / "verdict.json"
    for text, told in (
        (
            '{"verdict": "below-composer", "forced": ["verify: gate.smoke_pass"]}',
            ("below-composer", "verify: gate.smoke_pass"),
        ),
        ('{"verdict": "passed", "forced": []}', ("passed", None)),
        ("[]", (None, None)),
    ):
        verdict.write_text(text, "utf-8")
        engine = EmbeddedEngine(tmp_path / gguf.name)
        await engine.load()
        training = (await engine.inspect()).training
        assert (training.verdict, training.forced) == told
        await engine.aclose()


async def test_a_machine_that_does_not_tell_which_cores_are_ours_is_fine(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS and Windows have no `sched_getaffinity`."""
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    engine = EmbeddedEngine(gguf)
    await engine.load()
    try:
        assert decode(await text_of(engine, ask())).poem
    finally:
        await engine.aclose()


async def test_the_same_seed_gives_the_same_answer(engine: EmbeddedEngine) -> None:
    first = await text_of(engine, ask(4))
    assert await text_of(engine, ask(4)) == first
    other = Ask(ask(4).prompt, ask(4).candidates, 5)
    assert await text_of(engine, other) != first


async def test_whoever_leaves_ends_the_work(engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def slowly(self: embedded.Model, asked: Ask) -> Iterator[bytes]:
        for n in range(500):
            time.sleep(0.01)
            written.append(n)
            yield b"a"

    monkeypatch.setattr(embedded.Model, "answer", slowly)
    async with aclosing(engine.write(ask())) as pieces:
        async for _ in pieces:
            break
    monkeypatch.undo()
    await text_of(engine, ask())  # behind what it still writes
    assert len(written) < 400


async def test_it_tells_what_it_is(engine: EmbeddedEngine) -> None:
    from poem.game import builtin_game

    facts = await engine.inspect()
    assert (facts.name, facts.loaded, facts.training.prompt_version) == (
        "tiny.gguf",
        True,
        builtin_game().prompt_version,
    )
    assert facts.digest is not None


async def test_an_adapter_beside_it_makes_it_another_model(gguf: Path, tmp_path: Path) -> None:
    base, asked = tmp_path / "tiny.gguf", ask()
    base.write_bytes(gguf.read_bytes())
    said, facts = [], []
    for told in (None, {"prompt_version": "of a game", "game": "ours"}):
        if told:
            write_tiny_adapter(tmp_path / "adapter.gguf", **told)
        async with aclosing(EmbeddedEngine(base)) as engine:
            await engine.load()
            facts.append(await engine.inspect())
            said.append(await text_of(engine, asked))
    assert said[0] != said[1]
    assert (facts[1].training.prompt_version, facts[1].training.game) == ("of a game", "ours")
    assert facts[0].digest != facts[1].digest
    (tmp_path / "adapter.gguf").write_bytes(b"GGUF no more")
    async with aclosing(EmbeddedEngine(base)) as engine:
        with pytest.raises(EngineError, match=r"tiny\.gguf"):
            await engine.load()


async def test_a_file_that_llama_cpp_dies_of_is_refused_and_we_live(tmp_path: Path) -> None:
    engine = EmbeddedEngine(write_tiny_gguf(tmp_path / "mute.gguf", bytes_too=False))
    with pytest.raises(EngineError, match=r"llama\.cpp died of mute\.gguf"):
        await engine.load()
    await engine.aclose()


def _dying(folder: Path, of: str) -> Path:
    """A Python that dies of a signal."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\nkill -{of} $$\n", "utf-8")
    python.chmod(0o755)
    return python


async def test_a_processor_that_llama_cpp_was_not_built_for_is_no_fault_of_the_file(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = EmbeddedEngine(gguf)
    monkeypatch.setattr(sys, "executable", str(_dying(tmp_path, "ILL")))
    for ask in (engine.load, engine.inspect):  # told again without another try
        with pytest.raises(EngineError, match="this processor lacks") as refusal:
            await ask()
        assert refusal.value.reason is Reason.NO_ENGINE
    await engine.aclose()


async def test_a_load_that_the_system_killed_is_tried_again(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = EmbeddedEngine(gguf)
    monkeypatch.setattr(sys, "executable", str(_dying(tmp_path, "KILL")))
    with pytest.raises(EngineError, match="needs more free memory") as refusal:
        await engine.load()
    assert refusal.value.reason is Reason.LOADING
    monkeypatch.undo()
    assert not (await engine.inspect()).loaded
    await engine.load()
    assert (await engine.inspect()).loaded
    await engine.aclose()


@pytest.mark.parametrize("content", [b"GGUF\x03\x00\x00\x00 and nothing more", b"no gguf"])
async def test_a_broken_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    engine = EmbeddedEngine(path)
    with pytest.raises(EngineError) as refusal:
        await engine.load()
    assert refusal.value.reason is Reason.MODEL_MISSING
    with pytest.raises(EngineError):  # told again without another try
        await engine.inspect()
    write_tiny_gguf(path)
    assert not (await engine.inspect()).loaded
    await engine.aclose()


async def test_a_file_cut_short_is_refused(gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(gguf.read_bytes()[:-50_000])
    engine = EmbeddedEngine(path)
    with pytest.raises(EngineError):
        await engine.load()
    await engine.aclose()


@pytest.mark.parametrize("template", ["{% if %}", "{{ raise_exception('no') }}"])
async def test_a_template_that_does_not_render_is_an_engine_error(template: str, tmp_path: Path) -> None:
    engine = EmbeddedEngine(write_tiny_gguf(tmp_path / "t.gguf", template=template))

    async def used() -> None:
        await engine.load()
        await text_of(engine, ask())

    with pytest.raises(EngineError):
        await used()
    await engine.aclose()


async def test_a_hand_that_does_not_fit_is_no_fault_of_the_engine_s(engine: EmbeddedEngine) -> None:
    hand = a_hand()
    long = Hand(tuple(replace(pair, card=replace(pair.card, condition_text="😀" * 400)) for pair in hand.pairs))
    asked = Ask.of(builtin_game(), long, draw_candidates(builtin_game().deck, Random(1)), 1)
    with pytest.raises(RefusedError, match="no room") as refusal:
        await text_of(engine, asked)
    assert refusal.value.status == 400


async def test_the_service_serves_by_it(gguf: Path) -> None:
    settings = Settings(engine="auto", ollama_url="http://127.0.0.1:9", gguf=gguf, deadline_s=20)
    async with serving(settings) as (service, client):
        await until(service, ModelState.READY)
        reasons = [
            (await client.post("/api/generate-poem", json=sent(a_hand(seed)))).headers.get("x-poem-reason")
            for seed in range(3)
        ]
        ready = (await client.get("/ready")).json()
    assert set(reasons) <= {None, "rules", "incomplete"}  # a random model keeps the form and hardly the length
    assert (ready["engine"], ready["model"]) == ("embedded", "tiny.gguf")


async def test_a_gpu_that_is_expected_and_not_there_is_told(gguf: Path) -> None:
    """llama.cpp is built without one here, however many layers are asked for."""
    settings = Settings.from_env({"POEM_ENGINE": "embedded", "POEM_GGUF": str(gguf), "POEM_GPU": "expected"})
    async with serving(settings) as (service, client):
        await until(service, ModelState.READY, ModelState.TOO_SLOW)
        ready = (await client.get("/ready")).json()
    assert ready["vram_share"] == 0
    assert ready["gpu_lost"] is True


@pytest.mark.parametrize(("layers", "share"), [(None, 1.0), (1, 1 / 2), (99, 1.0), (0, 0.0)])
async def test_layers_are_a_setting(
    layers: int | None, share: float, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share is of the layers that are there, one and the output's; the library is told as many as were asked."""
    asked: list[int] = []
    real = llama_cpp.Llama

    def counting(path: str, **options: int) -> object:
        asked.append(options["n_gpu_layers"])
        return real(path, **options)

    monkeypatch.setattr(llama_cpp, "Llama", counting)
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: True)
    engine = EmbeddedEngine(gguf, layers)
    await engine.load()
    facts = await engine.inspect()
    await engine.aclose()
    assert asked == [-1 if layers is None else layers]
    assert facts.vram_share == pytest.approx(share)


async def test_a_chat_in_a_client_s_own_words_under_its_own_schema(engine: EmbeddedEngine) -> None:
    async def said(**fields: Any) -> str:
        chat = Chat(({"role": "user", "content": "札"},), 1, **fields)
        return "".join([piece.text async for piece in engine.chat(chat)])

    schema = {"type": "object", "properties": {"card": {"enum": ["灯り", "街"]}}, "required": ["card"]}
    assert json.loads(await said(form=schema))["card"] in ("灯り", "街")
    with pytest.raises(CutError):
        await said(tokens_max=3)
    schemas: tuple[dict[str, Any], ...] = (
        {"$ref": "https://127.0.0.1:9/x"},
        {"type": "string", "minLength": 100_000},
        {"type": "string", "pattern": r"^\d{3}$"},
        {"type": "string", "pattern": "^[z-a]$"},
        {"type": "string", "pattern": r"^\x00$"},
        {"type": "string", "pattern": r"^\UFFFFFFFF$"},
        {"type": "string", "pattern": "^[^\x01-\U0010ffff]$"},
        {"type": "object", "properties": {'a"b': {"type": "string"}}, "required": ['a"b']},
        {"anyOf": []},
        {"enum": []},
        {"enum": ["\0"]},
    )
    for refused in schemas:
        with pytest.raises(RefusedError, match="the schema"):
            await said(form=refused)
    assert decode(await said(form=answer_schema(("灯り",)))).title == "灯り"
    assert json.loads(await said(form={"type": "string", "pattern": '^[^"]{2}[a-c]$'}))[2] in "abc"
    with pytest.raises(RefusedError, match="no room"):
        async for _ in engine.chat(Chat(({"role": "user", "content": "札" * 9000},), 1)):
            pass
