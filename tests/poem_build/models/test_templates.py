"""A family's chat template and Ollama's: the same text, and the same tokens wherever its vocabulary can be had.

Vocabularies in llama.cpp's sources: Qwen's (chatml, qwen3), Llama 2's, Llama 3's and Phi 3's. Gemma's and Qwen's own
files are compared by `make real`. Of gpt_oss, mixtral, r1_qwen, rinna and stablelm the template is written and the
tokenizer unseen: what is proved of them is proved with tokenizers made here, of the same kind.
"""

import datetime
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers.processors import TemplateProcessing
from transformers import AddedToken, AutoTokenizer

from poem.game import builtin_game
from poem.hand import draw_candidates
from poem_build.data.chats import Messages
from poem_build.data.examples import Example
from poem_build.data.hands import hands
from poem_build.engine.llama import Llama
from poem_build.engine.ollama import call, upload
from poem_build.models.converter import gguf
from poem_build.models.family import family
from poem_build.recipe.schema import family_names
from poem_build.teacher.composer import Composer
from support import llama_source
from support.tiny_gguf import write_tiny_gguf

GAME = builtin_game()
THOUGHT = "<think>\n\n</think>\n\n"
MAKERS = {
    "chatml": "Qwen-Qwen2.5-7B-Instruct",
    "qwen3": "Qwen-Qwen3-0.6B",
    "r1_qwen": "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "gemma": "google-gemma-2-2b-it",
    "llama3": "meta-llama-Llama-3.1-8B-Instruct",
    "phi3": "microsoft-Phi-3.5-mini-instruct",
    "gpt_oss": "openai-gpt-oss-120b",
}
"""Whose own templates llama.cpp carries."""
VOCABULARIES = {"chatml": "qwen2", "qwen3": "qwen2", "llama2": "llama-spm", "llama3": "llama-bpe", "phi3": "phi-3"}


def test_the_families_say_whose_tokenizers_were_seen() -> None:
    seen = {name for name in family_names() if family(name).tokenizer == "llama.cpp's sources"}
    assert seen == set(VOCABULARIES)


def _chats(count: int) -> Iterator[Messages]:
    rng, composer = Random("templates"), Composer(GAME)
    for hand in islice(hands(GAME.deck, "train", rng), count):
        candidates = tuple(draw_candidates(GAME.deck, rng))
        if answer := composer.write(hand, candidates, rng.getrandbits(32)):
            yield Example(hand, candidates, answer).chats(GAME)[0]


@pytest.fixture(scope="module")
def chats() -> list[Messages]:
    return list(_chats(200))


