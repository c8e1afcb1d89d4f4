"""The program → the parts of the documents that are generated from it: `make docs` writes them, a test compares."""

import importlib
from pathlib import Path

from click.testing import CliRunner

from poem.game import builtin_game
from poem_build.cli.main import cli
from poem_build.models.architectures import unfit
from poem_build.models.family import family
from poem_build.models.shapes import shape_of
from poem_build.plan.lengths import lengths_of
from poem_build.plan.memory import serve_need, training_needs
from poem_build.plan.plan import training_of
from poem_build.recipe.schema import Recipe, family_names, load_recipe, recipe_names
from poem_service.settings import Settings
from poem_service.variables import VARIABLES

CARDS = (8, 12, 16, 24, 32, 48, 80, 141, 192)
"""GB that GPUs have."""
DOCUMENTS = tuple(Path(__file__).parents[1] / name for name in ("README.md", "docs/training.md"))


def generated(text: str) -> str:
    """The text with its generated parts written anew."""
    commands = CliRunner().invoke(cli, ["--help"], prog_name="poem-build").output.rstrip()
    defaults = Settings()
    rows = "\n".join(
        f"| `{name}` | {_shown(getattr(defaults, target))} | {allowed} |"
        for name, (target, _, allowed) in VARIABLES.items()
    )
    for mark, content in {
        "help": f"```\n{commands}\n```",
        "recipes": _recipes(),
        "families": _families(),
        "settings": f"| variable | default | what is allowed |\n|---|---|---|\n{rows}",
    }.items():
        before, found, rest = text.partition(f"<!-- {mark} -->")
        if found:
            after = rest.partition(f"<!-- /{mark} -->")[2]
            text = f"{before}<!-- {mark} -->\n{content}\n<!-- /{mark} -->{after}"
    return text


def _recipes() -> str:
    """The table of the recipes."""
    rows = (
        f"| `{r.name}` | {r.summary} | {r.params} | {r.licence} | {_card(r)} | {r.status} |"
        for r in map(load_recipe, recipe_names())
    )
    head = "| recipe | what it is | parameters | licence | GPU | status |"
    return "\n".join((head, "|---|---|---|---|---|---|", *rows))


def _card(recipe: Recipe) -> str:
    """The smallest class of GPU that has room for its training, or for serving what is not trained, as computed."""
    if recipe.base.path or not (shape := shape_of(recipe)):  # a base that is made here is small
        return "none"
    if unfit(shape.architecture):
        return "refused"
    lengths = lengths_of(recipe, builtin_game())
    how = training_of(recipe, lengths, gpu=True)
    needs = training_needs(shape, how, "gpu") if how else [serve_need(shape, recipe.serve.num_ctx, "gpu", "Q4_K_M")]
    needed = {one.place: one.total / 1e9 for one in needs}
    card = next(size for size in CARDS if needed["gpu"] < 0.95 * size)
    memory = f", and {needed['ram']:.0f} of memory" if needed.get("ram", 0) > 16 else ""
    return f"{card} GB{memory}{'' if how else ', to serve'}"


def _families() -> str:
    """The table of the families; their modules' first sentences tell of them."""
    rows = []
    for name in family_names():
        told = (importlib.import_module(f"poem_build.models.families.{name}").__doc__ or "").splitlines()[0]
        compared = family(name).tokenizer
        seen = f"compared: {compared}" if compared else "template written, tokenizer unseen"
        rows.append(f"| `{name}` | {told.rstrip('.')} | {seen} |")
    return "\n".join(("| family | what it is | tokenizer |", "|---|---|---|", *rows))


def _shown(value: object) -> str:
    return "" if value is None or value == () else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    for page in DOCUMENTS:
        page.write_text(generated(page.read_text("utf-8")), "utf-8")
