"""`poem-build`: parses, calls, prints one summary line."""

import click

from poem_build.cli import blend, datasets, evaluation, inspect, pages, plan, publish, stages, tables, teacher
from poem_build.cli.options import set_up_process


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mansion-poem")
def cli() -> None:
    """From the cards to a model that Ollama serves, stage by stage."""


for command in (
    *stages.COMMANDS,
    *datasets.COMMANDS,
    *evaluation.COMMANDS,
    *tables.COMMANDS,
    *pages.COMMANDS,
    *plan.COMMANDS,
    *inspect.COMMANDS,
    *blend.COMMANDS,
    *publish.COMMANDS,
    *teacher.COMMANDS,
):
    cli.add_command(command)


def main() -> None:
    """The command's entry point."""
    set_up_process()
    cli()
