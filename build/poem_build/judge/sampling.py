"""Sampling settings to be tried → how a served model fares with each, so that a recipe can be given the best."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from poem_build.data.dataset import read_examples
from poem_build.errors import RecipeError
from poem_build.judge.serving import play, told_of
from poem_build.recipe.schema import Recipe, Serve
from poem_build.store import artifact

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
            checked = [Serve.model_validate(serve.model_dump() | {name: value}) for value in values.split(",")]
        except ValidationError as error:
            raise RecipeError(
                f"--try {text}: {error.errors()[0]['msg']}, got {error.errors()[0]['input']!r}"
            ) from error
        found[name] = [getattr(one, name) for one in checked]
    return found


def sweep(
    recipe: Recipe, out: Path, host: str, tried: Mapping[str, Sequence[float]], hands: int
) -> Iterator[dict[str, Any]]:
    """Play the same held-out hands under the schema with every combination of the settings."""
    examples = read_examples(artifact.load(out, "dataset").path / "test.jsonl")[:hands]
    for values in product(*tried.values()):
        options = dict(zip(tried, values, strict=True))
        played = play(host, recipe.ollama_model, examples, constrained=True, options=options)
        yield {"settings": options} | told_of(played.replies, examples)
