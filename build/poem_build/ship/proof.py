"""A model in Ollama and what it was made from → the proof over HTTP that it is served as it was trained."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from poem.game import Game
from poem_build.client import client
from poem_build.data.examples import Example
from poem_build.engine.ollama import Ollama, call, translated
from poem_build.engine.protocol import Question
from poem_build.errors import GateError, OllamaError
from poem_build.export.parity import Parity
from poem_build.judge.protocol import MALFORMED
from poem_build.judge.rules import Rules, ask
from poem_build.models.family import Family
from poem_build.progress import progress

_LOAD_TIMEOUT_S = 600.0


def prove_fields(host: str, model: str, fields: dict[str, Any], keys: Mapping[str, str]) -> None:
    """`show` must give back template, system and parameters as they were sent, and the GGUF's keys of ours."""
    shown = call(host, "POST", "/api/show", {"model": model})
    for name in ("template", "system"):
        if fields[name] != shown.get(name):
            raise OllamaError(f"{model}: {name}: sent {fields[name]!r}, `show` gives back {shown.get(name)!r}")
    lines = [line.split(maxsplit=1) for line in shown.get("parameters", "").splitlines()]
    given = sorted((line[0], line[1].strip('"')) for line in lines)
    sent = sorted(
        (name, one if isinstance(one, str) else f"{one:g}")
        for name, value in fields["parameters"].items()
        for one in (value if isinstance(value, list) else [value])
    )
    if given != sent:
        raise OllamaError(f"{model}: parameters: sent {sent}, `show` gives back {given}")
    info = shown.get("model_info", {})
    for key, wanted in keys.items():
        if info.get(key) != wanted:
            raise OllamaError(f"{model}: {key}: is {info.get(key)!r}, must be {wanted!r}")


def prove_prompt(host: str, model: str, asked: Question, talk: Family) -> None:
    """The prompt that Ollama renders must be, byte for byte, the one that was trained on."""
    body = Ollama(host, model).body(asked) | {"stream": False, "_debug_render_only": True}
    rendered = call(host, "POST", "/api/chat", body).get("_debug_info", {}).get("rendered_template")
    trained = talk.prompt(asked.messages)
    if rendered != trained:
        raise OllamaError(f"{model}: Ollama renders {rendered!r}, the model was trained on {trained!r}")


def prove_counts(host: str, model: str, asked: Question, counts: dict[str, Any]) -> Parity:
    """Ollama must find as many tokens in the prompt, and in any text, as llama.cpp did where the model was made."""
    body = Ollama(host, model).body(asked) | {"options": {"num_predict": 1}, "stream": False}
    body |= {"format": {"type": "boolean"}}  # an answer cut amid a character is dropped, count and all
    found, expected = call(host, "POST", "/api/chat", body).get("prompt_eval_count"), counts["prompt"]
    if found != expected:
        raise GateError(f"{model}: Ollama's prompt has {found} tokens, the trained one {expected}; is BOS there twice?")
    with translated(host):
        different = _miscounted(host, model, counts["texts"])
    if different:
        raise GateError(
            f"{model}: gate.token_parity_texts: Ollama counts other tokens than llama.cpp in {len(different)} of "
            f"{len(counts['texts'])} texts, {different[0]!r} for one; it reads this vocabulary otherwise, so try "
            "another Ollama"
        )
    return Parity(texts=len(counts["texts"]), different=different)


def prove_answer(host: str, model: str, game: Game, examples: Sequence[Example], *, asked: bool) -> int | None:
    """One of a few held-out hands must be answered whole, in the right form; an error if that much is `asked`.

    Returns how many hands it took until one was within all rules, or None: how often it is, is the gates' question.
    """
    engine, told, whole = Ollama(host, model), "no answer", False
    for n, example in enumerate(examples, 1):
        reply = ask(engine, game, example, n, constrained=True)
        if reply.whole is None:
            told = f"it ended with {reply.ended!r}"
            continue
        if not re.match(r'\s*{\s*"title"', reply.whole):
            raise OllamaError(f"{model}: Ollama orders the keys otherwise than trained; set OLLAMA_GO_TEMPLATE=1")
        verdict = Rules().judge(example, reply, model)
        if verdict.passed:
            return n
        if verdict.broken == [MALFORMED]:
            raise OllamaError(f"{model}: the constrained answer is no answer: {reply.text[:80]!r}")
        whole = True
    if asked and not whole:
        raise GateError(f"{model}: none of {len(examples)} constrained answers is whole; the last one: {told}")
    return None


def _miscounted(host: str, model: str, counts: Sequence[tuple[str, int]]) -> list[str]:
    """Those of the texts in which Ollama's `prompt_eval_count` is another number of tokens than the one beside it.

    Ollama tells no ids, but counts the whole prompt, cached or not.
    """
    # num_predict 0 would mean no limit. An answer cut amid a character is dropped, count and all, so it is a boolean.
    asked = {"model": model, "raw": True, "stream": False, "options": {"num_predict": 1}, "format": {"type": "boolean"}}
    different = []
    with client(host, _LOAD_TIMEOUT_S) as there:
        for text, expected in progress(counts, "counting tokens in Ollama"):
            reply = there.post("/api/generate", json=asked | {"prompt": text}).raise_for_status().json()
            if reply.get("prompt_eval_count") != expected:
                different.append(text)
    return different
