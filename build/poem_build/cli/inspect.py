"""`poem-build inspect`: what is in a GGUF file, an adapter or a model."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from poem_build.cli.options import PATH, debug_option, json_option, one_line_errors
from poem_build.models.inspection import Inspection, inspect
from poem_build.report.markdown import table

_MEGA = 1e6


@click.command("inspect")
@click.argument("path", type=PATH)
@click.option("--tensors", "each", is_flag=True, help="Show every tensor.")
@json_option
@debug_option
def inspect_command(path: Path, each: bool, as_json: bool, debug: bool) -> None:
    """Show what the GGUF file or the folder of an adapter or a model at PATH holds."""
    with one_line_errors(debug):
        found = inspect(path)
        if as_json:
            more = {"bytes": found.bytes, "types": found.types, "blocks": found.blocks}
            click.echo(json.dumps(asdict(found) | more, ensure_ascii=False, default=str))
        else:
            click.echo(_rendered(found, each))


COMMANDS = (inspect_command,)


def _rendered(found: Inspection, each: bool) -> str:
    types = ", ".join(f"{count} {kind}" for kind, count in found.types.items())
    parts = [
        f"{found.path}: {found.kind}, {found.architecture or 'architecture not told'}; {found.bytes / _MEGA:.1f} MB in "
        f"{len(found.tensors)} tensors: {types}",
        table(["field", "value"], ([name, _short(value)] for name, value in found.facts.items())),
        table(["part", "MB"], ([name, f"{size / _MEGA:.2f}"] for name, size in found.blocks.items())),
    ]
    if found.template:
        parts.append(f"Template:\n{found.template}")
    if each:
        rows = ([one.name, one.type, "×".join(map(str, one.shape)), f"{one.bytes:,}"] for one in found.tensors)
        parts.append(table(["tensor", "type", "shape", "bytes"], rows))
    return "\n\n".join(parts)


def _short(value: object) -> str:
    text = str(value).replace("\n", " ").replace("|", "\\|")
    return text if len(text) <= 100 else f"{text[:97]}…"
