"""Sampling settings to be tried → how a served model fares with each, so that a recipe can be given the best."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pydantic import ValidationError

from poem.game import Game
from poem_build.data.examples import Example, read_examples
from poem_build.engine.protocol import Engine
from poem_build.errors import RecipeError
from poem_build.judge.rules import play
from poem_build.judge.serving import Served, served
from poem_build.recipe.schema import Serve

NAMES = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty")
"""What a request may set without Ollama loading the model anew."""


def parse(serve: Serve, given: Iterable[str]) -> dict[str, list[float]]:
    """`name=value,value` of each setting; raises `RecipeError` for a name or a value that a recipe cannot have."""
    found: dict[str, list[float]] = {}
    for text in given:
        name, _, values = text.partition("=")
        if name not in NAMES:
            raise RecipeError(f"--try {text}: {name!r} is no sampling setting; give one of {', '.join(NAMES)}")
        if name in found:
            raise RecipeError(f"--try {text}: {name} is there already; give all its values in one, with commas")
        try:
            checked = [Serve.model_validate(serve.model_dump() | {name: _read(value)}) for value in values.split(",")]
        except ValidationError as error:
            raise RecipeError(
                f"--try {text}: {error.errors()[0]['msg']}, got {error.errors()[0]['input']!r}"
            ) from error
        found[name] = [getattr(one, name) for one in checked]
    return found


def _read(value: str) -> object:
    """As it would be read in a recipe, or as it stands."""
    with suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"value = {value}")["value"]
    return value


def examples_to_try(dataset: Path, game: Game, hands: int) -> list[Example]:
    """Validation hands: settings that the test's hands chose would be judged by what they were chosen for."""
    return read_examples(dataset / "valid.jsonl", game)[:hands]


@dataclass(frozen=True)
class Tried:
    """A combination of settings, and how the model fared with it."""

    settings: Mapping[str, float]
    served: Served


def sweep(
    engine: Engine, game: Game, examples: Sequence[Example], tried: Mapping[str, Sequence[float]]
) -> Iterator[Tried]:
    """Play the same hands under the schema with every combination of the settings."""
    for values in product(*tried.values()):
        settings = dict(zip(tried, values, strict=True))
        yield Tried(settings, served(play(engine, game, examples, constrained=True, sampling=settings), examples))
