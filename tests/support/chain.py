"""The real stages in a folder of a test's own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from poem.game import Game, builtin_game
from poem_build.cli import pipeline
from poem_build.engine.llama import Llama
from poem_build.recipe.names import ollama_model
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Report
from poem_build.store.folder import link
from poem_build.store.stage import Job
from poem_build.store.workshop import Workshop


def workshop_of(recipe: Recipe, out: Path, host: str | None = None, *, game: Game | None = None) -> Workshop:
    """The stages of the recipe, those of the Ollama at `host` among them, for the built-in game or another."""
    game = game or builtin_game()
    name, log = ollama_model(recipe.name, game.name), out / "ollama.log"
    served = pipeline.of_ollama(host, name, out, log, None) if host else ()
    return Workshop(recipe, game, out, [*pipeline.stages(recipe), *served])


def changed(recipe: Recipe, section: str, **change: Any) -> Recipe:
    """The recipe with other values in one section."""
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=change)})


def planted(recipe: Recipe, out: Path, name: str, work: Callable[[Job], Report]) -> Workshop:
    """The stages with a fault in one of them: that one does other work."""
    stages = [replace(stage, work=work) if stage.name == name else stage for stage in pipeline.STAGES]
    return Workshop(recipe, builtin_game(), out, stages)


def off_merged(served: Path, merged: Path) -> tuple[float, float]:
    """How far the logits of a base with its adapter beside it are from the merged model's, and those of the base alone.

    One less the mean cosine: an adapter of half its strength would be a quarter as far as none.
    """
    ids = Llama(merged, vocab_only=True).tokenize("雨あがりの庭に、灯りがともる。坂の上の家。")
    with TemporaryDirectory(dir=served.parent) as room:
        link(served, alone := Path(room) / served.name)
        wanted, *found = (
            np.concatenate(list(Llama(path, 128).answer_logits(ids[:1], ids[1:]))) for path in (merged, served, alone)
        )
    beside, none = (
        1 - float(((a * wanted).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(wanted, axis=1)).mean())
        for a in found
    )
    return beside, none
