"""A stage that is about to run → one line beforehand if the machine is too small for it, or for those that follow."""

from collections.abc import Collection, Sequence
from pathlib import Path

from poem.game import Game
from poem_build.errors import PlanError
from poem_build.models import source
from poem_build.models.shapes import shape_of
from poem_build.plan.lengths import lengths_of
from poem_build.plan.machine import Machine, machine_here
from poem_build.plan.memory import Need, Training
from poem_build.plan.plan import disk_of, needs_of, refusals, training_of
from poem_build.recipe.schema import Recipe
from poem_build.recipe.shape import Shape

CHECKED = {name: name for name in ("base", "train", "merge", "convert", "quantize", "fidelity")} | {"register": "serve"}
"""Stages, and what the plan calls what they take."""


def check_stage(recipe: Recipe, game: Game, stage: str, out: Path) -> None:
    """Raise `PlanError` if the machine has not the memory that the plan reckons for the stage."""
    if stage in CHECKED and (shape := shape_of(recipe, source.fetched(recipe.base, out / source.STAGE.makes))):
        machine, wanted, _ = _planned(recipe, game, shape, [stage], out)
        _refuse(recipe, machine.lacks(wanted, 0))


def check_fetch(recipe: Recipe, game: Game, shape: Shape, stages: Collection[str], out: Path, size: int) -> None:
    """Raise `PlanError` for what the stages lack here that are to follow on a base of which `size` bytes are to come.

    That is the memory of each, and the disk for all that is made.
    """
    machine, wanted, how = _planned(recipe, game, shape, stages, out)
    refused = refusals(recipe, shape, gpu=machine.vram is not None) if "train" in stages else ()
    _refuse(recipe, [*refused, *machine.lacks(wanted, disk_of(recipe, shape, how, size))])


def _planned(
    recipe: Recipe, game: Game, shape: Shape, stages: Collection[str], out: Path
) -> tuple[Machine, list[Need], Training | None]:
    """The machine, what the stages need of it, and how the model is trained on it."""
    machine, lengths = machine_here(out, recipe), lengths_of(recipe, game)
    how = training_of(recipe, lengths, gpu=machine.vram is not None, native=machine.native)
    asked = {CHECKED[stage] for stage in stages if stage in CHECKED}
    return machine, [one for one in needs_of(recipe, shape, how, lengths, machine) if one.stage in asked], how


def _refuse(recipe: Recipe, lacks: Sequence[str]) -> None:
    if lacks:
        raise PlanError(f"recipe {recipe.name}: {lacks[0]}; `poem-build plan` names the nearest that fits")
