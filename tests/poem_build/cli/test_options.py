"""The options that commands have in common: each has those that it reads."""

import pytest
from click import Group
from click.testing import CliRunner

from poem_build.cli.main import cli

RECIPE = {"recipe", "base", "folder"}
BUILD = {"adapter", "taught", "device", "unmerged"}


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (("costs",), RECIPE),
        (("blend",), RECIPE | {"out"}),
        (("teacher", "run"), RECIPE | {"out"}),
        (("teacher", "export"), RECIPE | {"out"}),
        (("teacher", "import"), RECIPE | {"out"}),
        (("eval", "history"), RECIPE | {"out"}),
        (("eval", "page"), RECIPE | {"out"}),
        (("eval", "read"), RECIPE | BUILD | {"out"}),
        (("gc",), RECIPE | BUILD | {"out"}),
        (("eval",), RECIPE | BUILD | {"out"}),
        (("chat",), RECIPE | BUILD | {"out"}),
    ],
)
def test_a_command_has_the_options_that_it_reads(names: tuple[str, ...], asked: set[str]) -> None:
    command = cli.commands[names[0]]
    for name in names[1:]:
        assert isinstance(command, Group)
        command = command.commands[name]
    there = {str(one.name) for one in command.params}
    assert there & (RECIPE | BUILD | {"out"}) == asked


def test_an_option_that_a_command_does_not_read_is_refused() -> None:
    done = CliRunner().invoke(cli, ["costs", "--unmerged"])
    assert (done.exit_code, "No such option" in done.output) == (2, True)
