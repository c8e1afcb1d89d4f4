"""A GGUF and its fields → a model that Ollama serves, proved over HTTP to be the one that was trained."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from poem.environment import split_user
from poem.game import Game
from poem_build.client import client
from poem_build.data.examples import Example, read_examples
from poem_build.engine.ollama import Ollama, call, digests, server_version, translated, upload
from poem_build.engine.protocol import Question
from poem_build.errors import GateError, OllamaError
from poem_build.export.gguf import keys_of
from poem_build.export.parity import Parity
from poem_build.export.stamp import stamp
from poem_build.judge.protocol import MALFORMED
from poem_build.judge.rules import Rules, ask, question
from poem_build.models import family, standing
from poem_build.models.family import Family
from poem_build.models.files import ADAPTER_FILE, CREATE, REGISTERED, SERVED, TOKEN_COUNTS
from poem_build.models.notes import noted
from poem_build.models.origin import read_origin
from poem_build.models.standing import Standing, read_standing
from poem_build.progress import progress
from poem_build.recipe.names import LATEST
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Job, Stage
from poem_build.store.workshop import Workshop

_TRIES = 5
_LOAD_TIMEOUT_S = 600.0


class RegisterReport(Report):
    """The model's name and digest in Ollama, and what was proved of it."""

    version: ClassVar[int] = 2
    model: str
    digest: str
    token_counts: Parity
    standing: Standing
    """What the gates said of it, which the registered model says too."""
    answer_tries: int | None
    """None if none of the tries kept the rules, which a training that was cut short need not."""


@dataclass(frozen=True)
class OllamaStage(Stage):
    """The stage, and where: its settings, which are written down, know no password."""

    host: str = ""
    model: str = ""


def stage(host: str, model: str, gguf: Path) -> Stage:
    """The stage that registers under the name at the Ollama at `host`; the verdict on the model lies in `gguf`."""

    def settings(_: Recipe) -> Mapping[str, Any]:
        return {"model": model, "host": split_user(host)[1], "ollama": server_version(host)}

    return OllamaStage(
        name="register",
        host=host,
        model=model,
        summary="Create the model in Ollama and prove that it is served as it was trained.",
        makes="register",
        work=lambda job: register(job, host, model),
        report=RegisterReport,
        settings=settings,
        inputs={"gguf": (SERVED, ADAPTER_FILE, "origin.json"), "modelfile": ALL, "dataset": ("test.jsonl",)},
        reads_game=True,
        outside=lambda recipe: {
            **family.templates(recipe),
            **({"verdict": gguf / standing.FILE} if (gguf / standing.FILE).is_file() else {}),
        },
        modules=family.modules,
    )


