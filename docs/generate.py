"""The program → the parts of README.md that are generated from it: `make docs` writes them, a test compares."""

from pathlib import Path

from click.testing import CliRunner

from poem_build.cli.main import cli
from poem_build.recipe.schema import load_recipe, recipe_names
from poem_service.settings import Settings
from poem_service.variables import VARIABLES

README = Path(__file__).parents[1] / "README.md"


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
        "settings": f"| variable | default | what is allowed |\n|---|---|---|\n{rows}",
    }.items():
        before, _, rest = text.partition(f"<!-- {mark} -->")
        after = rest.partition(f"<!-- /{mark} -->")[2]
        text = f"{before}<!-- {mark} -->\n{content}\n<!-- /{mark} -->{after}"
    return text


def _recipes() -> str:
    """The table of the recipes."""
    rows = (
        f"| `{r.name}` | {r.summary} | {r.params} | {r.licence} | {r.status} |"
        for r in map(load_recipe, recipe_names())
    )
    return "\n".join(("| recipe | what it is | parameters | licence | status |", "|---|---|---|---|---|", *rows))


def _shown(value: object) -> str:
    return "" if value is None or value == () else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    README.write_text(generated(README.read_text("utf-8")), "utf-8")
