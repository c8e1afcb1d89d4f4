"""The folder of templates → where pages are filled in."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from poem_build.report import words

_TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """Where pages are filled in: everything is escaped, and a name that is missing is an error."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["words"] = words
    return found
