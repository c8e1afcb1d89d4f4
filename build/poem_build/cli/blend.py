"""`poem-build blend`: several adapters of the recipe's base → one."""

import json
import math
from pathlib import Path
from typing import get_args

import click

from poem_build.cli.options import PATH, Chosen, folder_options
from poem_build.export.blend import Method, blend
from poem_build.export.of_base import refuse_other_base


@click.command("blend")
@click.argument("adapters", nargs=-1, required=True, metavar="FOLDER[=WEIGHT]…")
@click.option("--to", "target", type=PATH, required=True, help="The folder of the one adapter.")
@click.option(
    "--method", type=click.Choice(get_args(Method)), default="cat", show_default=True, help="As peft calls it."
)
@folder_options
def blend_command(chosen: Chosen, as_json: bool, adapters: tuple[str, ...], target: Path, method: Method) -> None:
    """Blend adapters of the recipe's base into one, each by its weight (1 unless given)."""
    parsed = [_parsed(text) for text in adapters]
    if not any(weight for _, weight in parsed):
        raise click.BadParameter("all weights are 0, which is no adapter", param_hint="FOLDER=WEIGHT")
    if target.exists():
        raise click.BadParameter(f"{target} is there already", param_hint="--to")
    base = chosen.workshop().load("base")
    for folder, _ in parsed:
        refuse_other_base(base, folder)
    blend(base.path, parsed, method, target)
    told = {"path": str(target), "method": method, "weights": {str(folder): weight for folder, weight in parsed}}
    click.echo(
        json.dumps(told)
        if as_json
        else f"{target}: {len(parsed)} adapters blended by {method}; `run --adapter {target}` goes on"
    )


COMMANDS = (blend_command,)


def _parsed(text: str) -> tuple[Path, float]:
    folder, given, weight = text.rpartition("=")
    if not given:
        return Path(text), 1.0
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise click.BadParameter(f"{text}: the weight is no number", param_hint="FOLDER=WEIGHT")
    return Path(folder), number
