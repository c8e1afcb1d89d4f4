"""A writer's name → somebody who writes a poem for a hand, whoever runs them."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from poem.composer import compose
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Answer
from poem.model_keys import ADAPTER_FILE, STAGES
from poem.outline import Stages
from poem.rules import check
from poem.shape import encode
from poem.table import Table
from poem_build.client import Credentials
from poem_build.engine.embedded import apart
from poem_build.engine.ollama import Ollama, call, digests
from poem_build.engine.openai import OpenAI
from poem_build.engine.protocol import Engine, Question, Reply
from poem_build.evaluation.hands import BY_HAND, TEACHER, Trial
from poem_build.evaluation.names import ADAPTER, BASE, COMPOSER, F16_NAME, TABLE, WriterName
from poem_build.evaluation.report import MODEL
from poem_build.export.gguf import convert_folder
from poem_build.export.quantization import quantize_file
from poem_build.judge.delivery import TRIES
from poem_build.judge.rules import ask
from poem_build.models import family
from poem_build.models.files import F16, IMATRIX, SERVED
from poem_build.models.inspection import inspect
from poem_build.models.load import load_adapted, load_model, load_tokenizer, to_ask
from poem_build.models.origin import read_origin
from poem_build.store.stage import Job


@dataclass(frozen=True)
class Place:
    """Where writers outside the artifacts are asked: Ollama's address, and an OpenAI-shaped server's with its key."""

    ollama: str = ""
    openai: Credentials = field(default_factory=Credentials)


class Writer(Protocol):
    """Whoever writes."""

    @property
    def tries(self) -> int:
        """Times that a hand is asked for before it is given up."""

    def write(self, trial: Trial, seed: int) -> Reply | None:
        """The answer, or None if this one has none to give for such a hand."""


@dataclass(frozen=True)
class EngineWriter:
    """An engine that is asked as the service asks, or without the schema."""

    engine: Engine
    game: Game
    constrained: bool
    stages: Stages = 1

    @property
    def tries(self) -> int:
        return TRIES if self.constrained else 1

    def write(self, trial: Trial, seed: int) -> Reply:
        example = replace(trial.example, stages=self.stages)
        return ask(self.engine, self.game, example, seed, constrained=self.constrained)


@dataclass(frozen=True)
class Composed:
    """The composer."""

    game: Game
    tries: int = 1

    def write(self, trial: Trial, seed: int) -> Reply | None:
        start = time.monotonic()
        try:
            found = compose(self.game, trial.example.hand, trial.example.candidates, seed).answer
        except CompositionError:
            return None
        return Reply(encode(found), "stop", time.monotonic() - start)


@dataclass(frozen=True)
class Given:
    """Poems that came with the hands."""

    whose: str
    tries: int = 1

    def write(self, trial: Trial, seed: int) -> Reply | None:
        return _reply(trial.given.get(self.whose))


@dataclass(frozen=True)
class Tabled:
    """A table's poems for the very hand, or for its cards: the first that the service would let through."""

    table: Table
    titles: Sequence[str]
    """The game's: it was written before any were dealt with a hand."""
    tries: int = 1

    def write(self, trial: Trial, seed: int) -> Reply | None:
        hand = trial.example.hand
        return _reply(next((one for one in self.table.find(hand) if not check(one, hand, self.titles)), None))


