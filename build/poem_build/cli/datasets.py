"""`dataset`: alone the stage; beside it, what checks and converts files of chats whoever made them."""

import json
from pathlib import Path
from typing import Any, get_args

import click

from poem_build.cli.keys import check_extra
from poem_build.cli.options import (
    PATH,
    DefaultGroup,
    debug_option,
    game_option,
    json_option,
    load_game_option,
    one_line_errors,
)
from poem_build.cli.preferences import preferences_command
from poem_build.cli.stages import alone
from poem_build.data import dataset
from poem_build.data.checks import check_files, counted
from poem_build.data.formats import Shape, read_any, write_as
from poem_build.errors import DatasetError
from poem_build.report.dataset_page import PAGE, write_report

_SHOWN = 20
"""Problems on the terminal."""

dataset_group = DefaultGroup(
    alone(dataset.STAGE),
    f"{dataset.STAGE.summary} `check` and `convert` take any file of chats; `preferences` are for dpo.",
)


@dataset_group.command("check")
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--report", type=PATH, help="A folder for report.html and report.json.")
@game_option
@json_option
@debug_option
def check_command(
    files: tuple[Path, ...], report: Path | None, folder: Path | None, as_json: bool, debug: bool
) -> None:
    """Check FILES, in whichever shape, for form, rules, repeats, leaks between them and personal data."""
    with one_line_errors(debug):
        check_extra()
        found = check_files(files, load_game_option(folder))
        told = found.as_json()
        if report:
            write_report(report, found)
        _print_check(told, report, as_json)
    if any(one.fails for one in found.problems):
        raise click.exceptions.Exit(1)


def _print_check(told: dict[str, Any], report: Path | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for one in sorted(told["problems"], key=lambda one: not one["fails"])[:_SHOWN]:
        click.echo(f"{'' if one['fails'] else 'Warning: '}{one['where']}: {one['kind']}: {one['what']}")
    for path, one in told["files"].items():
        click.echo(f"{path}: {one['shape']}, {one['chats']} chats, about {one['tokens_about']:,} tokens")
    variety = told["variety"]
    if variety:
        distinct = ", ".join(f"{n}: {share:.0%}" for n, share in variety["distinct"].items())
        click.echo(f"{variety['distinct_openings']:.0%} of the openings differ; distinct runs of characters {distinct}")
    counts = counted(told["counts"])
    click.echo(f"{counts}; {report / PAGE}" if report else counts)


@dataset_group.command("convert")
@click.argument("source", type=PATH)
@click.argument("target", type=PATH, required=False)
@click.option("--to", "shape", type=click.Choice(get_args(Shape)), required=True)
@json_option
@debug_option
def convert_command(source: Path, target: Path | None, shape: Shape, as_json: bool, debug: bool) -> None:
    """Write SOURCE, in whichever shape, as TARGET in another.  [SOURCE's name with the shape's]"""
    with one_line_errors(debug):
        read = read_any(source)
        if read.broken:
            line, what = read.broken[0]
            raise DatasetError(f"{source}: line {line}: {what}; correct or remove it")
        ending = ".json" if shape in ("alpaca", "sharegpt") else ".jsonl"
        written = target or source.with_name(f"{source.stem}.{shape}{ending}")
        write_as(written, [chat for _, chat in read.chats], shape)
        told = {"chats": len(read.chats), "from": read.shape, "to": shape, "path": str(written)}
    click.echo(json.dumps(told) if as_json else f"{written}: {len(read.chats)} chats, {read.shape} → {shape}")


dataset_group.add_command(preferences_command)
COMMANDS = (dataset_group,)
