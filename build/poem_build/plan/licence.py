"""The licences of a base and the terms of a teacher → may the model be shipped and sold, and what must be named."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poem_build.data.taught import teachers_of
from poem_build.recipe.schema import Recipe

TERMS = Path(__file__).resolve().parents[2] / "licences.toml"


@dataclass(frozen=True)
class Verdict:
    """What one of the things that a model is made of allows."""

    of: str
    terms: str
    ship: str
    sell: str
    name: str
    text: str = ""
    """Where the terms are to be read."""
    prefix: str = ""
    """What the name of a model that is passed on has to begin with."""


def verdicts(recipe: Recipe) -> list[Verdict]:
    """Of the base, which the adapter inherits, and of each teacher whose poems are learnt from.

    Raises `DatasetError` for a folder of poems that does not tell who wrote them.
    """
    content: Mapping[str, Any] = tomllib.loads(TERMS.read_text("utf-8"))
    found = [_verdict("base and adapter", recipe.licence, content.get(recipe.licence))]
    if recipe.dataset.taught:
        teachers = teachers_of(recipe.dataset.taught)
        found += [_verdict("teacher", name, content["teachers"].get(name)) for name in teachers]
    return found


def _verdict(of: str, terms: str, entry: Mapping[str, str] | None) -> Verdict:
    unknown = {"ship": "unknown", "sell": "unknown", "name": f"read {terms}; add it to {TERMS.name}"}
    return Verdict(of, terms, **(entry or unknown))
