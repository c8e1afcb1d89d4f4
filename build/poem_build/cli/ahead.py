"""A recipe whose base lies on the hub → what the base's small files tell, before a byte of its weights is fetched."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from poem_build.errors import ModelFileError
from poem_build.export import parity, preflight
from poem_build.models import source
from poem_build.models.hub import Announced
from poem_build.models.shapes import of_folder
from poem_build.plan.check import check_fetch
from poem_build.recipe.schema import Base, Recipe
from poem_build.recipe.shape import Shape
from poem_build.store.workshop import Workshop


def look(workshop: Workshop, stages: Sequence[str], room: Path) -> Announced:
    """Bring the base's small files into the room, which fixes its commit, and raise what they tell against it.

    Looked at are architecture and number format, the machine's room for all of the stages, and the tokenizer. What is
    refused leaves no room that was not there: it may be mended tomorrow.
    """
    recipe, game, there = workshop.recipe, workshop.game, room.exists()
    try:
        with _named(recipe.base, room):
            found = source.announce(recipe, room)
            shape = preflight.check_config(room, recipe)
            check_fetch(recipe, game, shape, stages, workshop.out, found.to_come(room))
            dataset = workshop.look("dataset").artifact
            parity.refuse(preflight.check_tokenizer(room, recipe, game, dataset.path if dataset else None))
    except BaseException:
        if not there:
            shutil.rmtree(room, ignore_errors=True)
        raise
    if found.pickled:
        told = f"{found.pickled} is no safetensors: it is taken, but a merge has the whole model in memory"
        click.echo(f"Warning: base {recipe.base.name}: {told}", err=True)
    return found


def of_hub(recipe: Recipe) -> tuple[Recipe, Shape, int]:
    """The recipe under the terms that its base tells, the base's shape and its bytes; nothing of it is kept here."""
    with TemporaryDirectory() as work, _named(recipe.base, room := Path(work)):
        found = source.announce(recipe, room)
        return source.told(recipe, room), of_folder(room), found.size


@contextmanager
def _named(base: Base, room: Path) -> Iterator[None]:
    """What is raised of the room's files, said of the base: nobody has heard of the room."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(str(error).replace(str(room), f"base {base.name}")) from error
