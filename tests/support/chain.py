"""The real stages in a folder of a test's own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from poem.game import Game, builtin_game
from poem_build.cli import pipeline
from poem_build.recipe.names import ollama_model
from poem_build.recipe.schema import Recipe
from poem_build.store.artifact import Report
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
