"""`make bundle`: the images of a recipe's stack → one .tar for a machine without a network."""

from pathlib import Path

import click

from poem_build.cli.options import load_game_option, one_line_errors, set_up_process
from poem_build.recipe.names import artifacts_folder
from poem_build.recipe.schema import load_recipe
from poem_build.ship import bundle, containers
from poem_build.ship.containers import Compose
from poem_build.ship.packing import BUILT_IN_GAME, MIB, Contents
from poem_build.ship.stack import chosen


@click.command()
@click.option("--recipe", help="A recipe's name.  [that of .env, or tiny]")
@click.option("--game", type=click.Path(path_type=Path), help="The folder of a game.  [that of .env, or the built-in]")
@click.option("--out", type=click.Path(path_type=Path), help="Where the file goes.  [artifacts/RECIPE[-GAME]/bundle]")
@click.option("--gpu", type=click.Choice(["", "nvidia"]), default="", help="What the stand has; the CPU otherwise.")
@click.option("--stack", type=click.Choice(["", "embedded"]), default="", help="embedded: without Ollama.")
@click.option(
    "--hands",
    type=click.IntRange(1),
    default=5000,
    show_default=True,
    help="Poems of the table where none was written beforehand.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(
    recipe: str | None, game: Path | None, out: Path | None, gpu: str, stack: str, hands: int, debug: bool
) -> None:
    """Pack the images of a recipe's stack for a machine without a network."""
    with one_line_errors(debug):
        containers.check_engine()
        choice = chosen(recipe, game, gpu, stack)
        compose = Compose(gpu, stack, choice.env)
        contents = Contents(load_recipe(choice.recipe), load_game_option(choice.game), choice.game or BUILT_IN_GAME)
        folder = out or artifacts_folder(contents.recipe.name, contents.game.name) / "bundle"
        made = bundle.pack(contents, folder, compose, hands)
        click.echo(f"bundle: {made} ({made.stat().st_size / MIB:.0f} MiB), checksum in {made.name}.sha256")


if __name__ == "__main__":
    set_up_process()
    main()
