"""Held-out hands → how the model is served: which answers end and keep the rules, how fast, and at what memory.

Asked of Ollama under the schema and without it, and of the service with its embedded engine. The stage refuses a model
that cannot be measured, or whose sentences break; the other limits are the gates of `verify` and `eval`.
"""

import json
import re
import socket
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from poem.game import Game
from poem.hand import Answer
from poem.model_keys import ADAPTER_FILE
from poem.shape import encode
from poem_build.client import client
from poem_build.data.examples import Example, read_examples
from poem_build.engine import ollama
from poem_build.engine.llama import Llama
from poem_build.engine.ollama import Ollama
from poem_build.engine.protocol import Engine, Reply
from poem_build.engine.service import Model, serving
from poem_build.errors import DemoError, OllamaError
from poem_build.judge.delivery import Delivered, deliver, delivered, whole_sentences
from poem_build.judge.figures import Figures, Spread, spread
from poem_build.judge.memory import Memory, memory_of, resident_mb
from poem_build.judge.protocol import FILE, Score, Verdict, score, write_verdicts
from poem_build.judge.rules import Rules, play
from poem_build.models import family
from poem_build.models.files import REGISTERED, SERVED
from poem_build.models.origin import read_origin
from poem_build.progress import progress
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Report
from poem_build.store.red_line import refuse
from poem_build.store.stage import ALL, Finished, Job, Stage, sections

_LOG_BEHIND_S = 5.0
_EVALUATED = re.compile(rb"prompt eval time =\s*[\d.]+ ms /\s*(\d+) tokens")


class Served(Figures):
    """Endings, rules and speed of a row of replies."""

    score: Score
    ended: dict[str, int]
    seconds: Spread
    tokens: Spread
    tokens_per_second: float | None


class PromptFigures(Figures):
    """From the second hand on: a prompt's tokens, those that differ from the prompt before, and those evaluated."""

    tokens: float
    new: float
    evaluated: float | None
    first_s: float
    later_s: Spread


class Inside(Figures):
    """What the service with its embedded engine did with the hands."""

    hands: int
    delivered: int
    sources: dict[str, int]
    seconds: Spread
    tokens_per_second_in_all: float | None
    resident_mb: float | None


class ServingReport(Report):
    """How the model is served, and what of it a player would get."""

    version: ClassVar[int] = 2
    shaped: Served
    delivered: Delivered
    free: Served
    prompt: PromptFigures
    memory: Memory
    embedded: Inside


@dataclass(frozen=True)
class Played:
    """A row of hands asked one after the other, and how many prompt tokens were evaluated for each, where known."""

    replies: list[Reply]
    evaluated: list[int] | None


def stage(host: str, model: str, log: Path, game: Path | None) -> Stage:
    """The stage for that model of the Ollama at `host`; `game` is its folder, None for the built-in one.

    `log` is where an Ollama that was started here writes: it alone tells how much of a prompt was evaluated anew.
    """

    def work(job: Job) -> ServingReport:
        return measure(job, host, model, log, game)

    def settings(recipe: Recipe) -> Mapping[str, Any]:
        there = {"version": ollama.server_version(host), "model": ollama.digests(host).get(model)}
        return {"ollama": there} | sections("serve", "gate")(recipe)

    return Stage(
        name="serving",
        summary="Play held-out hands through Ollama and the embedded engine: rules, endings, speed, memory.",
        makes="serving",
        work=work,
        report=ServingReport,
        settings=settings,
        inputs={"register": ALL, "gguf": (SERVED, ADAPTER_FILE, "origin.json"), "dataset": ("test.jsonl",)},
        reads_game=True,
        outside=family.templates,
        modules=family.modules,
        packages=("llama-cpp-python", "sudachipy"),
        gate=gate,
    )


def gate(finished: Finished) -> None:
    """Refuses a model that delivers broken sentences; a training that was cut short is only reported on."""
    line = whole_sentences(finished.artifact.report(ServingReport).delivered, finished.recipe.gate)
    cut_short = read_origin(finished.inputs["gguf"].path).cut_short
    refuse([line], finished.artifact.path / FILE, cut_short=cut_short)


