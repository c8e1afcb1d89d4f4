"""The licences of a base and the terms of a teacher → may the model be shipped and sold, and what must be named."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poem_build.data.taught import teachers_of
from poem_build.models.licence import untold
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
    found = [_of_base(recipe, content)]
    if recipe.dataset.taught:
        teachers = teachers_of(recipe.dataset.taught)
        found += [_verdict("teacher", name, content["teachers"].get(name)) for name in teachers]
    return found


def _of_base(recipe: Recipe, content: Mapping[str, Any]) -> Verdict:
    of, base = "base and adapter", recipe.base
    if recipe.licence != untold(base):
        return _verdict(of, recipe.licence, content.get(recipe.licence))
    ask = "ask its maker, then write `license` at the head of its README.md"
    remedy = "`poem-build base` fetches the model, and its card tells" if base.hub else ask
    return _unknown(of, recipe.licence, "the base tells none", remedy)


def _verdict(of: str, terms: str, entry: Mapping[str, str] | None) -> Verdict:
    if entry is None:
        return _unknown(of, terms, f"{TERMS.name} has no {terms}", f"read its text, then add it to {TERMS.name}")
    return Verdict(of, terms, **entry)


def _unknown(of: str, terms: str, why: str, remedy: str) -> Verdict:
    return Verdict(of, terms, f"unknown: {why}", f"unknown: {why}", remedy)