@dataclass(frozen=True)
class Adapted:
    """The base with its adapter by transformers; it knows no schema."""

    model: Any
    tokenizer: Any
    job: Job
    name: str = ADAPTER

    def ask(self, question: Question) -> Reply:
        import torch

        start = time.monotonic()
        serve, talk = self.job.recipe.serve, family.family(self.job.recipe.base.family)
        ids = self.tokenizer(talk.prompt(question.messages), return_tensors="pt").to(self.model.device)
        ends = [self.tokenizer.convert_tokens_to_ids(stop) for stop in talk.stop]
        torch.manual_seed(question.seed)
        with torch.inference_mode():
            found = self.model.generate(
                **ids,
                do_sample=True,
                max_new_tokens=serve.num_predict,
                temperature=serve.temperature,
                top_p=serve.top_p,
                top_k=serve.top_k,
                min_p=serve.min_p,
                repetition_penalty=serve.repeat_penalty,
                eos_token_id=ends,
                pad_token_id=ends[0],
            )[0]
        prompt = ids["input_ids"].shape[1]
        answer = found[prompt:].tolist()
        ended = "stop" if answer and answer[-1] in ends else "length"
        seconds = time.monotonic() - start
        text = self.tokenizer.decode(answer, skip_special_tokens=False)
        for stop in talk.stop:
            text = text.partition(stop)[0]
        return Reply(text, ended, seconds, prompt, 0.0, len(answer), seconds)


def identity(names: Sequence[WriterName], place: Place) -> dict[str, str | None]:
    """What of the writers lies outside recipe and artifacts, for the key of what they wrote."""
    return {str(name): _identity(name, place) for name in names}


def _identity(name: WriterName, place: Place) -> str | None:
    if name.kind == "ollama":
        return digests(place.ollama).get(name.place)
    return place.openai.address if name.kind == "openai" else None


@contextmanager
def opened(name: WriterName, job: Job, place: Place) -> Iterator[Writer]:
    """The writer, for as long as it is wanted."""
    if name.kind == COMPOSER:
        yield Composed(job.game)
    elif name.kind in (BY_HAND, TEACHER):
        yield Given(name.kind)
    elif name.kind == TABLE:
        table = Table.open(Path(name.place))
        try:
            yield Tabled(table, job.game.deck.catchphrases)
        finally:
            table.close()
    else:
        constrained = not name.free and name.kind != ADAPTER
        with _engine(name, job, place) as engine:
            yield EngineWriter(engine, job.game, constrained, stages(name, job, place))


def stages(name: WriterName, job: Job, place: Place) -> Stages:
    """In how many a model says that it writes; a server of the OpenAI shape cannot say."""
    if name.kind == "ollama":
        told = call(place.ollama, "POST", "/api/show", {"model": name.place}).get("model_info", {}).get(STAGES)
    elif name.kind == "embedded":
        told = inspect(Path(name.place)).facts.get(STAGES)
    elif name.kind == "openai":
        told = None
    else:
        return read_origin(job.path("gguf")).stages
    return 2 if told == "2" else 1


@contextmanager
def _engine(name: WriterName, job: Job, place: Place) -> Iterator[Engine]:
    if name.kind == "ollama":
        yield Ollama(place.ollama, name.place)
    elif name.kind == "openai":
        yield OpenAI(place.openai.address, name.place, place.openai.key)
    elif name.kind == ADAPTER:
        how = to_ask(job.recipe, job.path("base"))
        model = load_adapted(load_model(job.path("base"), how.dtype, how.device), job.path("adapter")).eval()
        yield Adapted(model, load_tokenizer(job.path("base")), job)
    else:
        talk = family.family(job.recipe.base.family)
        with _gguf(name, job) as path, apart(path, talk, job.recipe.serve) as engine:
            yield engine


@contextmanager
def _gguf(name: WriterName, job: Job) -> Iterator[Path]:
    if name.kind == "embedded":
        yield Path(name.place)
    elif name.kind == MODEL or (Path(SERVED).stem.endswith(name.kind) and ADAPTER_FILE not in job.inputs["gguf"].files):
        yield job.path("gguf", SERVED)
    elif name.kind == F16_NAME:
        yield job.path("f16", F16)
    else:
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / f"{name.kind}.gguf"
            if name.kind == BASE:
                convert_folder(job.path("base"), path, job.recipe, read_origin(job.path("gguf")))
            else:
                matrix = job.path("gguf", IMATRIX) if IMATRIX in job.inputs["gguf"].files else None
                quantize_file(job.path("f16", F16), path, name.kind, matrix)
            yield path


def _reply(answer: Answer | None) -> Reply | None:
    return Reply(encode(answer), "stop") if answer else None