def measure(job: Job, host: str, model: str, log: Path, game: Path | None) -> ServingReport:
    """Play `gate.serving_hands` held-out hands through the registered model, and some through the embedded engine.

    Raises `OllamaError` if the model that is served under the name is not the registered one.
    """
    registered = json.loads(job.path("register", REGISTERED).read_text("utf-8"))["digest"]
    if ollama.digests(host).get(model) != registered:
        raise OllamaError(f"OLLAMA_HOST {host}: {model} is not the one that was registered; `poem-build register` it")
    gate, gguf, engine = job.recipe.gate, job.path("gguf", SERVED), Ollama(host, model)
    examples = read_examples(job.path("dataset", "test.jsonl"), job.game)[: gate.serving_hands]
    shaped = play_logged(engine, job.game, examples, log)
    memory = memory_of(host, model)
    free = play(engine, job.game, examples, constrained=False)
    verdicts = verdicts_of(shaped.replies, examples, "Ollama, schema")
    tries = deliver(engine, job.game, examples, verdicts)
    again = [verdict for found in tries for verdict in found[1:]]
    write_verdicts(job.folder / FILE, [*verdicts, *again, *verdicts_of(free, examples, "Ollama, no schema")])
    talk, llama = family.family(job.recipe.base.family), Llama(gguf, vocab_only=True)
    ids = [llama.tokenize(talk.prompt(example.question(job.game))) for example in examples]
    inside = embedded(Model(model, gguf), game, examples[: gate.embedded_hands], job.folder.parent / "service.log")
    return ServingReport(
        shaped=served(shaped.replies, examples),
        delivered=delivered(tries),
        free=served(free, examples),
        prompt=prompt_figures(shaped, ids),
        memory=memory,
        embedded=inside,
    )


def play_logged(engine: Engine, game: Game, examples: Sequence[Example], log: Path) -> Played:
    """Play the hands under the schema, and read in the engine's log what its prompts cost."""
    start = log.stat().st_size if log.is_file() else None
    replies = play(engine, game, examples, constrained=True)
    evaluated = None
    if start is not None and all(example.stages == 1 for example in examples):
        found = _counted(log, start, len(replies))
        evaluated = found if len(found) == len(replies) else None  # somebody else's requests are among them
    return Played(replies, evaluated)


def _counted(log: Path, start: int, wanted: int) -> list[int]:
    """The counts that the log tells from there on; its writer may be a little behind the answers."""
    deadline = time.monotonic() + _LOG_BEHIND_S
    while True:
        found = [int(count) for count in _EVALUATED.findall(log.read_bytes()[start:])]
        if len(found) >= wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def verdicts_of(replies: Sequence[Reply], examples: Sequence[Example], asked: str = "") -> list[Verdict]:
    """What the rules say of each."""
    return [Rules().judge(example, reply, asked) for example, reply in zip(examples, replies, strict=True)]


def served(replies: Sequence[Reply], examples: Sequence[Example]) -> Served:
    """The replies in figures; the first one's seconds hold the loading and are left out."""
    later = replies[1:] or replies
    timed = [reply for reply in replies if reply.tokens_s]
    return Served(
        score=score(verdicts_of(replies, examples)),
        ended=dict(Counter(reply.ended for reply in replies).most_common()),
        seconds=spread([reply.seconds for reply in later]),
        tokens=spread([reply.tokens for reply in replies]),
        tokens_per_second=round(sum(r.tokens for r in timed) / sum(r.tokens_s for r in timed), 1) if timed else None,
    )


def prompt_figures(played: Played, ids: Sequence[Sequence[int]]) -> PromptFigures:
    """What the later hands' prompts cost; `ids` are their tokens."""
    new = [len(now) - _common(before, now) for before, now in pairwise(ids)]
    later = played.replies[1:]
    return PromptFigures(
        tokens=round(statistics.mean(reply.prompt_tokens for reply in later), 1),
        new=round(statistics.mean(new), 1),
        evaluated=round(statistics.mean(played.evaluated[1:]), 1) if played.evaluated else None,
        first_s=round(played.replies[0].prompt_s, 3),
        later_s=spread([reply.prompt_s for reply in later]),
    )


def embedded(model: Model, game: Path | None, examples: Sequence[Example], log: Path) -> Inside:
    """The same hands through the service with its embedded engine, which draws the title candidates itself."""
    import httpx

    port = _free_port()
    sources: Counter[str] = Counter()
    seconds, rates = [], []
    tokenizer = Llama(model.gguf, vocab_only=True)
    with serving(model, game, port, log) as service, client(service.url, 90) as there:
        for example in progress(examples, "playing in the embedded engine"):
            start = time.monotonic()
            try:
                reply = there.post(
                    "/api/generate-poem", json={"selectedPairs": example.hand.as_json()}
                ).raise_for_status()
            except httpx.HTTPError as error:
                raise DemoError(f"{service.url}: the hand was not answered: {error}; see service.log") from error
            seconds.append(time.monotonic() - start)
            reason = reply.headers.get("X-Poem-Reason")
            sources[f"{reply.headers['X-Poem-Source']}{f': {reason}' if reason else ''}"] += 1
            if reply.headers["X-Poem-Source"] == "model":
                rates.append(len(tokenizer.tokenize(encode(Answer(**reply.json())), bos=False)) / seconds[-1])
        memory = resident_mb(service.pid)
    return Inside(
        hands=len(examples),
        delivered=sources["model"],
        sources=dict(sources.most_common()),
        seconds=spread(seconds),
        tokens_per_second_in_all=round(statistics.mean(rates), 1) if rates else None,
        resident_mb=memory,
    )


def _common(before: Sequence[int], now: Sequence[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
