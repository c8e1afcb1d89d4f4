"""A name on the command line → somebody who writes a poem for a hand, whoever runs them.

`model` is the recipe's quantized model as it is served; `f16`, `Q8_0` … its other GGUF files, `adapter` the base with
the adapter on it by transformers, `base` the base alone. `/free` after a model's name asks without the schema.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from poem.composer import compose
from poem.errors import CompositionError
from poem.game import Game
from poem.hand import Answer
from poem.outline import Stages
from poem.shape import encode
from poem.table import Table
from poem_build.client import Credentials
from poem_build.engine.embedded import apart
from poem_build.engine.ollama import Ollama, call, digests
from poem_build.engine.openai import OpenAI
from poem_build.engine.protocol import Engine, Question, Reply
from poem_build.errors import WriterError
from poem_build.evaluation.hands import BY_HAND, TEACHER, Trial
from poem_build.evaluation.report import MODEL
from poem_build.export.gguf import STAGES_KEY, convert_folder
from poem_build.export.quantization import quantize_file
from poem_build.judge.delivery import TRIES
from poem_build.judge.rules import ask
from poem_build.models import family
from poem_build.models.device import device_of
from poem_build.models.files import ADAPTER_FILE, F16, IMATRIX, SERVED
from poem_build.models.inspection import inspect
from poem_build.models.load import load_adapted, load_model, load_tokenizer
from poem_build.models.origin import read_origin
from poem_build.recipe.quantize import MIXTURES
from poem_build.store.stage import Job

COMPOSER, BASE, ADAPTER, TABLE, F16_NAME = "composer", "base", "adapter", "table", "f16"
FREE = "/free"
LOCAL = (MODEL, BASE, ADAPTER, F16_NAME, *MIXTURES, COMPOSER, BY_HAND, TEACHER)
ADDRESSED = (TABLE, "embedded", "ollama", "openai")
"""With what follows a colon: a file, or a model's name."""
_ROLES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(MIXTURES, ("gguf", "f16")),
    **{MODEL: ("gguf",), F16_NAME: ("gguf", "f16"), BASE: ("gguf", "base"), ADAPTER: ("gguf", "base", "adapter")},
}


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
    """A table's poems for the very hand, or for its cards."""

    table: Table
    tries: int = 1

    def write(self, trial: Trial, seed: int) -> Reply | None:
        return _reply(next(self.table.find(trial.example.hand), None))


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


def check_names(names: tuple[str, ...], option: str = "--writers") -> None:
    """Raises `WriterError` for a writer that nobody knows, naming the option that it was given by."""
    for name in names:
        plain, _, place = name.removesuffix(FREE).partition(":")
        if not (plain in ADDRESSED and place) and not (plain in LOCAL and not place):
            known = ", ".join([*LOCAL, *(f"{one}:…" for one in ADDRESSED)])
            raise WriterError(f"{option} {name}: nobody is called so; known are {known}; {FREE} asks without a schema")
        if name.endswith(FREE) and plain in (COMPOSER, BY_HAND, TEACHER, TABLE):
            raise WriterError(f"{option} {name}: {plain} is asked with no schema anyway; leave {FREE} out")
    if len(set(names)) < len(names):
        raise WriterError(f"{option}: {max(names, key=names.count)} is there twice; give each once")


def check_files(names: tuple[str, ...]) -> None:
    """Raises `WriterError` for a file that is not there, before anybody has played for hours."""
    for path in files(names).values():
        if not path.is_file():
            raise WriterError(f"--writers {path}: there is no such file; give another")


def roles(name: str) -> tuple[str, ...]:
    """The artifacts that a model among the writers is made from; none for one from outside.

    Raises `WriterError` for whoever is no model.
    """
    check_names((name,), "--writer")
    plain = name.removesuffix(FREE).partition(":")[0]
    if plain not in _ROLES and plain not in ("embedded", "ollama", "openai"):
        raise WriterError(
            f"--writer {name}: is no model; give one of model, f16, base, adapter, a mixture such as Q8_0, "
            "embedded:FILE, ollama:MODEL or openai:MODEL"
        )
    return _ROLES.get(plain, ())


def identity(names: tuple[str, ...], place: Place) -> dict[str, str | None]:
    """What of the writers lies outside recipe and artifacts, for the key of what they wrote."""
    found: dict[str, str | None] = dict.fromkeys(names)
    for name in names:
        plain, _, what = name.removesuffix(FREE).partition(":")
        if plain == "ollama":
            found[name] = digests(place.ollama).get(what)
        elif plain == "openai":
            found[name] = place.openai.address
    return found


def files(names: tuple[str, ...]) -> Mapping[str, Path]:
    """The files outside that writers read."""
    parts = (name.removesuffix(FREE).partition(":") for name in names)
    return {f"writer {what}": Path(what) for plain, _, what in parts if plain in (TABLE, "embedded")}


@contextmanager
def opened(name: str, job: Job, place: Place) -> Iterator[Writer]:
    """The writer, for as long as it is wanted."""
    plain, _, what = name.removesuffix(FREE).partition(":")
    if plain == COMPOSER:
        yield Composed(job.game)
    elif plain in (BY_HAND, TEACHER):
        yield Given(plain)
    elif plain == TABLE:
        table = Table.open(Path(what))
        try:
            yield Tabled(table)
        finally:
            table.close()
    else:
        constrained = not name.endswith(FREE) and plain != ADAPTER
        with _engine(plain, what, job, place) as engine:
            yield EngineWriter(engine, job.game, constrained, stages(name, job, place))


def stages(name: str, job: Job, place: Place) -> Stages:
    """In how many a model says that it writes; a server of the OpenAI shape cannot say."""
    plain, _, what = name.removesuffix(FREE).partition(":")
    if plain == "ollama":
        told = call(place.ollama, "POST", "/api/show", {"model": what}).get("model_info", {}).get(STAGES_KEY)
    elif plain == "embedded":
        told = inspect(Path(what)).facts.get(STAGES_KEY)
    elif plain == "openai":
        told = None
    else:
        return read_origin(job.path("gguf")).stages
    return 2 if told == "2" else 1


@contextmanager
def _engine(plain: str, what: str, job: Job, place: Place) -> Iterator[Engine]:
    if plain == "ollama":
        yield Ollama(place.ollama, what)
    elif plain == "openai":
        yield OpenAI(place.openai.address, what, place.openai.key)
    elif plain == ADAPTER:
        model = load_adapted(
            load_model(job.path("base"), "float32", device_of(job.recipe).torch), job.path("adapter")
        ).eval()
        yield Adapted(model, load_tokenizer(job.path("base")), job)
    else:
        talk = family.family(job.recipe.base.family)
        with _gguf(plain, what, job) as path, apart(path, talk, job.recipe.serve) as engine:
            yield engine


@contextmanager
def _gguf(plain: str, what: str, job: Job) -> Iterator[Path]:
    if plain == "embedded":
        yield Path(what)
    elif plain == MODEL or (Path(SERVED).stem.endswith(plain) and ADAPTER_FILE not in job.inputs["gguf"].files):
        yield job.path("gguf", SERVED)
    elif plain == F16_NAME:
        yield job.path("f16", F16)
    else:
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / f"{plain}.gguf"
            if plain == BASE:
                convert_folder(job.path("base"), path, job.recipe, read_origin(job.path("gguf")))
            else:
                matrix = job.path("gguf", IMATRIX) if IMATRIX in job.inputs["gguf"].files else None
                quantize_file(job.path("f16", F16), path, plain, matrix)
            yield path


def _reply(answer: Answer | None) -> Reply | None:
    return Reply(encode(answer), "stop") if answer else None