@pytest.fixture(scope="module")
def model(ollama: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The digest of a blob to hang templates on."""
    path = write_tiny_gguf(tmp_path_factory.mktemp("templates") / "model.gguf")
    yield upload(ollama, path)
    httpx.request("DELETE", f"{ollama}/api/delete", json={"model": "templates"})


def _serve(host: str, blob: str, name: str) -> None:
    body = {"model": "templates", "files": {"model.gguf": blob}, "template": family(name).ollama_template}
    call(host, "POST", "/api/create", body | {"stream": False, "parameters": {"num_ctx": 4096}})


def _rendered(host: str, messages: Messages) -> str:
    body = {"model": "templates", "messages": messages, "stream": False, "think": False, "_debug_render_only": True}
    return str(call(host, "POST", "/api/chat", body)["_debug_info"]["rendered_template"])


def _same_in_both(host: str, blob: str, name: str, chats: list[Messages]) -> None:
    _serve(host, blob, name)
    talk = family(name)
    for chat in chats:
        assert _rendered(host, chat[:-1]) == talk.prompt(chat)
    going_on = [*chats[0], {"role": "user", "content": "もう一篇。"}]
    assert _rendered(host, going_on) == talk.prompt(going_on)


@pytest.mark.parametrize("name", family_names())
def test_ollama_writes_what_the_chat_template_writes(name: str, ollama: str, model: str, chats: list[Messages]) -> None:
    _same_in_both(ollama, model, name, chats[:2])


@pytest.mark.long
@pytest.mark.parametrize("name", family_names())
def test_ollama_writes_it_for_many_hands(name: str, ollama: str, model: str, chats: list[Messages]) -> None:
    _same_in_both(ollama, model, name, chats)


@pytest.mark.long
@pytest.mark.parametrize("name", MAKERS)
def test_a_family_s_template_writes_what_its_makers_does(name: str, chats: list[Messages]) -> None:
    """Gpt-oss's date is left out of ours, Gemma's makers know no system role, DeepSeek's let it think."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["strftime_now"] = lambda form: datetime.date(2026, 1, 1).strftime(form)
    source = (llama_source.models() / "templates" / f"{MAKERS[name]}.jinja").read_text("utf-8")
    makers, talk = environment.from_string(source.removesuffix("\n")), family(name)

    def written(messages: Messages, *, asks: bool) -> str:
        if name == "gemma":
            opening = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            messages = [opening, *messages[2:]]
        told = {"bos_token": "", "eos_token": "", "enable_thinking": False, "reasoning_effort": "low"}
        text = str(makers.render(messages=messages, add_generation_prompt=asks, **told))
        text = text.replace("Current date: 2026-01-01\n", "")
        return text.removesuffix("<think>\n</think>") + THOUGHT if name == "r1_qwen" and asks else text

    for chat in chats:
        asked = written(chat[:-1], asks=True)
        ours = talk.prompt(chat)
        if name == "gpt_oss":
            assert ours == f"{asked}<|channel|>final<|message|>"
        else:
            assert ours == asked
        if name != "r1_qwen":
            assert talk.render(chat, answer_follows=False).rstrip("\n") == written(chat, asks=False).rstrip("\n")


def _tokenizer(vocabulary: Path, name: str) -> Any:
    """The one that transformers makes of the file, with what its tokenizer.json says and a GGUF does not."""
    vars(gguf()).setdefault("__version__", "0.19.0")  # transformers asks the package that it takes
    tokenizer = AutoTokenizer.from_pretrained(vocabulary.parent, gguf_file=vocabulary.name)
    if name == "phi3":  # its markers swallow the blanks behind them
        markers = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
        special = [AddedToken(marker, rstrip=True, special=True) for marker in markers]
        tokenizer.add_special_tokens({"additional_special_tokens": special})
    if name == "llama3":  # it opens a text
        bos = "<|begin_of_text|>"
        opening = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.convert_tokens_to_ids(bos))])
        tokenizer.backend_tokenizer.post_processor = opening
    return tokenizer


@pytest.mark.long
@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_hand_has_the_same_tokens_everywhere(name: str, ollama: str, chats: list[Messages], tmp_path: Path) -> None:
    """In transformers and in llama.cpp id by id, in Ollama their number; the answer comes back as it was written."""
    vocabulary = llama_source.models() / f"ggml-vocab-{VOCABULARIES[name]}.gguf"
    tokenizer = _tokenizer(vocabulary, name)
    path = write_tiny_gguf(tmp_path / "model.gguf", vocabulary=vocabulary, name={"phi3": "phi-3"}.get(name, "tiny"))
    llama, talk = Llama(path, vocab_only=True), family(name)
    _serve(ollama, upload(ollama, path), name)
    for chat in chats:
        tokens = talk.tokens(tokenizer, chat)
        assert list(tokens.prompt) == llama.tokenize(talk.prompt(chat))
        assert llama.text(tokens.answer).startswith(chat[-1]["content"])
        body = {"model": "templates", "messages": chat[:-1], "stream": False, "think": False}
        body |= {"options": {"num_predict": 1}, "format": {"type": "boolean"}}
        assert call(ollama, "POST", "/api/chat", body)["prompt_eval_count"] == len(tokens.prompt)