def forget_if_gone(workshop: Workshop) -> None:
    """A model that somebody has removed or replaced since is registered again."""
    stage = workshop.stages["register"]
    assert isinstance(stage, OllamaStage)
    folder, there = workshop.out / "register", digests(stage.host)
    try:
        known = json.loads((folder / REGISTERED).read_text("utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if any(there.get(name) != known for name in (stage.model, LATEST)):
        shutil.rmtree(folder)


def register(job: Job, host: str, model: str) -> RegisterReport:
    """Upload, create, prove, and only then give the model its names, `latest` among them.

    Raises `OllamaError` if nothing answers at `host`, or what it serves differs from what it was given.
    """
    modelfile, told = job.path("modelfile"), read_standing(job.path("gguf"))
    fields, counts = (json.loads((modelfile / name).read_text("utf-8")) for name in (CREATE, TOKEN_COUNTS))
    origin = read_origin(job.path("gguf"))
    if server_version(host) is None:
        raise OllamaError(f"OLLAMA_HOST {host}: no Ollama answers there; start `ollama serve`")
    unproved = f"{model}-unproved"
    body, keys = _given(job, host, fields, told)
    call(host, "POST", "/api/create", body | {"model": unproved, "stream": False})
    try:
        _prove_fields(host, unproved, body, keys)
        examples = read_examples(job.path("dataset", "test.jsonl"), job.game)[:_TRIES]
        asked = question(job.game, examples[0], 0, constrained=False)
        _prove_prompt(host, unproved, asked, family.family(job.recipe.base.family))
        counted = _prove_counts(host, unproved, asked, counts)
        tries = _prove_answer(host, unproved, job.game, examples, asked=not origin.cut_short)
        for name in (model, LATEST):
            call(host, "POST", "/api/copy", {"source": unproved, "destination": name})
    finally:
        call(host, "DELETE", "/api/delete", {"model": unproved})
    known = {"model": model, "digest": digests(host)[model]}
    (job.folder / REGISTERED).write_text(json.dumps(known) + "\n", "utf-8")
    return RegisterReport(**known, token_counts=counted, standing=told, answer_tries=tries)


def _given(job: Job, host: str, fields: dict[str, Any], told: Standing) -> tuple[dict[str, Any], dict[str, str]]:
    """The weights given to Ollama: what it is to create of them, and the keys of ours that the GGUF then has.

    A base that games share says nothing of a game; its template does.
    """
    adapter = job.path("gguf", ADAPTER_FILE)
    if adapter.is_file():
        weights = {"files": {SERVED: upload(host, job.path("gguf", SERVED))}}
        weights |= {"adapters": {ADAPTER_FILE: upload(host, adapter)}}
        return fields | weights | {"template": noted(fields["template"], told.keys())}, {}
    with _told(job, told) as gguf:
        weights = {"files": {SERVED: upload(host, gguf)}}
    return fields | weights, keys_of(read_origin(job.path("gguf"))) | told.keys()


@contextmanager
def _told(job: Job, told: Standing) -> Iterator[Path]:
    """The GGUF that Ollama is given: where there is a verdict on it, a copy that says so, for as long as it takes."""
    source = job.path("gguf", SERVED)
    if not told.keys():
        yield source
        return
    with TemporaryDirectory(dir=job.folder) as room:
        copy = Path(room) / SERVED
        stamp(source, copy, told.keys())
        yield copy


def _prove_fields(host: str, model: str, fields: dict[str, Any], keys: Mapping[str, str]) -> None:
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


def _prove_prompt(host: str, model: str, asked: Question, talk: Family) -> None:
    """The prompt that Ollama renders must be, byte for byte, the one that was trained on."""
    body = Ollama(host, model).body(asked) | {"stream": False, "_debug_render_only": True}
    rendered = call(host, "POST", "/api/chat", body).get("_debug_info", {}).get("rendered_template")
    trained = talk.prompt(asked.messages)
    if rendered != trained:
        raise OllamaError(f"{model}: Ollama renders {rendered!r}, the model was trained on {trained!r}")


def _prove_counts(host: str, model: str, asked: Question, counts: dict[str, Any]) -> Parity:
    """Ollama must find as many tokens in the prompt, and in any text, as llama.cpp did where the model was made."""
    body = Ollama(host, model).body(asked) | {"options": {"num_predict": 1}, "stream": False}
    body |= {"format": {"type": "boolean"}}  # an answer cut amid a character is dropped, count and all
    found, expected = call(host, "POST", "/api/chat", body).get("prompt_eval_count"), counts["prompt"]
    if found != expected:
        raise GateError(f"{model}: Ollama's prompt has {found} tokens, the trained one {expected}; is BOS there twice?")
    with translated(host):
        different = miscounted_texts(host, model, counts["texts"])
    if different:
        raise GateError(
            f"{model}: gate.token_parity_texts: Ollama counts other tokens than llama.cpp in {len(different)} of "
            f"{len(counts['texts'])} texts, {different[0]!r} for one; it reads this vocabulary otherwise, so try "
            "another Ollama"
        )
    return Parity(texts=len(counts["texts"]), different=different)


def _prove_answer(host: str, model: str, game: Game, examples: Sequence[Example], *, asked: bool) -> int | None:
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


def miscounted_texts(host: str, model: str, counts: Sequence[tuple[str, int]]) -> list[str]:
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
