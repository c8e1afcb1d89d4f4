"""`poem-build plan`: what a recipe takes on a machine, before hours are spent on it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import click

from poem.game import Game
from poem_build.cli import ahead
from poem_build.cli.options import PATH, Amount, Chosen, all_of, work_options
from poem_build.errors import PlanError
from poem_build.models import source
from poem_build.models.shapes import shape_of
from poem_build.plan.lengths import lengths_of
from poem_build.plan.machine import GIGA, Machine, machine_here
from poem_build.plan.machines import MACHINES, Machines, load_machines
from poem_build.plan.plan import Plan, plan, settings_that_fit
from poem_build.recipe.schema import Recipe, load_recipe, recipe_names
from poem_build.recipe.shape import Shape
from poem_build.report import plan_table
from poem_build.teacher.money import PRICES, load_prices

sizes_options = all_of(
    click.option("--vram", type=Amount("GB"), metavar="GB", help="Memory of the GPU.  [this machine's]"),
    click.option("--gpus", type=click.IntRange(1), metavar="N", help="How many such GPUs.  [this machine's, or 1]"),
    click.option("--cores", type=click.IntRange(1), metavar="N", help="How many of its processor.  [this machine's]"),
    click.option("--ram", type=Amount("GB"), metavar="GB", help="Memory of the machine.  [this one's, free]"),
    click.option("--disk", type=Amount("GB"), metavar="GB", help="Room for the artifacts.  [here, free]"),
    click.option("--prices", "prices_path", type=PATH, default=PRICES, help="Another price list."),
    click.option("--machines", "machines_path", type=PATH, default=MACHINES, help="Another list of GPUs."),
)


@click.command("plan")
@work_options
@sizes_options
def plan_command(
    chosen: Chosen,
    as_json: bool,
    vram: float | None,
    gpus: int | None,
    cores: int | None,
    ram: float | None,
    disk: float | None,
    prices_path: Path,
    machines_path: Path,
) -> None:
    """Tell what a recipe takes: memory, disk, time, money, licences. Ends with 1 where it does not fit."""
    here = machine_here(chosen.out, chosen.recipe)
    machine = Machine(
        here.vram if vram is None or chosen.recipe.device == "cpu" else (vram * GIGA or None),
        here.ram if ram is None else ram * GIGA,
        here.disk if disk is None else disk * GIGA,
        here.gpus if gpus is None else gpus,
        here.cores if cores is None else cores,
        here.native if vram is None else Machine.native,
    )
    machines, prices = load_machines(machines_path), load_prices(prices_path)
    recipe, shape, announced = _told(chosen)
    made = plan(recipe, shape, lengths_of(recipe, chosen.game), machine, machines, announced)
    lacks = made.lacks(machine)
    nearest = _nearest(recipe, chosen.game, made, machine, machines) if lacks else ""
    if as_json:
        told = plan_table.as_json(recipe, made, machine, prices, lacks, nearest)
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(plan_table.render(recipe, made, machine, machines, prices, lacks, nearest))
    if lacks:
        sys.exit(1)


COMMANDS = (plan_command,)


def _told(chosen: Chosen) -> tuple[Recipe, Shape, int]:
    """The recipe, its base's shape, and the base's bytes if nothing here tells the shape and the hub was asked."""
    recipe = chosen.recipe
    if shape := shape_of(recipe, source.fetched(recipe.base, chosen.out / source.STAGE.makes)):
        return recipe, shape, 0
    if recipe.base.hub:
        return ahead.of_hub(recipe)
    raise PlanError(f"recipe {recipe.name}: shape: nothing at hand tells it; give [shape], or --base with a model")


def _nearest(asked: Recipe, game: Game, made: Plan, machine: Machine, machines: Machines) -> str:
    """What would fit: other settings, else the largest other recipe, else this one on the processor or another GPU."""

    def planned(on: Machine) -> Plan:
        return plan(asked, made.shape, lengths_of(asked, game), on, machines, made.download)

    if text := settings_that_fit(asked, made, machine):
        return f"Nearest that fits: {asked.name} with {text}."
    smaller: list[tuple[int, str]] = []
    for name in recipe_names():
        recipe = load_recipe(name)
        if (shape := shape_of(recipe)) and shape.parameters < made.shape.parameters:
            other = plan(recipe, shape, lengths_of(recipe, game), machine, machines)
            if not other.lacks(machine):
                smaller.append((shape.parameters, name))
    if smaller:
        return f"Nearest that fits: {max(smaller)[1]}."
    alone = replace(machine, vram=None)
    if machine.vram is not None and not planned(alone).lacks(alone):
        return f"Nearest that fits: {asked.name} with --device cpu."
    roomy = replace(machine, vram=float("inf"))
    short = [] if planned(roomy).lacks(roomy) else [run.gpu for run in made.runs if run.fits]
    return f"No recipe fits; for this one the {short[0]} would do." if short else "No recipe fits."
