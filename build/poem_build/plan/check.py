"""A stage that is about to run → one line beforehand if the machine is too small for it."""

from pathlib import Path

from poem.game import Game
from poem_build.errors import PlanError
from poem_build.models.shapes import shape_of
from poem_build.plan.lengths import lengths_of
from poem_build.plan.machine import machine_here
from poem_build.plan.plan import needs_of, training_of
from poem_build.recipe.schema import Recipe

CHECKED = {name: name for name in ("train", "merge", "convert", "quantize", "fidelity")} | {"register": "serve"}
"""Stages, and what the plan calls what they take."""


def check_stage(recipe: Recipe, game: Game, stage: str, out: Path) -> None:
    """Raise `PlanError` if the machine has not the memory that the plan reckons for the stage."""
    shape = shape_of(recipe) if stage in CHECKED else None
    if shape is None:
        return
    machine, lengths = machine_here(out), lengths_of(recipe, game)
    how = training_of(recipe, lengths, gpu=machine.vram is not None)
    wanted = [one for one in needs_of(recipe, shape, how, lengths, machine) if one.stage == CHECKED[stage]]
    if lacks := machine.lacks(wanted, 0):
        raise PlanError(f"recipe {recipe.name}: {lacks[0]}; `poem-build plan` names the nearest that fits")
