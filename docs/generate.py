"""The program → the parts of README.md that are generated from it: `make docs` writes them, a test compares."""

import re
from pathlib import Path

from click.testing import CliRunner

from poem_build.cli import cli
from poem_service.settings import VARIABLES, Settings

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
        "settings": f"| variable | default | what is allowed |\n|---|---|---|\n{rows}",
    }.items():
        text = re.sub(
            f"<!-- {mark} -->.*<!-- /{mark} -->",
            lambda _, m=mark, c=content: f"<!-- {m} -->\n{c}\n<!-- /{m} -->",
            text,
            flags=re.DOTALL,
        )
    return text


def _shown(value: object) -> str:
    return "" if value is None or value == () else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    README.write_text(generated(README.read_text("utf-8")), "utf-8")
